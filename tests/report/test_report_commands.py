"""``hpsearch report``, ``plot`` and ``curves``: what they print, and refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from command_line import Hpsearch, say
from hypothesis import given
from hypothesis import strategies as st
from reported import EPOCHS, a_search, stored, the_best

from hpsearch.cli.sparklines import HEIGHTS, sparkline

FIXTURES = Path(__file__).parent.parent / "storage" / "fixtures"
NEWEST = max(FIXTURES.glob("*.sql")).stem


@pytest.fixture
def hpsearch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Hpsearch:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPSEARCH_DATABASE_URL", f"sqlite:///{tmp_path / 'search.db'}")
    return partial(say, capfd)


@pytest.fixture
def stores(tmp_path: Path) -> Callable[..., object]:
    return partial(stored, f"sqlite:///{tmp_path / 'search.db'}")


def test_a_report_and_a_plot_are_written(hpsearch: Hpsearch, stores: Callable[..., object]) -> None:
    stores()
    code, out, _ = hpsearch("report", "digits", "-o", "page.html")
    assert (code, out) == (0, "the report of digits is in page.html\n")
    assert Path("page.html").read_text().startswith("<!DOCTYPE html>")
    assert hpsearch("plot", "digits", "--kind", "stages", "-o", "x.svg")[0] == 0
    assert Path("x.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "digitz"), "did you mean 'digits'"),
        (("report", "digits", "-o", "nowhere/x.html"), "does not: create it"),
        (("plot", "digits", "--kind", "axes", "-o", "x.gif"), "must end in one of"),
        (("curves", "digits", "--metric", "val_acuracy"), "did you mean 'val_accuracy'"),
        (("report", "digits", "--db", "sqlite:///gone.db"), "there is no database"),
        (("report", "digits", "-o", "search.db"), "must not be a device or a database"),
        (("report", "digits", "-o", "/dev/null"), "must not be a device or a database"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    hpsearch: Hpsearch, stores: Callable[..., object], arguments: tuple[str, ...], said: str
) -> None:
    stores(num_trials=3)
    code, out, err = hpsearch(*arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_curves_are_lines_of_the_best_trials(
    hpsearch: Hpsearch, stores: Callable[..., object]
) -> None:
    stores()
    code, out, _ = hpsearch("curves", "digits", "-n", "4")
    lines = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert code == 0
    assert len(lines) == 4
    assert int(lines[0][0]) == the_best()
    assert len(lines[0][-1]) == EPOCHS
    assert lines[0][-1][-1] == HEIGHTS[-1]  # the best value of all, in its last epoch
    assert "val_loss" in hpsearch("curves", "digits", "--metric", "val_loss")[1]


def test_curves_of_nothing_are_nothing(hpsearch: Hpsearch, stores: Callable[..., object]) -> None:
    stores(num_trials=0)
    assert hpsearch("curves", "digits") == (0, "Nothing to show.\n", "")


def test_an_empty_and_a_running_search_have_reports(
    hpsearch: Hpsearch, stores: Callable[..., object]
) -> None:
    stores(spec=a_search("empty"), num_trials=0)
    stores(spec=a_search("busy"), state=None)
    assert hpsearch("report", "empty", "-o", "empty.html")[0] == 0
    assert "No trial was begun" in Path("empty.html").read_text()
    assert hpsearch("report", "busy", "-o", "busy.html")[0] == 0
    assert "The search is running" in Path("busy.html").read_text()


@pytest.mark.parametrize(
    ("revision", "code", "said"),
    [("0005", 1, "has schema 0005, but this hpsearch needs"), (NEWEST, 0, "is in report.html")],
)
def test_an_old_database_is_to_be_upgraded_first(
    hpsearch: Hpsearch, tmp_path: Path, revision: str, code: int, said: str
) -> None:
    dump = (FIXTURES / f"{revision}.sql").read_text()
    with closing(sqlite3.connect(tmp_path / "search.db")) as connection:
        connection.executescript(dump)
    found, out, err = hpsearch("report", "1")
    assert found == code
    assert said in out + err


def test_a_sparkline_goes_from_low_to_high() -> None:
    assert sparkline([0.0, 0.5, 1.0], 0.0, 1.0) == "▁▅█"
    assert sparkline([-5.0, float("nan"), 9.0], 0.0, 1.0) == "▁ █"
    assert sparkline([], 0.0, 1.0) == ""


@given(st.lists(st.floats(-1, 1), max_size=200), st.integers(1, 60))
def test_a_sparkline_has_a_character_a_value_and_ends_with_the_last(
    values: list[float], width: int
) -> None:
    line = sparkline(values, -1.0, 1.0, width)
    assert len(line) == min(len(values), width)
    if values:
        assert line[-1] == sparkline(values[-1:], -1.0, 1.0)


def test_a_link_stays_and_its_file_is_written(
    hpsearch: Hpsearch, stores: Callable[..., object]
) -> None:
    stores(num_trials=3)
    Path("link.html").symlink_to("there.html")
    assert hpsearch("report", "digits", "-o", "link.html")[0] == 0
    assert Path("link.html").is_symlink()
    assert Path("there.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("kind", ["axes", "map", "curves"])
def test_a_search_without_values_has_no_plot_of_them(
    hpsearch: Hpsearch, stores: Callable[..., object], kind: str
) -> None:
    stores(num_trials=3, fails=lambda n: "the training loss is nan")
    code, _, err = hpsearch("plot", "digits", "--kind", kind, "-o", "x.png")
    assert (code, err.count("\n")) == (1, 1)
    assert "0 of them with a value, and no such panel" in err


def test_trials_that_still_run_have_curves(
    hpsearch: Hpsearch, stores: Callable[..., object]
) -> None:
    reading = stores(num_trials=3, state=None, epochs=EPOCHS - 1, fails=lambda n: None)
    assert len(reading.curves["number"].unique()) == 3
    _, out, _ = hpsearch("curves", "digits")
    assert sum(any(height in line for height in HEIGHTS[1:]) for line in out.splitlines()) == 3

"""Tables on a screen of any width: no value is cut, and what is left out is told."""

from __future__ import annotations

import pandas as pd
import pytest

from hpsearch.cli.tables import PIPED_WIDTH, console, fitting, print_table

FRAME = pd.DataFrame(
    {
        "number": [7, 12],
        "stage": ["coarse", "fine"],
        "value": [0.98765, 0.5],
        "optimizer": ["momentum", "adam"],
        "learning_rate": [1.2345e-5, 0.25],
    }
)


def _printed(
    capsys: pytest.CaptureFixture[str], frame: pd.DataFrame, **options: tuple[str, ...]
) -> str:
    print_table(frame, **options)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", range(16, 120, 8))
def test_every_value_is_printed_whole_or_its_column_is_named_below(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    printed = " ".join(_printed(capsys, FRAME, least=("stage",)).split())
    table, _, below = printed.partition(" more with --format csv: ")
    values = {"number": "12", "stage": "coarse", "value": "0.9877", "optimizer": "momentum"}
    values["learning_rate"] = "1.234e-05"
    for name, text in values.items():
        assert (text in table) != (name in below.split(", ")), name
    assert "…" not in table


@pytest.mark.parametrize("width", [30, 60])
def test_a_table_is_no_wider_than_columns_says_when_it_is_piped(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, _printed(capsys, FRAME).splitlines())) <= width


def test_a_pipe_without_columns_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == PIPED_WIDTH


def test_the_least_columns_go_first_and_then_the_last_ones() -> None:
    widths = {"number": 6, "stage": 6, "value": 6, "rate": 6}  # and a gap of 2 after each
    assert fitting(widths, 32, ("stage",)) == ["number", "stage", "value", "rate"]
    assert fitting(widths, 31, ("stage",)) == ["number", "value", "rate"]
    assert fitting(widths, 16, ("stage",)) == ["number", "value"]
    assert fitting(widths, 1, ("stage",)) == ["number"]


def test_a_reason_stands_on_lines_of_its_own_under_its_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    reason = "the best five of many lie closely together: narrowed"
    frame = FRAME[["stage", "value"]].assign(reason=[reason, None])
    lines = _printed(capsys, frame, below=("choices", "reason")).splitlines()
    place = next(i for i, line in enumerate(lines) if "coarse" in line)
    assert "fine" in lines[place + 3]
    assert " ".join(line.strip() for line in lines[place + 1 : place + 3]) == reason


def test_a_name_of_several_lines_stays_on_its_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    choices = ["re\nlu", "ta\tnh\x1b[31m", ("a\r\nb", "ü\u2028")]
    frame = pd.DataFrame({"number": [0, 1, 2], "activa\ntion": choices})
    lines = _printed(capsys, frame).splitlines()
    whole = _printed(capsys, frame.assign(**{"activa\ntion": "x"})).splitlines()
    assert len(lines) == len(whole)
    assert "activa\\ntion" in lines[1]
    for number, text in enumerate(["re\\nlu", "ta\\tnh\\x1b[31m", "[a\\r\\nb, ü\\u2028]"]):
        assert [line for line in lines if text in line and f" {number} " in line]


def test_names_in_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"name": ["[red]", ("relu", "tanh")]})
    printed = _printed(capsys, frame)
    assert "[red]" in printed
    assert "[relu, tanh]" in printed

"""README's speed tables say what the records say, in the very words that the benchmarks print."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import make_speed_table
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_speed_table import BEGIN, END, contests, newest, page, tables

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import judging
import peers
import stacking

OPTUNA, REUSED, AS_IT_COMES, PLAIN = (judging.TOOLS[tool] for tool in judging.TOOLS)


def _outcome(seconds: float, *, idle: float = 1.0, how: str = "") -> judging.Outcome:
    return judging.Outcome(
        seconds=seconds, training_s=seconds, values=[0.9, 0.95], epochs=20, idle=idle, how=how
    )


def _printed(
    contest: judging.Contest,
    ours: tuple[float, float],
    others: dict[str, judging.Outcome],
    *,
    pruned: bool = False,
) -> str:
    """What peers.py prints of a contest that came out so; without Ray ours takes half the time."""
    before, after = ours
    runs = iter([_outcome(seconds) for seconds in (before, before / 2, after, after / 2)])
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(peers, "_ours", lambda contest, way, pruned: (next(runs), []))
        patch.setattr(peers, "_outcome", lambda contest, tool, task: others[tool])
        peers.print_head("torch")
        peers._compete(contest, pruned=pruned)
    return out.getvalue()


def _digits(optuna_s: float = 90.0, reused_s: float = 120.04, **given: float) -> str:
    others = {
        "optuna": _outcome(optuna_s, **given),
        "ray_reused": _outcome(reused_s),
        "ray": _outcome(2000.0, how=" (from 20 trials)"),
        "plain": _outcome(100.0, how=" with torch's threads at 2 (from 100 trials)"),
    }
    return _printed(peers.DIGITS, (9.5, 10.0), others)


def _rows(folder: Path) -> list[list[str]]:
    lines = [line for line in tables(folder).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_contest_is_shown_as_it_was_printed(tmp_path: Path) -> None:
    (tmp_path / "2026-01-02-peers.txt").write_text(_digits())
    heads, _, row, without_ray = _rows(tmp_path)
    assert heads[:6] == ["search", "hpsearch", OPTUNA, REUSED, AS_IT_COMES, PLAIN]
    assert row == [
        "digits: 1000 trials x 10 epochs",
        "10.0 s",
        "90.0 s: 9.0 times; **target 10 missed**",
        "120.0 s: 12.0 times; target 10",
        "about 2,000.0 s: 200.0 times; target 150",
        "about 100.0 s: 10.0 times",
        "9.00 times",
        "best by 0.0000, mean by 0.0000; target 0.02",
    ]
    assert without_ray[:2] == ["digits: 1000 trials x 10 epochs, without Ray", "5.0 s"]
    assert without_ray[2] == "90.0 s: 18.0 times; target 10"


@given(
    ours=st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)),
    optuna_s=st.floats(0.1, 1e5),
    reused_s=st.floats(0.1, 1e5),
)
def test_a_cell_says_missed_exactly_when_the_target_is(
    ours: tuple[float, float], optuna_s: float, reused_s: float
) -> None:
    contest = replace(peers.DIGITS, better_target=2.5)
    others = dict.fromkeys(judging.TOOLS, _outcome(1.0))
    others |= {"optuna": _outcome(optuna_s), "ray_reused": _outcome(reused_s)}
    with TemporaryDirectory() as folder:
        Path(folder, "2026-01-02-peers.txt").write_text(_printed(contest, ours, others))
        _, _, row, _ = _rows(Path(folder))
    assert row[1] == f"{max(ours):,.1f} s"
    assert ("missed" in row[2]) == (optuna_s < 10 * max(ours))
    assert ("missed" in row[3]) == (reused_s < 10 * max(ours))
    assert ("missed" in row[6]) == (min(optuna_s, reused_s) < 2.5 * max(ours))


def test_a_search_that_stops_early_comes_last_and_without_the_plain_loop(tmp_path: Path) -> None:
    others = dict.fromkeys(judging.TOOLS, _outcome(30.0))
    early = _printed(replace(peers.DIGITS, targets={}), (5.0, 4.0), others, pruned=True)
    (tmp_path / "2026-01-01-peers-pruned.txt").write_text(early)
    (tmp_path / "2026-01-02-peers.txt").write_text(_digits())
    *_, first, _, second, third = _rows(tmp_path)
    assert first[0] == "digits: 1000 trials x 10 epochs"
    assert second[0] == "digits: 1000 trials x 10 epochs, early stopping"
    assert third[0] == "digits: 1000 trials x 10 epochs, early stopping, without Ray"
    assert second[5] == "—"
    assert "missed" not in " ".join(second)


def test_times_beside_others_are_marked_and_have_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "2026-01-02-peers.txt").write_text(_digits(idle=0.4))
    *_, row, _ = _rows(tmp_path)
    assert row[0] == "digits: 1000 trials x 10 epochs (others were at work)"
    assert row[2] == "90.0 s: 9.0 times"


def test_the_newest_record_of_each_name_counts(tmp_path: Path) -> None:
    (tmp_path / "2026-02-01-peers.txt").write_text(_digits(optuna_s=300.0))
    (tmp_path / "2026-01-31-peers.txt").write_text(_digits())
    (tmp_path / "2026-01-30-peers-mnist.txt").write_text(_digits().replace("digits:", "mnist_mlp:"))
    (tmp_path / "notes-peers.txt").write_text("digits: no record")
    records = newest(tmp_path, "peers")
    assert [record.file[:10] for record in records] == ["2026-01-30", "2026-02-01"]
    found = {contest.title.split(":")[0]: contest for contest in contests(records)}
    assert found["digits"].seconds[OPTUNA] == "300.0 s"
    assert found["mnist_mlp"].seconds[OPTUNA] == "90.0 s"


def test_a_record_of_several_contests_mixes_none_of_them(tmp_path: Path) -> None:
    second = _digits(optuna_s=300.0).replace("digits:", "mnist_mlp:")
    (tmp_path / "2026-01-02-peers.txt").write_text(_digits() + second)
    heads, _, *rows = _rows(tmp_path)
    (tmp_path / "2026-01-02-peers.txt").write_text(_digits())
    heads_alone, _, *rows_alone = _rows(tmp_path)
    assert heads == heads_alone
    assert rows[:2] == rows_alone
    assert [row[2] for row in rows[2:]] == [
        "300.0 s: 30.0 times; target 10",
        "300.0 s: 60.0 times; target 10",
    ]


def test_stacking_is_shown_as_it_was_printed(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(stacking, "load", lambda config, seed: None)
        patch.setattr(stacking, "_in_process", lambda target, dataset, threads: 140.0)
        patch.setattr(stacking, "_all_cores_us", lambda dataset, width: 140.0 / (1 + width / 8))
        patch.setattr(stacking.os, "cpu_count", lambda: 2)
        stacking.main()
    (tmp_path / "2026-01-02-stacking.txt").write_text(out.getvalue())
    rows = {row[0]: row[1:] for row in _rows(tmp_path)}
    assert rows["plain PyTorch loop"] == ["140 µs", ""]
    assert rows["8 on each of 2 cores"] == ["70.0 µs", "2.0 (2.0 to 2.0)"]
    assert rows["128 on each of 2 cores"] == ["8.2 µs", "17.0 (17.0 to 17.0); **target 20 missed**"]
    assert "2026-01-02" in tables(tmp_path)


def test_every_line_of_the_newest_stacking_record_is_in_the_table() -> None:
    (record,) = newest(make_speed_table.RESULTS, "stacking")
    widths = [line for line in record.text.splitlines() if " members each: " in line]
    assert sum(" on each of " in line for line in tables().splitlines()) == len(widths) > 0


def test_without_records_there_is_no_table(tmp_path: Path) -> None:
    assert tables(tmp_path) == ""


def test_a_page_is_changed_between_its_markers_alone(tmp_path: Path) -> None:
    (tmp_path / "2026-01-02-peers.txt").write_text(_digits())
    once = page(f"above\n{BEGIN}\nold\n{END}\nbelow\n", tmp_path)
    assert once.startswith(f"above\n{BEGIN}\n")
    assert once.endswith(f"{END}\nbelow\n")
    assert "old" not in once
    assert page(once, tmp_path) == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{BEGIN}{END}{END}"])
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        page(text)

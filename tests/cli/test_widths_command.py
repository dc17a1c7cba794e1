"""What a person is told of widths and rungs: at a search's end, meanwhile, and by ``widths``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import Hpsearch
from training_cases import blobs

import hpsearch as package
from hpsearch.cli import widths as told
from hpsearch.cli.widths import MOST_KINDS, widths_shown
from hpsearch.service.notifying import what_ended

SPEC = {
    "name": "sizes",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [8]},
    "space": {
        "learning_rate": {"log_uniform": [1e-3, 1e-1]},
        "batch_size": {"choice": [8, 16]},
    },
    "stages": [{"name": "only", "trials": 12, "epochs": 2, "expand": 0}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = blobs(num_train=120)
    np.savez(tmp_path / "blobs.npz", x=data.x_train, y=data.y_train)
    (tmp_path / "sizes.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path


LOST = {"name": "threshold", "lower": 2}  # prunes all
RUN = ("run", "sizes.yaml", "--ray", "none")


def test_the_summary_tells_the_best_width_of_each_kind(hpsearch: Hpsearch) -> None:
    _, out, _ = hpsearch(*RUN)
    measured = pd.read_csv(StringIO(hpsearch("widths", "--format", "csv")[1]))
    measured["each"] = measured["seconds"] / measured["width"]
    assert measured["kind"].nunique() == 2
    for (kind, device), rows in measured.groupby(["kind", "device"]):
        best = rows.sort_values(["each", "width"], ascending=[True, False]).iloc[0]
        (line,) = (line for line in out.splitlines() if line.startswith(f"  {kind}, on {device}: "))
        told = line.partition(f"on {device}: ")[2]
        width = "1 row" if best["width"] == 1 else f"{best['width']} rows"
        each = f"{1e6 * best['each']:.3g} µs a row and step"
        assert told == f"{width} at once, {each}; {len(rows)} widths tried"


def test_as_json_the_widths_are_those_of_the_frame(hpsearch: Hpsearch) -> None:
    found = json.loads(hpsearch(*RUN, "--json")[1])["widths"]
    frame = package.connect().widths()
    best = frame[frame["best"]].set_index(["kind", "device"])
    assert len(found) == len(best) == 2
    for one in found:
        row = best.loc[(one["kind"], one["device"])]
        assert (one["width"], one["seconds_per_row"]) == (row["width"], row["seconds_per_row"])
        assert one["tried"] == (frame["kind"] == one["kind"]).sum()


def test_a_width_that_was_asked_for_is_told_as_such(hpsearch: Hpsearch) -> None:
    hpsearch(*RUN)  # the same kinds, measured by another search
    _, out, _ = hpsearch(*RUN, "--set", "resources.width=2")
    lines = [line for line in out.splitlines() if line.startswith("  mlp 8, ")]
    assert len(lines) == 2
    assert all(line.endswith(": 2 rows at once") for line in lines)


def test_a_kind_whose_name_has_a_line_break_stays_on_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"width": None, "seconds_per_row": None, "tried": 0}
    kinds = [{"kind": "nets:Net act=re\nlu", "device": "cpu", **known} for _ in range(2)]
    monkeypatch.setattr(told, "widths_known", lambda result: kinds)
    for line in told.width_lines(None):  # type: ignore[arg-type]
        assert line.startswith("nets:Net act=re\\nlu, on cpu: all rows at once")


def test_many_kinds_are_counted(hpsearch: Hpsearch) -> None:
    sizes = list(range(4, 4 + MOST_KINDS + 2))
    space = ("--set", f"space.batch_size.choice={sizes}", "--set", "stages.0.sampler=grid")
    narrow = ("--set", "space.learning_rate.log_uniform=[1e-3, 1.1e-3]")
    _, out, _ = hpsearch(*RUN, *space, *narrow, "--set", "stages.0.trials=200")
    assert sum(line.startswith("  mlp 8, ") for line in out.splitlines()) == MOST_KINDS
    assert "and of 2 more kinds (`hpsearch widths`)" in out


@pytest.mark.parametrize("columns", [60, 160])
def test_the_table_has_a_part_for_each_kind(
    hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert hpsearch("db", "upgrade")[0] == 0
    assert hpsearch("widths")[1] == "Nothing to show.\n"
    hpsearch(*RUN)
    code, out, err = hpsearch("widths")
    words, measured = out.split(), package.connect().widths()
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= columns
    assert out.count("µs a row and step") == words.count("best") // 2 == 2  # a head, and its mark
    for each in measured["seconds_per_row"]:
        assert f"{1e6 * each:.4g}" in words
    titles = measured["kind"].astype(str) + ", on " + measured["device"].astype(str)
    for title in titles.unique():
        assert (title in out.splitlines()) == (len(title) <= columns)


def test_times_and_sizes_are_whole_numbers_where_these_are_long() -> None:
    speeds = {"width": [1, 8], "best": [False, True], "bytes": [0, 12_345_600_000]}
    times = {"seconds": [0.0123456, 0.04], "seconds_per_row": [0.0123456, 0.005]}
    places = {"kind": "cnn", "device": "cpu", "measured_at": pd.Timestamp("2026-01-01")}
    shown = widths_shown(pd.DataFrame({**speeds, **times}).assign(**places))
    assert shown["µs a row and step"].to_list() == [12346, 5000]
    assert shown["µs a step"].to_list() == [12346, 40000]
    assert shown["MB"].to_list() == [0, 12346]
    assert shown["best"].to_list() == ["", "best"]


def test_what_a_pruner_decides_is_told_when_it_does(hpsearch: Hpsearch) -> None:
    pruner = "stages.0.pruner={name: successive_halving, min_resource: 1, reduction_factor: 3}"
    code, _, err = hpsearch(*RUN, "--set", pruner, "--set", "stages.0.epochs=4")
    repository = package.connect().repository
    rungs = [event.data for event in repository.events(1) if event.kind == "rung"]
    assert code == 0
    assert rungs
    for data in rungs:
        assert data["message"] in err


def test_the_end_says_how_many_were_pruned_and_what_that_saved(hpsearch: Hpsearch) -> None:
    pruner = "stages.0.pruner={name: successive_halving, min_resource: 1, reduction_factor: 3}"
    changes = ("--set", pruner, "--set", "stages.0.epochs=4")
    _, out, err = hpsearch(*RUN, *changes)
    trials = package.connect().trials("sizes")
    states, trained = trials["state"].value_counts(), trials["epochs"].sum()
    assert states["pruned"] > 0
    said = f"{states['complete']} complete, {states['pruned']} pruned; {trained} of 48 epochs"
    assert said in out
    assert said in err.splitlines()[-1]
    document = json.loads(hpsearch(*RUN, *changes, "--json")[1])
    assert document["trials"] == {state: states[state] for state in ("complete", "pruned")}
    assert document["epochs"] == {"trained": trained, "in_all": 48}


ONE_KIND = ("--set", "space.batch_size.choice=[8]")
SMALL = (*ONE_KIND, "--set", "stages.0.trials=4")
NONE_GOES_ON = ("--set", "stages.0.pruner={name: threshold, lower: 2}")


def test_a_search_of_which_all_was_pruned_says_so(hpsearch: Hpsearch) -> None:
    code, out, err = hpsearch(*RUN, *SMALL, *NONE_GOES_ON)
    assert (code, out) == (1, "")
    assert "Error: sizes: none of the 4 trials was trained to its end, for 4 were pruned" in err
    assert "`hpsearch trials 1 --format csv`" in err
    code, out, _ = hpsearch("best", "sizes")
    assert (code, f"Error: {out}" in err) == (0, True)
    assert json.loads(hpsearch("best", "sizes", "--format", "json")[1]) == []


def test_one_that_diverged_among_pruned_ones_is_not_the_reason(hpsearch: Hpsearch) -> None:
    grid = ("--set", "stages.0.sampler=grid", "--set", "space.learning_rate={choice: [0.01, 1e18]}")
    _, _, err = hpsearch(*RUN, *ONE_KIND, *NONE_GOES_ON, *grid)
    states = package.connect().trials("sizes")["state"].value_counts()
    assert states.to_dict() == {"pruned": 1, "failed": 1}
    assert "none of the 2 trials was trained to its end, for 1 were pruned" in err
    assert "1 pruned, 1 failed (1 diverged); " in err  # the state, and why


def test_trials_that_only_pruned_ones_continue_are_counted_by_state(hpsearch: Hpsearch) -> None:
    fine = {"name": "fine", "trials": 4, "epochs": 6, "continue": 4, "pruner": LOST}
    stages = f"stages={json.dumps([{'name': 'only', 'trials': 4, 'epochs': 2, 'expand': 0}, fine])}"
    code, _, err = hpsearch(*RUN, *ONE_KIND, "--set", stages)
    assert code == 1
    assert "sizes: none of its 8 trials ended with a value that ranks: 4 complete, 4 pruned" in err


def test_trials_that_failed_say_why(hpsearch: Hpsearch) -> None:
    code, _, err = hpsearch(*RUN, *SMALL, "--set", "space.learning_rate={choice: [1e17, 1e18]}")
    said = "sizes: all 4 trials diverged: lower the range of space.learning_rate, and search again"
    assert code == 1
    assert said in err
    assert said.partition(": ")[2] in hpsearch("status", "sizes")[1]
    assert "diverged:" not in hpsearch("status", "sizes", "--format", "csv")[1]
    assert said.partition(": ")[2] in what_ended(package.connect().repository, 1)["text"]
    with closing(sqlite3.connect("hpsearch.db")) as connection, connection:
        connection.execute("DELETE FROM diagnoses")  # as of one that was ended before its verdict
    said = "sizes: none of its 4 trials ended with a value; 4 failed as diverged"
    assert said in hpsearch("best", "sizes")[1]


def test_an_auto_width_is_told_as_what_is_known_and_a_number_as_what_was_done(
    hpsearch: Hpsearch,
) -> None:
    known, done = "The fastest numbers of rows at once", "How many rows were trained at once"
    _, out, _ = hpsearch(*RUN)
    assert (known in out, done in out) == (True, False)
    _, out, _ = hpsearch(*RUN, "--set", "resources.width=2")
    assert (known in out, done in out) == (False, True)


def test_groups_of_which_no_width_is_known_are_told_so(hpsearch: Hpsearch) -> None:
    hpsearch(*RUN, *SMALL)
    with sqlite3.connect("hpsearch.db") as connection:  # as the upgrade notes what began before it
        connection.execute(
            "INSERT INTO groups"
            " (search_id, number, kind, device, start_epoch, measures, created_at)"
            " VALUES (1, 99, 'an older one', 'some device', 0, 0, '2026-01-01 00:00:00')"
        )
    _, out, _ = hpsearch(*RUN, *SMALL)
    assert "  an older one, on some device: all rows at once, since none was measured\n" in out


def test_how_many_were_forgotten_is_told_in_the_form_asked_for(hpsearch: Hpsearch) -> None:
    hpsearch(*RUN, *SMALL)
    measured = len(package.connect().widths())
    out = hpsearch("widths", "--forget", "--format", "json")[1]
    assert json.loads(out) == [{"forgotten": measured}]
    assert hpsearch("widths", "--forget", "--format", "csv")[1] == "forgotten\n0\n"
    assert hpsearch("widths", "--forget")[1].startswith("forgot 0 measurements; ")

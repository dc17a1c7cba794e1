"""What ``best``, ``compare``, ``events`` and ``sql`` print, of searches filled by hand."""

from __future__ import annotations

import json
import shutil
import sqlite3
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from command_line import Hpsearch
from stored_searches import PROVENANCE, a_report, a_spec, a_stage, a_trial, begin

from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Objective
from hpsearch.storage.database import Database
from hpsearch.storage.records import DATA_READ
from hpsearch.storage.repository import Repository

FIXTURES = Path(__file__).parent.parent / "storage" / "fixtures"


@pytest.fixture(autouse=True)
def _wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def database(hpsearch: Hpsearch) -> Database:
    """Searches: ``confirmed``, ``plain`` and, of another objective, ``loss``."""
    database = Database("sqlite:///hpsearch.db")
    for name, objective in (
        ("confirmed", Objective()),
        ("plain", Objective()),
        ("loss", Objective(metric="val_loss", mode="min")),
    ):
        writer = begin(database, num_trials=3, spec=a_spec(name, objective=objective))
        ends = dict(zip(writer.ids, (0.90, 0.95, 0.5), strict=True))
        writer.repository.commit_report(writer.lease, a_report(5, ends, state="complete"))
        if name == "confirmed":
            stage = a_stage(1, name="confirm", kind="confirm", branches=())
            stored, _ = writer.repository.open_stage(writer.lease, stage, [])
            given = {"stage_id": stored.id, "replicate": 1}
            drawn = [a_trial(3 + n, parent_id=writer.ids[n // 2], **given) for n in range(4)]
            ids = [trial.id for trial in writer.repository.add_trials(writer.lease, drawn)]
            seeds = dict(zip(ids, (0.92, 0.93, 0.93, 0.90), strict=True))
            writer.repository.commit_report(writer.lease, a_report(5, seeds, state="complete"))
        writer.repository.release(writer.lease, "complete")
    return database


def test_best_marks_what_was_confirmed_and_what_is_within_noise(
    hpsearch: Hpsearch, database: Database
) -> None:
    code, out, _ = hpsearch("best", "confirmed")
    assert code == 0
    head, _, first, second, third, *_ = out.strip("\n ").splitlines()
    for name in ("mean", "spread", "n", "confirmed", "within_noise"):
        assert name in head.split()
    assert first.split()[:2] == ["0", "coarse"]
    assert "0.925" in first
    assert second.split()[0] == "1"
    assert third.split()[0] == "2"
    frame = pd.read_csv(StringIO(hpsearch("best", "confirmed", "--format", "csv")[1]))
    assert frame["confirmed"].tolist() == [True, True, False]
    assert frame["n"].tolist() == [2, 2, 1]


def test_best_says_nothing_of_noise_where_nothing_was_repeated(
    hpsearch: Hpsearch, database: Database
) -> None:
    head = hpsearch("best", "plain")[1].splitlines()[0]
    assert not {"mean", "n", "confirmed", "within_noise"} & set(head.split())
    rows = json.loads(hpsearch("best", "plain", "--format", "json")[1])
    assert [row["mean"] for row in rows] == [0.95, 0.9, 0.5]


def test_the_best_of_a_search_that_runs_is_said_to_be_so_far(
    hpsearch: Hpsearch, database: Database
) -> None:
    writer = begin(database, num_trials=3, spec=a_spec("runs"))
    one = a_report(5, {writer.ids[0]: 0.5}, state="complete")
    writer.repository.commit_report(writer.lease, one)
    said = "runs (id 4): running; so far 1 of 3 trials have ended: the best may change"
    assert said in hpsearch("best", "runs")[1]
    assert "so far" not in hpsearch("best", "runs", "--format", "csv")[1]
    assert "so far" not in hpsearch("best", "plain")[1]


def test_compare_puts_the_better_search_first_and_refuses_another_objective(
    hpsearch: Hpsearch, database: Database
) -> None:
    code, out, _ = hpsearch("compare", "confirmed", "plain", "--format", "json")
    assert code == 0
    assert [(row["name"], row["mean"]) for row in json.loads(out)] == [
        ("plain", 0.95),
        ("confirmed", 0.925),
    ]
    assert "plain" in hpsearch("compare", "confirmed", "plain")[1]
    code, out, error = hpsearch("compare", "plain", "loss")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert "must have the same objective" in error


def test_compare_tells_of_different_data_and_says_nothing_of_the_same(
    hpsearch: Hpsearch, database: Database
) -> None:
    for name, digest in (("one", "01"), ("same", "01"), ("other", "ff")):
        writer = begin(database, spec=a_spec(name))
        read = {"rows": 9, "fingerprint": digest * 16, "sample": digest}
        writer.repository.add_event(writer.lease, DATA_READ, read)
    out = hpsearch("compare", "one", "same")[1]
    assert "data" not in out
    out = hpsearch("compare", "one", "other")[1]
    assert "digits ffffffff" in out
    assert "These searches have different data" in out
    _, out, error = hpsearch("compare", "one", "other", "--format", "json")
    assert [row["data"] for row in json.loads(out)] == ["digits 01010101", "digits ffffffff"]
    assert "different data" in error


def test_events_are_lines_with_their_data(hpsearch: Hpsearch, database: Database) -> None:
    out = hpsearch("events", "plain")[1]
    assert "stage_opened" in out
    assert "name=coarse" in out
    rows = json.loads(hpsearch("events", "plain", "--format", "json")[1])
    assert rows[-1]["data"] == {"state": "complete"}


def test_sql_reads_and_nothing_more(hpsearch: Hpsearch, database: Database) -> None:
    code, out, _ = hpsearch(
        "sql", "SELECT number FROM best_trials WHERE name = 'plain'", "--format", "csv"
    )
    assert (code, out) == (0, "number\n1\n0\n2\n")
    code, _, error = hpsearch("sql", "DELETE FROM trials")
    assert (code, error.count("\n")) == (1, 1)
    assert "one SELECT" in error


@pytest.mark.parametrize("command", ["best", "compare", "events", "trials", "curves"])
def test_an_unknown_search_is_told_with_the_closest_name(
    hpsearch: Hpsearch, database: Database, command: str
) -> None:
    code, out, error = hpsearch(command, *["plian"] * (1 + (command == "compare")))
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert "did you mean 'plain'?" in error


def test_best_says_what_there_is_where_nothing_ranks(hpsearch: Hpsearch) -> None:
    database = Database("sqlite:///hpsearch.db")
    Repository(database).create_search(a_spec("new"), PROVENANCE)
    assert "new (id 1) has not begun" in hpsearch("best", "new")[1]
    writer = begin(database, spec=a_spec("runs"))
    told = hpsearch("best", "runs")[1]
    assert told == (
        "runs (id 2): running, and no trial has ended with a value: its trials are 4 waiting\n"
    )
    failed = dict.fromkeys(writer.ids, ("diverged", "loss is nan"))
    writer.repository.fail_trials(writer.lease, failed)
    writer.repository.release(writer.lease, "failed")
    told = hpsearch("best", "runs")[1]
    assert "runs: none of its 4 trials ended with a value; 4 failed as diverged" in told


def test_an_old_database_is_told_how_to_upgrade_and_then_has_the_views(hpsearch: Hpsearch) -> None:
    with sqlite3.connect("hpsearch.db") as connection:
        connection.executescript((FIXTURES / "0005.sql").read_text())
    code, _, error = hpsearch("sql", "SELECT * FROM best_trials")
    assert (code, error.count("\n")) == (1, 1)
    assert "hpsearch db upgrade" in error
    assert hpsearch("db", "upgrade")[0] == 0
    assert hpsearch("sql", "SELECT count(*) AS n FROM best_trials", "--format", "csv")[0] == 0
    shutil.rmtree("hpsearch-checkpoints", ignore_errors=True)


def test_sql_shows_what_was_asked_for(hpsearch: Hpsearch, database: Database) -> None:
    """Columns that other tables leave out, and those without a value."""
    out = hpsearch("sql", "SELECT id AS trial, NULL AS blank FROM trials")[1]
    assert "trial" in out
    assert "blank" in out
    code, _, err = hpsearch("sql", "SELECT 1 AS a, 2 AS a")
    assert (code, "'a' comes twice" in err) == (1, True)
    assert hpsearch("sql", "SELECT 1 AS a, 2 AS a", "--format", "csv")[0] == 0


def test_a_search_is_not_compared_with_itself(hpsearch: Hpsearch, database: Database) -> None:
    name = Frames(Repository(database)).searches()["name"][0]
    assert "two different searches or more, but got 1" in hpsearch("compare", name, "1")[2]

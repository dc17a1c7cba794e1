"""The frames of trials and of the best of them: which are listed, in which order, with what."""

from __future__ import annotations

import math
from typing import Literal

import pandas as pd
import pytest
from sqlalchemy import event
from stored_searches import a_report, a_spec, a_stage, a_trial, begin, continue_trial, finish

from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Objective
from hpsearch.spec.space import Choice, Space
from hpsearch.storage.database import Database
from hpsearch.storage.records import RungCommit


def test_trials_have_a_row_each_with_their_params_under_their_own_names(
    database: Database,
) -> None:
    writer = begin(database, num_trials=1)
    params = {"learning_rate": 0.1, "units": 16, "optimizer": "momentum", "momentum": 0.9}
    child = a_trial(
        1,
        stage_id=writer.stage_id,
        branch="optimizer=momentum",
        params={**params, "nested": True, "rate": 0},
        parent_id=writer.ids[0],
        replicate=2,
        seed=2**63 - 1,
    )
    writer.repository.add_trials(writer.lease, [child])
    writer.repository.start_group(writer.lease, writer.ids, "worker-0")
    writer.repository.fail_trials(writer.lease, {writer.ids[0]: ("out_of_memory", "too wide")})
    first, second = Frames(writer.repository).trials("digits").to_dict("records")
    assert (first["state"], first["failure_kind"]) == ("failed", "out_of_memory")
    assert (first["failure_message"], first["worker"]) == ("too wide", "worker-0")
    assert (first["stage"], first["hidden_units"]) == ("coarse", (64, 32))
    assert first["finished_at"] > first["created_at"]
    assert (second["parent"], second["replicate"], second["seed"]) == (
        writer.ids[0],
        2,
        2**63 - 1,
    )
    assert {name: second[name] for name in params} == params
    assert (second["nested"], second["rate"]) == (True, 0.0)
    missing = ("units", "nested", "rate", "momentum", "parent", "value", "best_epoch")
    assert all(pd.isna(first[name]) for name in missing)
    assert pd.isna(second["hidden_units"])


def test_categories_are_those_of_the_spec_even_if_no_trial_has_them(database: Database) -> None:
    frame = Frames(begin(database).repository).trials("digits")
    assert list(frame["optimizer"].cat.categories) == ["sgd", "momentum"]


@pytest.mark.parametrize(("mode", "order"), [("max", [3, 1, 2, 0]), ("min", [0, 1, 2, 3])])
def test_the_best_come_first_and_ties_by_number(
    database: Database, mode: str, order: list[int]
) -> None:
    spec = a_spec(objective=Objective(metric="val_loss", mode=mode))  # type: ignore[arg-type]
    writer = begin(database, spec=spec)
    finish(writer, dict(zip(writer.ids, (-math.inf, 0.5, 0.5, 0.7), strict=True)))
    frames = Frames(writer.repository)
    assert list(frames.best("digits")["number"]) == order
    assert list(frames.best(writer.search.id, n=2)["number"]) == order[:2]
    assert frames.best("digits", n=0).empty


def test_only_complete_trials_with_a_value_are_among_the_best(database: Database) -> None:
    writer = begin(database, num_trials=5)
    complete, nan, failed, running, _ = writer.ids
    finish(writer, {complete: 0.1, nan: math.nan})
    writer.repository.commit_report(writer.lease, a_report(1, {failed: 0.9, running: 0.9}))
    writer.repository.fail_trials(writer.lease, {failed: ("error", "x")})
    assert list(Frames(writer.repository).best("digits")["trial"]) == [complete]


def test_a_trial_that_another_continues_is_not_listed_but_one_that_is_repeated_is(
    database: Database,
) -> None:
    writer = begin(database, num_trials=2)
    continued, repeated = writer.ids
    child = continue_trial(writer, 2, continued, epoch=5)
    repeat = a_trial(3, stage_id=writer.stage_id, parent_id=repeated, replicate=1)
    writer.repository.add_trials(writer.lease, [repeat])
    finish(writer, {continued: 0.9, repeated: 0.8, child: 0.7})
    assert list(Frames(writer.repository).best("digits")["trial"]) == [repeated, child]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_list_of_searches_says_of_each_what_best_says(
    database: Database, mode: Literal["max", "min"]
) -> None:
    """Over seeds where trials were repeated; else neither repeats nor what was continued."""
    objective = Objective(metric="val_loss" if mode == "min" else "val_accuracy", mode=mode)
    repeated = begin(database, num_trials=3, spec=a_spec("repeated", objective=objective))
    confirm, _ = repeated.repository.open_stage(repeated.lease, a_stage(1, kind="confirm"), [])
    of = [(repeated.ids[place], seed) for place in (0, 1) for seed in (1, 2)]
    new = [
        a_trial(3 + n, stage_id=confirm.id, parent_id=parent, replicate=seed)
        for n, (parent, seed) in enumerate(of)
    ]
    added = repeated.repository.add_trials(repeated.lease, new)
    values = (0.9, 0.8, 0.95, 0.7, 0.6, 0.5, 0.4)
    ids = [*repeated.ids, *(trial.id for trial in added)]
    finish(repeated, dict(zip(ids, values, strict=True)))
    continued = begin(database, num_trials=2, spec=a_spec("continued", objective=objective))
    child = a_trial(2, stage_id=continued.stage_id, parent_id=continued.ids[0], start_epoch=2)
    (failed,) = continued.repository.add_trials(continued.lease, [child])
    finish(continued, {continued.ids[0]: 0.9 if mode == "max" else 0.1, continued.ids[1]: 0.5})
    continued.repository.fail_trials(continued.lease, {failed.id: ("error", "x")})
    frames = Frames(repeated.repository)
    told = [frames.best(name, n=1)["mean"][0] for name in ("repeated", "continued")]
    assert told == pytest.approx([0.65 if mode == "max" else 0.45, 0.5])
    assert list(frames.searches()["best"]) == told


def plan_of_best(url: str, words: str) -> str:
    """How SQLite carries out that query of ``Frames.best`` which has these words in it."""
    database = Database(url)
    writer = begin(database)
    asked: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, *rest):  # type: ignore[no-untyped-def]
        asked.append((statement, parameters))

    Frames(writer.repository).best("digits")
    statement, parameters = next(ask for ask in asked if words in ask[0])
    with database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return " | ".join(row[3] for row in plan)


def test_the_best_are_found_through_the_index(sqlite_url: str) -> None:
    steps = plan_of_best(sqlite_url, "ORDER BY trials.value")
    assert "ix_trials_search_id_value" in steps
    assert "SCAN" not in steps


def test_what_was_repeated_is_found_through_its_stage(sqlite_url: str) -> None:
    steps = plan_of_best(sqlite_url, "WITH repeats")
    assert "SEARCH trials USING INDEX ix_trials_stage_id" in steps


def test_a_pruned_trial_has_its_epochs_and_is_not_among_the_best(database: Database) -> None:
    writer = begin(database, num_trials=2)
    pruned, kept = writer.ids
    writer.repository.commit_report(writer.lease, a_report(1, {pruned: 0.9, kept: 0.1}, "waiting"))
    decision = RungCommit(pruned=(pruned,), kept={kept: (1, 5)}, data={})
    writer.repository.decide_rung(writer.lease, decision)
    finish(writer, {kept: 0.2})
    frames = Frames(writer.repository)
    rows = frames.trials("digits").set_index("trial")
    assert dict(rows["state"]) == {pruned: "pruned", kept: "complete"}
    assert dict(rows["value"]) == {pruned: 0.9, kept: 0.2}
    assert rows["finished_at"].notna().all()
    assert list(frames.curves("digits")["trial"]) == [pruned, kept, kept]
    assert list(frames.best("digits")["trial"]) == [kept]
    assert list(frames.status("digits")["pruned"]) == [1]


def test_a_trial_of_folds_has_its_spread_beside_its_value(database: Database) -> None:
    writer = begin(database, num_trials=2)
    folded, plain = writer.ids
    report = a_report(5, {folded: 0.9}, state="complete", spread=0.03)
    writer.repository.commit_report(writer.lease, report)
    finish(writer, {plain: 0.8})
    best = Frames(writer.repository).best("digits").set_index("trial")
    assert best["spread"][folded] == 0.03
    assert math.isnan(best["spread"][plain])


@pytest.mark.parametrize(
    ("choices", "dtype"),
    [
        ((None, 0.5), "float64"),
        ((None, "mse"), "category"),
        ((True, False), "boolean"),
        ((None, 3), "Int64"),
        (((1.0, 0.5), ()), "object"),
        ((None,), "object"),
    ],
)
def test_a_choice_of_nothing_is_missing_and_changes_no_dtype(
    sqlite_url: str, choices: tuple[object, ...], dtype: str
) -> None:
    space = Space(parameters={"parameter": Choice(choices=choices)})
    writer = begin(Database(sqlite_url), num_trials=0, spec=a_spec(space=space))
    drawn = [
        a_trial(number, stage_id=writer.stage_id, params={"parameter": choice})
        for number, choice in enumerate(choices)
    ]
    writer.repository.add_trials(writer.lease, drawn)
    column = Frames(writer.repository).trials("digits")["parameter"]
    assert str(column.dtype) == dtype
    assert list(column.astype(object).where(column.notna(), None)) == list(choices)

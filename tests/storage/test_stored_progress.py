"""Repository: how trials get on, from their first start to a report that ends them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from sqlalchemy import select
from stored_searches import a_report, begin

from hpsearch.storage.database import Database
from hpsearch.storage.records import ReportCommit
from hpsearch.storage.reports import METRIC_COLUMNS
from hpsearch.storage.tables import MetricRow, TrialRow
from workers.metrics import OBJECTIVES, PER_FOLD, PER_LAYER, WATCHED


def test_a_started_trial_is_running_and_remembers_its_first_start(database: Database) -> None:
    writer = begin(database)
    first, *_ = writer.ids
    writer.repository.start_group(writer.lease, [first], "worker-0")
    started = times(database, first)
    writer.repository.start_group(writer.lease, [first], "worker-1")
    assert times(database, first) == started
    assert started[1] is None
    assert [(trial.state, trial.attempts) for trial in writer.stored()] == [
        ("running", 2),
        *[("waiting", 0)] * 3,
    ]


def test_a_report_stores_metrics_and_progress(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    writer.repository.commit_report(
        writer.lease, a_report(1, {a: 0.5, b: math.nan}, checkpoint_file="f", checkpoint_row=3)
    )
    assert metrics(database) == {(a, 1): (0.5, 0.05), (b, 1): ("nan", "nan")}
    stored = writer.stored()[0]
    assert (stored.epochs, stored.value, stored.best_epoch, stored.seconds) == (1, 0.5, 1, 0.5)
    assert (stored.checkpoint_file, stored.checkpoint_row, stored.state) == ("f", 3, "running")
    assert math.isnan(writer.stored()[1].value or 0.0)


def test_the_tables_have_a_column_for_every_metric_that_training_may_report() -> None:
    ours = {*OBJECTIVES, *WATCHED, *PER_LAYER, *PER_FOLD}
    assert set(METRIC_COLUMNS) == {*ours, "seconds", "value", "others"}
    assert len(METRIC_COLUMNS) == len(set(METRIC_COLUMNS))


def test_every_metric_comes_back_and_what_is_not_reported_is_null(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    numbers = {name: 0.5 + i for i, name in enumerate([*OBJECTIVES, *WATCHED])}
    whole = {**numbers, "layer_gradient_norms": [1e-3, math.inf, math.nan], "seconds": 2.0}
    rows = [{"trial_id": a, **whole}, {"trial_id": b, "val_mae": math.nan}]
    commit = ReportCommit(epoch=1, metrics=rows, progress=())
    writer.repository.commit_report(writer.lease, commit)
    with database.read() as connection:
        first, second = connection.execute(
            select(MetricRow.__table__).order_by(MetricRow.trial_id)
        ).all()
    assert {name: getattr(first, name) for name in numbers} == numbers
    assert str(first.layer_gradient_norms) == "(0.001, inf, nan)"
    assert math.isnan(second.val_mae)
    others = set(METRIC_COLUMNS) - {"val_mae"}
    assert {getattr(second, name) for name in others} == {None}


def test_the_spread_belongs_to_the_value(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    writer.repository.commit_report(writer.lease, a_report(1, {a: 0.5, b: 0.4}, spread=0.02))
    writer.repository.commit_report(writer.lease, a_report(2, {a: 0.6}, spread=0.01))
    assert [trial.spread for trial in writer.stored()] == [0.01, 0.02, None, None]


def test_the_first_metrics_of_an_epoch_stay(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    writer.repository.commit_report(writer.lease, a_report(1, {a: 0.5}))
    writer.repository.commit_report(writer.lease, a_report(1, {a: 0.6, b: 0.7}))
    assert metrics(database) == {(a, 1): (0.5, 0.05), (b, 1): (0.7, 0.07)}


def test_a_report_without_checkpoint_keeps_the_stored_one(database: Database) -> None:
    writer = begin(database)
    first, *_ = writer.ids
    checkpoint = {"checkpoint_file": "f", "checkpoint_row": 2, "checkpoint_epoch": 1}
    writer.repository.commit_report(writer.lease, a_report(1, {first: 0.5}, **checkpoint))
    writer.repository.commit_report(writer.lease, a_report(2, {first: 0.6}))
    stored = writer.stored()[0]
    assert (stored.checkpoint_file, stored.checkpoint_row, stored.checkpoint_epoch) == ("f", 2, 1)
    assert (stored.epochs, stored.value) == (2, 0.6)


def test_what_one_trial_of_a_report_has_changes_no_other(database: Database) -> None:
    """A checkpoint, an end, a failure: each beside trials that have none in the same report."""
    writer = begin(database, num_trials=3)
    checkpoint = {"checkpoint_file": "f", "checkpoint_row": 2, "checkpoint_epoch": 1}
    first = a_report(1, dict.fromkeys(writer.ids, 0.5), **checkpoint)
    second = a_report(2, dict.fromkeys(writer.ids, 0.6))
    a, b, c = second.progress
    newer = {"checkpoint_file": "g", "checkpoint_row": 0, "checkpoint_epoch": 2}
    failure = {"failure_kind": "diverged", "failure_message": "at epoch 2"}
    mixed = (replace(a, **newer), replace(b, state="failed", **failure), c)
    writer.repository.commit_report(writer.lease, first)
    writer.repository.commit_report(writer.lease, replace(second, progress=mixed))
    writer.repository.commit_report(writer.lease, a_report(3, {writer.ids[2]: 0.7}))
    stored = writer.stored()
    assert [(t.checkpoint_file, t.checkpoint_row, t.checkpoint_epoch) for t in stored] == [
        ("g", 0, 2),
        ("f", 2, 1),
        ("f", 2, 1),
    ]
    assert [(t.state, t.failure_kind) for t in stored] == [
        ("running", None),
        ("failed", "diverged"),
        ("running", None),
    ]
    assert [times(database, id)[1] is None for id in writer.ids] == [True, False, True]


def test_rows_of_a_report_may_have_their_names_in_any_order(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    rows = [
        {"trial_id": a, "val_accuracy": 0.5, "val_loss": 0.05},
        {"val_loss": 0.07, "trial_id": b, "val_accuracy": 0.7},
    ]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=rows, progress=()))
    assert metrics(database) == {(a, 1): (0.5, 0.05), (b, 1): (0.7, 0.07)}


def test_trials_that_end_with_a_report_have_a_time(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    writer.repository.commit_report(writer.lease, a_report(5, {a: 0.5}, state="complete"))
    writer.repository.commit_report(
        writer.lease,
        a_report(5, {b: None}, "failed", failure_kind="diverged", failure_message="at epoch 5"),
    )
    complete, failed, waiting, _ = writer.stored()
    assert (complete.state, failed.state, waiting.state) == ("complete", "failed", "waiting")
    assert (failed.failure_kind, failed.failure_message) == ("diverged", "at epoch 5")
    assert times(database, a)[1] is not None
    assert times(database, b)[1] is not None


def test_an_unknown_metric_is_refused(database: Database) -> None:
    writer = begin(database)
    commit = ReportCommit(epoch=1, metrics=[{"trial_id": 1, "accuracy": 1.0}], progress=())
    with pytest.raises(ValueError, match=r"one of train_loss, .*but got \['accuracy'\]"):
        writer.repository.commit_report(writer.lease, commit)


def test_trials_fail_each_with_its_reason(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    writer.repository.fail_trials(writer.lease, {a: ("worker_lost", "gone\0"), b: ("error", "é")})
    stored = writer.stored()
    assert [(t.state, t.failure_kind, t.failure_message) for t in stored[:3]] == [
        ("failed", "worker_lost", "gone\ufffd"),
        ("failed", "error", "é"),
        ("waiting", None, None),
    ]
    assert times(database, a)[1] is not None


def test_trials_are_regrouped(database: Database) -> None:
    writer = begin(database)
    a, _, c, _ = writer.ids
    writer.repository.regroup(writer.lease, {a: 8, c: 9})
    assert [trial.group for trial in writer.stored()] == [8, 0, 9, 0]


def test_a_lease_does_not_reach_into_another_search(database: Database) -> None:
    one, other = begin(database), begin(database)
    stranger = other.ids[0]
    one.repository.start_group(one.lease, [stranger], "w")
    one.repository.fail_trials(one.lease, {stranger: ("error", "x")})
    one.repository.regroup(one.lease, {stranger: 7})
    one.repository.finish_stage(one.lease, other.stage_id)
    progress = a_report(1, {stranger: 0.5}).progress
    one.repository.commit_report(one.lease, ReportCommit(epoch=1, metrics=[], progress=progress))
    assert other.stored() == other.trials
    assert other.repository.load(other.search.id)[0][0].state == "running"
    with pytest.raises(ValueError, match="leased search"):
        one.repository.add_diagnoses(one.lease, other.search.id, [])


def test_writes_of_nothing_are_no_error(database: Database) -> None:
    writer = begin(database)
    before = writer.repository.events(writer.search.id)
    assert writer.repository.add_trials(writer.lease, []) == []
    writer.repository.start_group(writer.lease, [], "w")
    writer.repository.fail_trials(writer.lease, {})
    writer.repository.regroup(writer.lease, {})
    writer.repository.add_diagnoses(writer.lease, writer.search.id, [])
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=[], progress=()))
    assert writer.stored() == writer.trials
    assert writer.repository.events(writer.search.id) == before


# What the repository does not tell


def times(database: Database, trial_id: int) -> tuple[object, object]:
    """A trial's started_at and finished_at."""
    with database.read() as connection:
        row = connection.execute(
            select(TrialRow.started_at, TrialRow.finished_at).where(TrialRow.id == trial_id)
        ).one()
    return row.started_at, row.finished_at


def metrics(database: Database) -> dict[tuple[int, int], tuple[object, object]]:
    """(trial, epoch) -> accuracy and loss; NaN as text, which is equal to itself."""
    with database.read() as connection:
        rows = connection.execute(select(MetricRow.__table__)).all()
    return {(row.trial_id, row.epoch): (told(row.val_accuracy), told(row.val_loss)) for row in rows}


def told(value: float) -> object:
    return "nan" if math.isnan(value) else pytest.approx(value)

"""Rungs, groups and speeds: what a search needs to prune, and to be trained again as it was."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from sqlalchemy import select
from stored_searches import a_group, a_report, a_trial, begin

from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import ReportCommit, RungCommit, SpeedRecord
from hpsearch.storage.tables import TrialRow

SLOW = SpeedRecord(kind="cnn", device="cpu", width=4, seconds=0.5, bytes=2**40)
FAST = SpeedRecord(kind="cnn", device="cpu", width=1, seconds=0.1, bytes=0)


# Rungs


def test_pruned_trials_end_and_kept_ones_wait_in_their_next_group(database: Database) -> None:
    writer = begin(database)
    a, b, c, d = writer.ids
    writer.repository.start_group(writer.lease, [a, b, c], "w")
    data = {"stage": "coarse", "epoch": 2, "pruned": [1], "kept": [0, 2], "worst": math.nan}
    decision = RungCommit(pruned=(b,), kept={a: (7, 4), c: (8, 5)}, data=data)
    writer.repository.decide_rung(writer.lease, decision)
    assert [(t.id, t.state, t.group, t.until_epoch) for t in writer.stored()] == [
        (a, "waiting", 7, 4),
        (b, "pruned", 0, 5),
        (c, "waiting", 8, 5),
        (d, "waiting", 0, 5),
    ]
    assert ended(database) == {b}
    event = writer.repository.events(writer.search.id)[-1]
    assert event.kind == "rung"
    assert str(event.data) == str({**data, "pruned": (1,), "kept": (0, 2)})


def test_a_rung_may_keep_or_prune_all(database: Database) -> None:
    writer = begin(database, num_trials=2)
    a, b = writer.ids
    keep = RungCommit(pruned=(), kept={a: (1, 3), b: (1, 3)}, data={})
    writer.repository.decide_rung(writer.lease, keep)
    assert {t.state for t in writer.stored()} == {"waiting"}
    writer.repository.decide_rung(writer.lease, RungCommit(pruned=(a, b), kept={}, data={}))
    assert {t.state for t in writer.stored()} == {"pruned"}


def test_a_decision_does_not_reach_into_another_search(database: Database) -> None:
    one, other = begin(database), begin(database)
    a, b, *_ = other.ids
    decision = RungCommit(pruned=(a,), kept={b: (9, 2)}, data={})
    one.repository.decide_rung(one.lease, decision)
    assert other.stored() == other.trials
    assert one.stored() == one.trials


def test_trials_are_stored_with_the_epoch_of_their_first_rung(database: Database) -> None:
    writer = begin(database, num_trials=0)
    drawn = [a_trial(0, stage_id=writer.stage_id, target_epochs=9, until_epoch=3)]
    (stored,) = writer.repository.add_trials(writer.lease, drawn)
    assert (stored.target_epochs, stored.until_epoch) == (9, 3)
    assert writer.stored() == [stored]


# Curves


def test_curves_are_by_trial_and_epoch_with_nan_and_without_what_is_missing(
    database: Database,
) -> None:
    stranger = begin(database)
    writer = begin(database)
    a, b, c, _ = writer.ids
    for epoch in (2, 1):  # in the order of epochs, whatever came first
        report = a_report(epoch, {a: epoch / 10, b: math.nan, c: None})
        writer.repository.commit_report(writer.lease, report)
    writer.repository.commit_report(writer.lease, a_report(3, {a: math.inf}))
    found = writer.repository.curves(writer.search.id, "val_accuracy")
    assert str(found) == str({a: {1: 0.1, 2: 0.2, 3: math.inf}, b: {1: math.nan, 2: math.nan}})
    losses = writer.repository.curves(writer.search.id, "val_loss")
    assert losses[a] == pytest.approx({1: 0.01, 2: 0.02, 3: math.inf})
    assert writer.repository.curves(stranger.search.id, "val_accuracy") == {}


def test_curves_of_folds_have_a_value_a_fold(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    rows = [{"trial_id": a, "by_fold": [0.5, math.nan, 1]}, {"trial_id": b, "val_loss": 1.0}]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=rows, progress=()))
    assert str(writer.repository.fold_curves(writer.search.id)) == str({a: {1: (0.5, math.nan, 1)}})


def test_the_curve_of_an_objective_that_is_none_of_ours_is_its_value(database: Database) -> None:
    writer = begin(database)
    a, b, *_ = writer.ids
    rows = [{"trial_id": a, "value": 0.5}, {"trial_id": b, "val_loss": 1.0}]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=rows, progress=()))
    assert writer.repository.curves(writer.search.id, "top2") == {a: {1: 0.5}}


# Groups


def test_what_is_stored_of_a_group_stays_when_it_is_started_again(database: Database) -> None:
    writer = begin(database)
    repository, lease, search = writer.repository, writer.lease, writer.search.id
    repository.start_group(lease, writer.ids, "w", a_group(3))
    repository.start_group(lease, writer.ids, "w", a_group(3, width=8, measures=False, device="x"))
    repository.start_group(lease, writer.ids, "w", a_group(1, width=64, measures=False))
    repository.start_group(lease, writer.ids, "w")
    stored = [a_group(1, width=64, measures=False), a_group(3)]
    assert repository.groups(search) == stored
    assert [trial.attempts for trial in writer.stored()] == [4] * 4


def test_the_epoch_from_which_a_group_measures_is_stored_anew_until_it_has(
    database: Database,
) -> None:
    writer = begin(database)
    repository, lease, search = writer.repository, writer.lease, writer.search.id
    repository.start_group(lease, writer.ids, "w", a_group(3, start_epoch=2))
    repository.start_group(lease, writer.ids, "w", a_group(4, start_epoch=2, width=8))
    for number in (3, 4):
        repository.start_group(lease, writer.ids, "w", a_group(number, start_epoch=0))
    assert repository.groups(search) == [
        a_group(3, start_epoch=0),
        a_group(4, start_epoch=2, width=8),
    ]


def test_parts_are_stored_with_the_way_they_are_trained(database: Database) -> None:
    writer = begin(database)
    a, b, c, d = writer.ids
    parts = [a_group(number, width=8, measures=False) for number in (1, 2)]
    writer.repository.regroup(writer.lease, {a: 1, b: 1, c: 2, d: 2}, parts)
    assert [trial.group for trial in writer.stored()] == [1, 1, 2, 2]
    assert writer.repository.groups(writer.search.id) == parts


def test_a_report_moves_groups_with_what_was_measured_or_does_neither(database: Database) -> None:
    writer = begin(database)
    a, b, c, _ = writer.ids
    commit = replace(a_report(1, {a: 0.5}), speeds=(FAST,), regrouped={b: 7, c: 7})
    writer.repository.commit_report(writer.lease, commit)
    assert [trial.group for trial in writer.stored()] == [0, 7, 7, 0]
    assert writer.repository.speeds() == [FAST]
    broken = replace(commit, speeds=(SLOW,), regrouped={b: None})
    with pytest.raises(StorageError):
        writer.repository.commit_report(writer.lease, broken)
    assert writer.repository.speeds() == [FAST]


def test_a_report_stores_the_width_that_its_group_chose(database: Database) -> None:
    one, other = begin(database), begin(database)
    for writer in (one, other):
        writer.repository.start_group(writer.lease, writer.ids, "w", a_group(3))
        writer.repository.start_group(writer.lease, writer.ids, "w", a_group(4))
    commit = replace(a_report(1, {one.ids[0]: 0.5}), group=a_group(3, width=16))
    one.repository.commit_report(one.lease, commit)
    one.repository.commit_report(one.lease, a_report(2, {one.ids[0]: 0.5}))
    assert one.repository.groups(one.search.id) == [a_group(3, width=16), a_group(4)]
    assert one.repository.groups(other.search.id) == [a_group(3), a_group(4)]


# Speeds


def test_the_newest_measurement_replaces_the_one_before(database: Database) -> None:
    writer = begin(database)
    elsewhere = replace(FAST, device="cuda")
    for speeds in ((SLOW, FAST), (replace(FAST, seconds=0.2, bytes=7), elsewhere)):
        commit = ReportCommit(epoch=1, metrics=[], progress=(), speeds=speeds)
        writer.repository.commit_report(writer.lease, commit)
    known = [replace(FAST, seconds=0.2, bytes=7), SLOW]
    assert writer.repository.speeds("cpu") == known
    assert writer.repository.speeds() == [*known, elsewhere]
    assert writer.repository.speeds("tpu") == []


def test_a_report_that_is_refused_leaves_no_speeds(database: Database) -> None:
    writer = begin(database)
    rows = [{"trial_id": writer.ids[0], "unheard_of": 1.0}]
    commit = ReportCommit(epoch=1, metrics=rows, progress=(), group=a_group(), speeds=(FAST,))
    with pytest.raises(ValueError, match="unheard_of"):
        writer.repository.commit_report(writer.lease, commit)
    assert writer.repository.speeds() == []


def ended(database: Database) -> set[int]:
    """The trials that have a time of their end."""
    with database.read() as connection:
        rows = connection.execute(select(TrialRow.id).where(TrialRow.finished_at.is_not(None)))
        return {row.id for row in rows}

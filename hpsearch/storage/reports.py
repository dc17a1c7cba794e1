"""The progress of trials as rows: started, reported, ended.

Called by ``hpsearch.storage.repository`` inside its transactions, many times a second: a group's
rows go out in one call of the driver, with the columns that have something to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, bindparam, func, update
from sqlalchemy.dialects import postgresql, sqlite

from hpsearch.storage.bulk import execute_rows
from hpsearch.storage.events import add_event
from hpsearch.storage.records import FINISHED, FailureKind, ReportCommit, TrialProgress
from hpsearch.storage.tables import MetricRow, TrialRow
from hpsearch.storage.trials import update_trials
from hpsearch.storage.types import UtcDateTime

METRIC_COLUMNS = tuple(column.name for column in MetricRow.__table__.c if not column.primary_key)
_ADMITTED = {"trial_id", "epoch", *METRIC_COLUMNS}
OTHERS = "others"  # the column of metrics of a user's own beside it, by name

# An epoch that is trained again after a crash gives the same numbers; the first ones stay.
_INSERT_METRICS = {
    "sqlite": sqlite.insert(MetricRow).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(MetricRow).on_conflict_do_nothing(),
}
_START = (
    update(TrialRow)
    .where(TrialRow.search_id == bindparam("search"))
    .where(TrialRow.id.in_(bindparam("trials", expanding=True)))
    .values(
        state="running",
        worker=bindparam("on"),
        attempts=TrialRow.attempts + 1,
        failure_kind=None,  # of an earlier attempt, of a Tuner that was restored say
        failure_message=None,
        started_at=func.coalesce(TrialRow.started_at, bindparam("now", type_=UtcDateTime())),
    )
)
_SET = ("epochs", "value", "spread", "best_epoch", "seconds", "state", "stopped_early")
_FAILURE = ("failure_kind", "failure_message")
_CHECKPOINT = ("checkpoint_file", "checkpoint_row", "checkpoint_epoch")
_KEPT = (*_FAILURE, *_CHECKPOINT, "finished_at")  # where a report has None, what is stored stays
_GIVEN = ("trial_id", *_SET, *_FAILURE, *_CHECKPOINT)
_given = attrgetter(*_GIVEN)


def start_group(
    connection: Connection, search_id: int, trial_ids: Sequence[int], worker: str, now: datetime
) -> None:
    """Set trials running on ``worker``, one attempt more."""
    given = {"search": search_id, "trials": trial_ids, "on": worker, "now": now}
    connection.execute(_START, given)


def commit_report(
    connection: Connection, search_id: int, commit: ReportCommit, now: datetime
) -> None:
    """Store the metrics of one epoch and where the trials stand after it."""
    if commit.metrics:
        execute_rows(connection, _INSERT_METRICS[connection.dialect.name], _metrics(commit))
    if commit.progress:
        columns = _progress(commit.progress, now)
        update_trials(connection, search_id, columns.pop("trial_id"), columns, kept=_KEPT)


def fail_trials(
    connection: Connection,
    search_id: int,
    failures: Mapping[int, tuple[FailureKind, str]],
    now: datetime,
) -> None:
    """Set trials failed, each with its kind and message."""
    if not failures:
        return
    kinds, messages = zip(*failures.values(), strict=True)
    columns = {
        "state": ["failed"] * len(failures),
        "failure_kind": kinds,
        "failure_message": messages,
        "finished_at": [now] * len(failures),
    }
    update_trials(connection, search_id, list(failures), columns)
    data = {"trials": list(failures), "kinds": sorted(set(kinds))}
    add_event(connection, search_id, "trials_failed", data, now)


def regroup(
    connection: Connection, search_id: int, groups: Mapping[int, int], now: datetime
) -> None:
    """Give trials other group numbers."""
    if not groups:
        return
    update_trials(connection, search_id, list(groups), {"group": list(groups.values())})
    data = {"trials": list(groups), "groups": sorted(set(groups.values()))}
    add_event(connection, search_id, "regrouped", data, now)


def _metrics(commit: ReportCommit) -> dict[str, Sequence[Any]]:
    """The columns that one row has at least, as every column costs time."""
    rows, layouts = commit.metrics, set(map(tuple, commit.metrics))
    given = set().union(*layouts)
    unknown = given - _ADMITTED
    if unknown:
        raise ValueError(
            f"a metric must be one of {', '.join(METRIC_COLUMNS)}, but got {sorted(unknown)}"
        )
    columns: dict[str, Sequence[Any]]
    if len(layouts) == 1:  # the same names in one order, as of one group: no name is looked up
        columns = dict(zip(*layouts, zip(*map(dict.values, rows), strict=True), strict=True))
    else:
        columns = {name: [row.get(name) for row in rows] for name in sorted(given)}
    return {**columns, "epoch": [commit.epoch] * len(rows)}


def _progress(trials: Sequence[TrialProgress], now: datetime) -> dict[str, Sequence[Any]]:
    """By the names of columns; those that would all stay as they are left out."""
    values = zip(*map(_given, trials), strict=True)
    columns: dict[str, Sequence[Any]] = dict(zip(_GIVEN, values, strict=True))
    columns["finished_at"] = [now if state in FINISHED else None for state in columns["state"]]
    for name in _CHECKPOINT:  # a row and an epoch mean nothing without a file
        pairs = zip(columns[name], columns["checkpoint_file"], strict=True)
        columns[name] = [None if file is None else value for value, file in pairs]
    silent = [name for name in _KEPT if list(columns[name]).count(None) == len(trials)]
    return {name: values for name, values in columns.items() if name not in silent}

"""The progress of trials as rows: started, reported, ended.

Called by ``hpsearch.storage.repository`` inside its transactions, many times a second: statements
are built once, and a group's rows go out in one call of the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, update
from sqlalchemy.dialects import postgresql, sqlite

from hpsearch.storage.events import add_event
from hpsearch.storage.records import FINISHED, FailureKind, ReportCommit, TrialProgress
from hpsearch.storage.tables import MetricRow, TrialRow

METRIC_COLUMNS = tuple(column.name for column in MetricRow.__table__.c if not column.primary_key)
_ADMITTED = {"trial_id", "epoch", *METRIC_COLUMNS}
_TRIALS = TrialRow.__table__
_OWN = (_TRIALS.c.id == bindparam("trial")) & (_TRIALS.c.search_id == bindparam("search"))

# An epoch that is trained again after a crash gives the same numbers; the first ones stay.
_INSERT_METRICS = {
    "sqlite": sqlite.insert(MetricRow).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(MetricRow).on_conflict_do_nothing(),
}


def _kept(column: str, new: str) -> dict[str, Any]:
    """Set ``column`` to the parameter ``new``, or leave it as it is where that is NULL."""
    stored = _TRIALS.c[column]
    return {column: func.coalesce(bindparam(new, type_=stored.type), stored)}


_PROGRESS = (
    update(TrialRow)
    .where(_OWN)
    .values(
        **{
            name: bindparam(f"new_{name}")
            for name in (
                "epochs",
                "value",
                "spread",
                "best_epoch",
                "seconds",
                "state",
                "stopped_early",
            )
        },
        **_kept("failure_kind", "new_failure_kind"),
        **_kept("failure_message", "new_failure_message"),
        **_kept("checkpoint_file", "new_checkpoint_file"),
        **_kept("checkpoint_row", "new_checkpoint_row"),
        **_kept("checkpoint_epoch", "new_checkpoint_epoch"),
        **_kept("finished_at", "new_finished_at"),
    )
)
_FAILURE = (
    update(TrialRow)
    .where(_OWN)
    .values(
        state="failed",
        failure_kind=bindparam("new_kind"),
        failure_message=bindparam("new_message"),
        finished_at=bindparam("new_finished_at"),
    )
)
_GROUP = update(TrialRow).where(_OWN).values(group=bindparam("new_group"))


def start_group(
    connection: Connection, search_id: int, trial_ids: Sequence[int], worker: str, now: datetime
) -> None:
    """Set trials running on ``worker``, one attempt more."""
    connection.execute(
        update(TrialRow)
        .where(TrialRow.search_id == search_id, TrialRow.id.in_(trial_ids))
        .values(
            state="running",
            worker=worker,
            attempts=TrialRow.attempts + 1,
            started_at=func.coalesce(TrialRow.started_at, now),
        )
    )


def commit_report(
    connection: Connection, search_id: int, commit: ReportCommit, now: datetime
) -> None:
    """Store the metrics of one epoch and where the trials stand after it."""
    metrics = _metrics(commit)
    if metrics:
        connection.execute(_INSERT_METRICS[connection.dialect.name], metrics)
    progress = [_progress(trial, search_id, now) for trial in commit.progress]
    if progress:
        connection.execute(_PROGRESS, progress)


def fail_trials(
    connection: Connection,
    search_id: int,
    failures: Mapping[int, tuple[FailureKind, str]],
    now: datetime,
) -> None:
    """Set trials failed, each with its kind and message."""
    if not failures:
        return
    rows = [
        {
            "trial": trial_id,
            "search": search_id,
            "new_kind": kind,
            "new_message": message,
            "new_finished_at": now,
        }
        for trial_id, (kind, message) in failures.items()
    ]
    connection.execute(_FAILURE, rows)
    data = {"trials": list(failures), "kinds": sorted({kind for kind, _ in failures.values()})}
    add_event(connection, search_id, "trials_failed", data, now)


def regroup(
    connection: Connection, search_id: int, groups: Mapping[int, int], now: datetime
) -> None:
    """Give trials other group numbers."""
    if not groups:
        return
    rows = [
        {"trial": trial_id, "search": search_id, "new_group": group}
        for trial_id, group in groups.items()
    ]
    connection.execute(_GROUP, rows)
    data = {"trials": list(groups), "groups": sorted(set(groups.values()))}
    add_event(connection, search_id, "regrouped", data, now)


def _metrics(commit: ReportCommit) -> list[dict[str, Any]]:
    """Rows with the same columns: all that one of them has, as every column costs time."""
    given = set().union(*commit.metrics)
    unknown = given - _ADMITTED
    if unknown:
        raise ValueError(
            f"a metric must be one of {', '.join(METRIC_COLUMNS)}, but got {sorted(unknown)}"
        )
    names = [name for name in METRIC_COLUMNS if name in given]
    return [
        {
            "trial_id": row["trial_id"],
            "epoch": commit.epoch,
            **{name: row.get(name) for name in names},
        }
        for row in commit.metrics
    ]


def _progress(trial: TrialProgress, search_id: int, now: datetime) -> dict[str, Any]:
    has_file = trial.checkpoint_file is not None
    return {
        "trial": trial.trial_id,
        "search": search_id,
        "new_epochs": trial.epochs,
        "new_value": trial.value,
        "new_spread": trial.spread,
        "new_best_epoch": trial.best_epoch,
        "new_seconds": trial.seconds,
        "new_state": trial.state,
        "new_stopped_early": trial.stopped_early,
        "new_failure_kind": trial.failure_kind,
        "new_failure_message": trial.failure_message,
        "new_checkpoint_file": trial.checkpoint_file,
        "new_checkpoint_row": trial.checkpoint_row if has_file else None,
        "new_checkpoint_epoch": trial.checkpoint_epoch if has_file else None,
        "new_finished_at": now if trial.state in FINISHED else None,
    }

"""Progress: what a Report changes, as one commit.

Called by the loop for each Report. What is stored already stays: a group that is trained again
after a loss repeats epochs, and repeats them with the same results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpsearch.errors import HpsearchError
from hpsearch.spec.search import Objective, Search
from hpsearch.storage.records import (
    FINISHED,
    ReportCommit,
    TrialProgress,
    TrialRecord,
    TrialState,
)
from hpsearch.storage.reports import METRIC_COLUMNS, OTHERS
from workers.messages import Divergence, Metric, Refusal, Report
from workers.metrics import column_of

SPREAD = "spread"  # the metric: the standard deviation of the objective over the folds


def advance(
    trials: Mapping[int, TrialRecord], report: Report, objective: Objective
) -> list[TrialRecord]:
    """The new records of all trials that ``report`` changes."""
    share_s = _share_s(report)
    return [
        *_advanced(trials, report, objective, share_s),
        *(
            trials[id].changed(_standing(trials[id], report))
            for id in (*report.stopped, *report.pruned)
            if id not in report.trials and trials[id].state not in FINISHED
        ),
        *(
            _diverged(trials[end.trial], end, share_s)
            for end in report.diverged
            if trials[end.trial].state not in FINISHED
        ),
        *(
            _refused(trials[refusal.trial], refusal)
            for refusal in report.refused
            if trials[refusal.trial].state not in FINISHED
        ),
    ]


def commit(
    old: Mapping[int, TrialRecord], new: list[TrialRecord], report: Report, search: Search
) -> ReportCommit:
    """Rows for the epochs that are new, and the progress of the trials that changed."""
    fresh = {trial.id for trial in new if trial.epochs > old[trial.id].epochs}
    share_s = _share_s(report)
    alive = _stored(report.metrics, search)
    return ReportCommit(
        epoch=report.epoch,
        metrics=[
            {"trial_id": trial, "seconds": share_s, **dict(zip(alive, values, strict=True))}
            for trial, *values in zip(report.trials, *alive.values(), strict=True)
            if trial in fresh
        ]
        + [
            {"trial_id": end.trial, "seconds": share_s, **_stored_of_one(end.metrics, search)}
            for end in report.diverged
            if end.trial in fresh
        ],
        progress=tuple(_progress(trial) for trial in new),
    )


def _stored(metrics: Mapping[str, Sequence[Any]], search: Search) -> dict[str, Sequence[Any]]:
    """The values of each trial by the column that the database has for them."""
    columns = {name: values for name, values in metrics.items() if name in METRIC_COLUMNS}
    objective = search.objective.metric
    if objective in metrics:
        columns[column_of(objective)] = metrics[objective]
    own = {n: metrics[n] for n in search.metrics if n in metrics and n != objective}
    if own:
        rows = zip(*own.values(), strict=True)
        columns[OTHERS] = [dict(zip(own, row, strict=True)) for row in rows]
    return columns


def _stored_of_one(metrics: Mapping[str, Any], search: Search) -> dict[str, Any]:
    columns = _stored({name: [value] for name, value in metrics.items()}, search)
    return {name: value for name, (value,) in columns.items()}


def _share_s(report: Report) -> float:
    """A member's part of the epoch's wall time."""
    return report.seconds / max(1, len(report.trials) + len(report.diverged))


def _advanced(
    trials: Mapping[int, TrialRecord],
    report: Report,
    objective: Objective,
    share_s: float,
) -> Iterator[TrialRecord]:
    values = _objective_values(report, objective)
    spreads = report.metrics.get(SPREAD, [None] * len(values))
    for row, id in enumerate(report.trials):
        trial = trials[id]
        if trial.state in FINISHED:
            continue
        changes: dict[str, Any] = {}
        if report.epoch > trial.epochs:
            changes |= {
                "epochs": report.epoch,
                "seconds": trial.seconds + share_s,
                **_standing(trial, report),
                **_best(trial, report.epoch, values[row], spreads[row], objective.mode),
            }
        elif id in report.stopped or id in report.pruned:  # in an epoch that it trained again
            changes |= _standing(trial, report)
        if report.checkpoint is not None and report.epoch > trial.checkpoint_epoch:
            changes |= {
                "checkpoint_file": report.checkpoint,
                "checkpoint_row": row,
                "checkpoint_epoch": report.epoch,
            }
        if changes:
            yield trial.changed(changes)


def _standing(trial: TrialRecord, report: Report) -> dict[str, Any]:
    """What becomes of it in ``report``."""
    return {"state": _state(trial, report), "stopped_early": trial.id in report.stopped}


def _state(trial: TrialRecord, report: Report) -> TrialState:
    """A trial that stopped early is complete with the epochs that it has; one at a rung waits."""
    if trial.id in report.pruned:
        return "pruned"
    if report.epoch == trial.target_epochs or trial.id in report.stopped:
        return "complete"
    return "waiting" if report.epoch == trial.until_epoch else "running"


def _best(
    trial: TrialRecord, epoch: int, value: Metric, spread: Metric | None, mode: str
) -> dict[str, Any]:
    """The objective of this epoch, with its spread, if it is the trial's best so far."""
    assert isinstance(value, float | int)
    better = math.isfinite(value) and (
        trial.value is None or (value > trial.value if mode == "max" else value < trial.value)
    )
    return {"value": value, "spread": spread, "best_epoch": epoch} if better else {}


def _diverged(trial: TrialRecord, end: Divergence, share_s: float) -> TrialRecord:
    return replace(
        trial,
        epochs=end.epoch,
        seconds=trial.seconds + share_s,
        state="failed",
        failure_kind="diverged",
        failure_message=f"epoch {end.epoch}: {end.message}",
    )


def _refused(trial: TrialRecord, refusal: Refusal) -> TrialRecord:
    return replace(trial, state="failed", failure_kind="error", failure_message=refusal.message)


def _objective_values(report: Report, objective: Objective) -> list[Metric]:
    if not report.trials:
        return []
    if objective.metric not in report.metrics:
        raise HpsearchError(
            f"the objective must be a metric that training reports, but {objective.metric!r} is "
            f"not one of {', '.join(report.metrics)}; set objective.metric to one of these"
        )
    return report.metrics[objective.metric]


def _progress(trial: TrialRecord) -> TrialProgress:
    return TrialProgress(
        trial_id=trial.id,
        epochs=trial.epochs,
        value=trial.value,
        spread=trial.spread,
        best_epoch=trial.best_epoch,
        seconds=trial.seconds,
        state=trial.state,
        stopped_early=trial.stopped_early,
        failure_kind=trial.failure_kind,
        failure_message=trial.failure_message,
        checkpoint_file=trial.checkpoint_file,
        checkpoint_row=trial.checkpoint_row,
        checkpoint_epoch=trial.checkpoint_epoch,
    )

"""What a whole search will cost, from what its checks measured.

Called by ``hpsearch check`` and ``hpsearch preview``; pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.spec.preview import plan_summary
from hpsearch.spec.search import Search
from workers.messages import CheckResult

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """A stage's trials, the epochs that are to be trained, and the seconds it takes."""

    stage: str
    trials: int
    epochs: int
    trial_epochs: int
    seconds: float


def stage_costs(
    search: Search, results: Sequence[CheckResult], num_workers: int
) -> tuple[StageCost, ...]:
    """A row a stage that trains: epochs of single trials times the seconds of one, by the workers.

    The seconds of a trial's epoch are the mean over the probes that were timed, in groups as wide
    as planned. None if none was timed. Extensions that stages may make are not foreseen, nor is
    what pruners end: see :func:`at_most`.
    """
    timed = [result.evidence for result in results if "seconds_per_epoch" in result.evidence]
    if not timed:
        return ()
    each_s = sum(e["seconds_per_epoch"] / e["width"] for e in timed) / len(timed)
    return tuple(
        StageCost(
            stage=row.stage,
            trials=row.trials,
            epochs=row.epochs,
            trial_epochs=row.trial_epochs,
            seconds=row.trial_epochs * each_s / num_workers,
        )
        for row in plan_summary(search)
        if row.trials
    )


def at_most(search: Search) -> str:
    """The words before a number of epochs or a time that pruners may make less; else none."""
    return "at most " if any(stage.pruner is not None for stage in search.stages) else ""


def duration(seconds: float) -> str:
    """As a person says it: 42 s, 5.3 min, 2.1 h, 3.4 days."""
    for unit, size in (("days", DAY_S), ("h", HOUR_S), ("min", MINUTE_S)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"

"""What a search will do, stage by stage, in numbers; nothing is run.

Called by ``hpsearch preview``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.spec.search import Search, Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """One stage as planned. ``sampler`` is None for a stage that samples nothing: check, confirm.

    ``trial_epochs`` are those still to train: a continued trial is counted from its epoch on,
    and a pruner only makes them fewer.
    ``branches`` is what the spec's space parts into; later stages may drop some.
    """

    stage: str
    sampler: str | None
    trials: int
    epochs: int
    trial_epochs: int
    branches: int


def plan_summary(search: Search) -> tuple[PlanRow, ...]:
    """A row a stage of the spec; the extensions that a stage may make are not foreseen in it."""
    branches = sum(1 for _ in search.space.assignments())
    return tuple(
        PlanRow(
            stage=stage.name,
            sampler=stage.sampler if stage.kind == "search" else None,
            trials=_trials(stage),
            epochs=stage.epochs,
            trial_epochs=_trials(stage) * stage.epochs - _inherited(stage, search.stages[:i]),
            branches=branches,
        )
        for i, stage in enumerate(search.stages)
    )


def _trials(stage: Stage) -> int:
    return stage.top * stage.seeds if stage.kind == "confirm" else stage.trials


def _inherited(stage: Stage, earlier: Sequence[Stage]) -> int:
    """Epochs that the continued trials bring along, taking them from the stage just before."""
    return stage.continued * earlier[-1].epochs if earlier else 0

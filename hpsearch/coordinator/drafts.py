"""New trials before they are numbered: fresh ones, continued ones, repeats.

Called by ``planning`` and ``asking``. A trial's seed is keyed by its number, so the same plan gives
the same trials after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hpsearch.coordinator.rungs import next_rung
from hpsearch.coordinator.view import SearchView
from hpsearch.spec.space import Params
from hpsearch.storage.records import NewStage, NewTrial, TrialRecord
from workers.keys import key


def fresh(
    branch: str, sampled: Iterable[Params], *, generation: int, epochs: int, stage_id: int
) -> list[NewTrial]:
    """Trials that a sampler asked for, of an open stage."""
    return [
        _draft(branch, params, epochs, generation=generation, stage_id=stage_id)
        for params in sampled
    ]


def continued(parent: TrialRecord, epochs: int) -> NewTrial:
    """A trial that goes on from its parent's checkpoint up to ``epochs``, with what it has."""
    return _draft(
        parent.branch,
        parent.params,
        epochs,
        seed=parent.seed,
        replicate=parent.replicate,
        start_epoch=parent.epochs,
        parent_id=parent.id,
        value=parent.value,
        spread=parent.spread,
        best_epoch=parent.best_epoch,
        epochs=parent.epochs,
        checkpoint_file=parent.checkpoint_file,
        checkpoint_row=parent.checkpoint_row,
        checkpoint_epoch=parent.checkpoint_epoch,
    )


def repeated(parent: TrialRecord, replicate: int, epochs: int) -> NewTrial:
    """A trial with its parent's params, another seed and another order of minibatches."""
    return _draft(parent.branch, parent.params, epochs, replicate=replicate, parent_id=parent.id)


def numbered(view: SearchView, drafts: Sequence[NewTrial], stage: NewStage) -> list[NewTrial]:
    """Give numbers in order, the first rung of each, and seeds to all that do not inherit theirs.

    Both are keyed by the number; ``stage`` is what the trials belong to.
    """
    first, spec = len(view.trials), view.search.spec
    return [
        replace(
            draft,
            number=number,
            until_epoch=next_rung(spec, stage, number, draft.start_epoch),
            seed=draft.seed if draft.start_epoch else key(spec.seed, "trial", number),
        )
        for number, draft in enumerate(drafts, first)
    ]


def _draft(branch: str, params: Params, target_epochs: int, **known: Any) -> NewTrial:
    """A trial whose number, seed, group, stage and first rung are still to be given."""
    unknown = {"stage_id": None, "number": -1, "group": -1, "seed": 0, "until_epoch": target_epochs}
    start = {"generation": 0, "replicate": 0, "start_epoch": 0}
    fields = {**unknown, **start, **known}
    return NewTrial(branch=branch, params=params, target_epochs=target_epochs, **fields)

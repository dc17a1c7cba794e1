"""New trials before they are numbered: fresh ones, continued ones, repeats.

Called by ``planning`` and ``asking``. A trial's seed is keyed by its number, so the same plan gives
the same trials after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hpsearch.coordinator.view import SearchView
from hpsearch.spec.space import Params
from hpsearch.storage.records import NewTrial, TrialRecord
from workers.keys import key


def fresh(
    branch: str, sampled: Iterable[Params], *, generation: int, epochs: int
) -> list[NewTrial]:
    """Trials that a sampler asked for."""
    return [_draft(branch, params, epochs, generation=generation) for params in sampled]


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


def numbered(view: SearchView, drafts: Sequence[NewTrial]) -> list[NewTrial]:
    """Give numbers in order, and seeds keyed by them to all that do not inherit theirs."""
    first, seed = len(view.trials), view.search.spec.seed
    return [
        replace(
            draft,
            number=number,
            seed=draft.seed if draft.start_epoch else key(seed, "trial", number),
        )
        for number, draft in enumerate(drafts, first)
    ]


def _draft(branch: str, params: Params, target_epochs: int, **known: Any) -> NewTrial:
    """A trial whose number, seed, group and stage are still to be given."""
    unknown = {"stage_id": None, "number": -1, "group": -1, "seed": 0}
    start = {"generation": 0, "replicate": 0, "start_epoch": 0}
    fields = {**unknown, **start, **known}
    return NewTrial(branch=branch, params=params, target_epochs=target_epochs, **fields)

"""New trials before they are stored: fresh ones, continued ones, repeats.

Called by ``planning`` and ``asking``. A trial's seed is keyed by its number, so the same plan gives
the same trials after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hpsearch.coordinator.view import SearchView
from hpsearch.spec.space import Params
from hpsearch.storage.records import NewTrial, TrialRecord
from workers.keys import key


def fresh(
    branch: str, sampled: Iterable[Params], *, generation: int, epochs: int
) -> list[NewTrial]:
    """Trials that a sampler asked for; numbers are given by :func:`numbered`."""
    return [
        NewTrial(
            stage_id=None,
            number=-1,
            branch=branch,
            generation=generation,
            group=-1,
            params=params,
            seed=0,
            replicate=0,
            start_epoch=0,
            target_epochs=epochs,
        )
        for params in sampled
    ]


def continued(parent: TrialRecord, epochs: int) -> NewTrial:
    """A trial that goes on from its parent's checkpoint up to ``epochs``, with what it has."""
    return NewTrial(
        stage_id=None,
        number=-1,
        branch=parent.branch,
        generation=0,
        group=-1,
        params=parent.params,
        seed=parent.seed,
        replicate=parent.replicate,
        start_epoch=parent.epochs,
        target_epochs=epochs,
        parent_id=parent.id,
        value=parent.value,
        best_epoch=parent.best_epoch,
        epochs=parent.epochs,
        checkpoint_file=parent.checkpoint_file,
        checkpoint_row=parent.checkpoint_row,
        checkpoint_epoch=parent.checkpoint_epoch,
    )


def repeated(parent: TrialRecord, replicate: int, epochs: int) -> NewTrial:
    """A trial with its parent's params, other seeds and another order of minibatches."""
    return NewTrial(
        stage_id=None,
        number=-1,
        branch=parent.branch,
        generation=0,
        group=-1,
        params=parent.params,
        seed=0,
        replicate=replicate,
        start_epoch=0,
        target_epochs=epochs,
        parent_id=parent.id,
    )


def numbered(view: SearchView, drafts: Sequence[NewTrial]) -> list[NewTrial]:
    """Give numbers in order, and seeds keyed by them to all that do not inherit theirs."""
    first = len(view.trials)
    seed = view.search.spec.seed
    return [
        replace(
            draft,
            number=number,
            seed=draft.seed if draft.start_epoch else key(seed, "trial", number),
        )
        for number, draft in enumerate(drafts, first)
    ]

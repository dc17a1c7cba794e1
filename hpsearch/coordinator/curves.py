"""Curves: the stored objective of each trial by epoch, from which pruners decide.

Kept in the view of a search that has a pruner, filled from the database and from what is committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpsearch.storage.records import TrialRecord
from workers.metrics import PER_FOLD

(BY_FOLD,) = PER_FOLD


class Curves:
    """The objective after each epoch, and in each fold, by trial id."""

    def __init__(
        self,
        values: Mapping[int, Mapping[int, float]] | None = None,
        by_fold: Mapping[int, Mapping[int, Sequence[float]]] | None = None,
    ) -> None:
        self._values = {trial: dict(curve) for trial, curve in (values or {}).items()}
        self._by_fold = {trial: dict(curve) for trial, curve in (by_fold or {}).items()}

    def add(self, epoch: int, rows: Iterable[Mapping[str, Any]], column: str) -> None:
        """Take up the rows that were committed for ``epoch``; ``column`` is the objective's."""
        for row in rows:
            trial, value, folds = row["trial_id"], row.get(column), row.get(BY_FOLD)
            if value is not None:
                self._values.setdefault(trial, {})[epoch] = value
            if folds is not None:
                self._by_fold.setdefault(trial, {})[epoch] = folds

    def of(
        self, trial: TrialRecord, trials: Mapping[int, TrialRecord], until: int
    ) -> tuple[float, ...]:
        """The trial's objective after epochs 1 to ``until``, NaN where there is none.

        What it inherited is its parent's: the curve is that of the network.
        """
        if until <= 0:
            return ()
        own = self._values.get(trial.id, {})
        inherited = min(until, trial.start_epoch)
        parent = trials[trial.parent_id] if inherited and trial.parent_id is not None else None
        before = self.of(parent, trials, inherited) if parent is not None else ()
        epochs = range(len(before) + 1, until + 1)
        return (*before, *(own.get(epoch, math.nan) for epoch in epochs))

    def by_fold(self, trial: TrialRecord, epoch: int) -> tuple[float, ...]:
        """Its objective in each fold after ``epoch``; nothing without folds."""
        return tuple(self._by_fold.get(trial.id, {}).get(epoch, ()))

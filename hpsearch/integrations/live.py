"""LiveTrial: how far a trial of Ray Tune is, and how it ended.

Held by the callback, by Tune's ids; the import of a folder replays its results through it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.integrations.recording import is_number
from hpsearch.sampling.observations import Mode
from hpsearch.storage.records import TrialProgress


@dataclass(kw_only=True, slots=True)
class LiveTrial:
    """What was reported of one trial so far; ``max_t`` is its scheduler's, if it has one."""

    id: int
    mode: Mode
    max_t: int | None
    epochs: int = 0
    value: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    diverged: bool = False
    cut_off: bool = False

    def report(
        self, result: Mapping[str, Any], value: Any, stop: Mapping[str, float] | None
    ) -> None:
        """Take up one result; ``stop`` has the values at which the user would have it end."""
        self.epochs = int(result["training_iteration"])
        self.seconds = float(result.get("time_total_s") or 0.0)
        reached = any(result.get(name, -math.inf) >= end for name, end in (stop or {}).items())
        whole = reached or (self.max_t is not None and self.epochs >= self.max_t)
        # Tune says done with a result if it ends the trial there; one that ends by itself, later.
        self.cut_off = bool(result.get("done")) and not whole
        if not is_number(value):
            return
        self.diverged = not math.isfinite(value)
        if not self.diverged and self._is_better(float(value)):
            self.value, self.best_epoch = float(value), self.epochs

    def progress(self) -> TrialProgress:
        """Where it stands, running."""
        return self._as("running")

    def ended(self) -> TrialProgress:
        """How it stands now that it has ended without an error."""
        if self.diverged:
            why = f"epoch {self.epochs}: the objective is not finite"
            return self._as("failed", failure_kind="diverged", failure_message=why)
        return self._as("pruned" if self.cut_off else "complete")

    def raised(self, why: str) -> TrialProgress:
        """How it stands now that it raised."""
        return self._as("failed", failure_kind="error", failure_message=why)

    def _is_better(self, value: float) -> bool:
        if self.value is None:
            return True
        return value > self.value if self.mode == "max" else value < self.value

    def _as(self, state: Any, **failure: Any) -> TrialProgress:
        return TrialProgress(
            trial_id=self.id,
            epochs=self.epochs,
            value=self.value,
            best_epoch=self.best_epoch,
            seconds=self.seconds,
            state=state,
            **failure,
        )

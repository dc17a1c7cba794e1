"""Observation: one finished trial as samplers and the refiner see it.

Built by the coordinator from stored trials; nothing else enters a decision of this room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hpsearch.spec.space import Params

Mode = Literal["max", "min"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A finished trial: its branch, its searched values (structural ones too) and how it ended.

    ``value`` is the best objective that it reached, ``epochs`` how many it was trained for; a
    pruned trial is judged by both, since its value is not that of a full training.
    ``failure_kind`` is the store's: diverged, error, out_of_memory or worker_lost. ``number``
    counts from 0 over the search.
    """

    branch: str
    params: Params
    value: float | None
    state: Literal["complete", "pruned", "failed"] = "complete"
    failure_kind: str | None = None
    number: int
    epochs: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether it has a value that can be ranked: finite, and of a trial that did not fail."""
        return self.state != "failed" and self.value is not None and math.isfinite(self.value)

    @property
    def diverged(self) -> bool:
        """Whether training left the numbers: said so by the worker, or seen in the value."""
        if self.state == "failed":
            return self.failure_kind == "diverged"
        return not self.succeeded

    @property
    def judged(self) -> bool:
        """Whether it says anything about its params: a trial lost with its worker does not."""
        return not (self.state == "failed" and self.failure_kind == "worker_lost")

    def score(self, mode: Mode) -> float:
        """Its value with "higher is better"; minus infinity if it has none to rank."""
        if not self.succeeded or self.value is None:
            return -math.inf
        return self.value if mode == "max" else -self.value

    def merit(self, mode: Mode) -> tuple[int, int, float]:
        """What ranks it; higher is better.

        Every complete trial comes before every pruned one, which lost against others; of two
        pruned ones the one that was let go on for longer is better. So does Optuna's TPE. A trial
        without a value to rank is last.
        """
        if not self.succeeded:
            return 0, 0, -math.inf
        if self.state == "pruned":
            return 1, self.epochs, self.score(mode)
        return 2, 0, self.score(mode)


def ranked(observations: Sequence[Observation], mode: Mode) -> list[Observation]:
    """The judged observations, best first; the earlier trial wins a tie."""
    judged = sorted((one for one in observations if one.judged), key=lambda one: one.number)
    return sorted(judged, key=lambda one: one.merit(mode), reverse=True)


def elite_of(
    ordered: Sequence[Observation], mode: Mode, *, share: float, least: int
) -> list[Observation]:
    """The best ``share`` of ``ordered`` (best first), at least ``least``, successes only.

    Where too few trials are complete, the pruned ones that got furthest belong to it. Those that
    equal the last of them belong to it too: an order among equals would be chance.
    """
    successes = [one for one in ordered if one.succeeded]
    count = min(len(successes), max(least, round(share * len(ordered))))
    if count == 0:
        return []
    bar = successes[count - 1].merit(mode)
    return [one for one in successes if one.merit(mode) >= bar]

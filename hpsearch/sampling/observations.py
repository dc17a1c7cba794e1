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

    ``value`` is the best objective that it reached. More epochs could only have improved it:
    that of a pruned trial is a bound from below, and is compared like that of a complete one, since
    how far a trial got depends on its rivals too, and under Hyperband on its number.
    ``failure_kind`` is the store's: diverged, error, out_of_memory or worker_lost. ``number``
    counts from 0 over the search.
    """

    branch: str
    params: Params
    value: float | None
    state: Literal["complete", "pruned", "failed"] = "complete"
    failure_kind: str | None = None
    number: int

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


def ranked(observations: Sequence[Observation], mode: Mode) -> list[Observation]:
    """The judged observations, best first; the earlier trial wins a tie."""
    judged = sorted((one for one in observations if one.judged), key=lambda one: one.number)
    return sorted(judged, key=lambda one: one.score(mode), reverse=True)


def elite_of(
    ordered: Sequence[Observation], mode: Mode, *, share: float, least: int
) -> list[Observation]:
    """The best ``share`` of ``ordered`` (best first), at least ``least``, successes only.

    Those that equal the last of them belong to it too: an order among equals would be chance.
    """
    successes = [one for one in ordered if one.succeeded]
    count = min(len(successes), max(least, round(share * len(ordered))))
    if count == 0:
        return []
    bar = successes[count - 1].score(mode)
    return [one for one in successes if one.score(mode) >= bar]

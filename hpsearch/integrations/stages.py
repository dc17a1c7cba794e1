"""Which ranges a trial is drawn from, by its number: the stages of a program that is not ours.

Called by the sampler for Optuna, which has a list of trials and no coordinator; a pure function of
the finished trials, as planning is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hpsearch.sampling.allocation import allocate
from hpsearch.sampling.border import extend, merge
from hpsearch.sampling.encoding import admits
from hpsearch.sampling.keyed import keyed_generator, keyed_seed
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.refiner import refine
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Branch, Choice, Params
from workers.config.domain import Domain

EXPAND_SHARE = 3  # a third of a stage looks past a crowded border, as in the coordinator


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Trials ``start`` to ``end`` (None: all that follow), drawn from the same ranges."""

    start: int
    end: int | None
    branches: tuple[Branch, ...]
    reasons: tuple[Reason, ...] = ()

    def has(self, number: int) -> bool:
        """Whether the trial of that number is one of these."""
        return self.start <= number and (self.end is None or number < self.end)

    def branch_of(self, number: int, seed: int, known: Params) -> Branch | None:
        """The branch of a trial: by its turn, or the first that agrees with what it has already.

        Turns are dealt out in a keyed random order, to each branch as many as it was allocated.
        None if ``known`` has a choice that was dropped.
        """
        turns = [branch for branch in self.branches for _ in range(branch.trials)]
        turns = turns or list(self.branches)
        order = keyed_generator(seed, "turns", self.start).permutation(len(turns))
        turn = turns[order[(number - self.start) % len(turns)]]
        agreeing = (branch for branch in (turn, *self.branches) if _agrees(branch, known))
        return next(agreeing, None)


def segments(
    branches: Sequence[Branch],
    observations: Sequence[Observation],
    *,
    stages: Sequence[int],
    mode: Mode,
    seed: int,
    limits: Mapping[str, Domain],
) -> Iterator[Segment]:
    """All trials, in segments of equal ranges; ``stages`` has the number of trials of each stage.

    The first covers ``branches``. Before each further stage the ranges are refined; if the best
    trials crowd a border that ``limits`` let be passed, the first third of the stage looks past it.
    A segment depends on the observations numbered before its start alone, so the next one is asked
    for when those have finished. The last has no end.
    """
    shares = allocate({branch.key: 1.0 for branch in branches}, stages[0], 0)
    explored = tuple(b.model_copy(update={"trials": shares[b.key]}) for b in branches)
    first = Segment(start=0, end=stages[0], branches=explored)
    yield first if len(stages) > 1 else replace(first, end=None)
    start = stages[0]
    for place, length in enumerate(stages[1:], 1):
        end, look = start + length, math.ceil(length / EXPAND_SHARE)
        extension = extend(
            explored,
            _before(observations, start),
            mode=mode,
            trials=look,
            seed=keyed_seed(seed, "extend", place),
            limits=limits,
        )
        if extension is not None:
            past, why = extension.branches, extension.reasons
            yield Segment(start=start, end=start + look, branches=past, reasons=why)
            explored, start = merge(explored, past), start + look
        refinement = refine(
            explored,
            _before(observations, start),
            mode=mode,
            total_trials=end - start,
            seed=keyed_seed(seed, "refine", place),
            limits=limits,
        )
        explored = refinement.branches
        yield Segment(
            start=start,
            end=None if place == len(stages) - 1 else end,
            branches=explored,
            reasons=refinement.reasons,
        )
        start = end


def borders(stages: Sequence[int]) -> list[int]:
    """Where a segment may begin."""
    found = [0]
    for place, length in enumerate(stages[1:], 1):
        start = sum(stages[:place])
        found += [start, start + math.ceil(length / EXPAND_SHARE)]
    return found


def _before(observations: Sequence[Observation], start: int) -> list[Observation]:
    return [one for one in observations if one.number < start]


def _agrees(branch: Branch, known: Params) -> bool:
    return all(
        name not in known or admits(Choice(choices=(value,)), known[name])
        for name, value in branch.fixed.items()
    )

"""Crowding: an edge of a range that the best trials crowd, by a test of where they lie.

Found by ``crowdings`` for ``border``, which extends the range past it or says why not.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.sampling.keyed import keyed_generator
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.ranges import Side, span, stepped
from hpsearch.sampling.ranking import LEAST_JUDGED, Ranking, rank_branch
from hpsearch.sampling.standing import standings
from hpsearch.sampling.statistics import rising_p, upward_p
from hpsearch.spec.space import Branch, Range
from workers.config.domain import Domain

_ELITE_SHARE = 0.1
_ELITE_LEAST = 5
_CROWDED_P = 0.02
_OUTER = 0.25  # of the width: the part in which half of the best must lie
_NEAR = 0.1  # of the width: where stability near an edge is judged
_BRACKETED_P = 0.01
_LEAST_OUTER = 5  # trials by which it is judged how they fare towards the edge
_LEAST_NEAR = 3  # trials by which stability near an edge is judged
_SIDES: tuple[Side, Side] = ("lower", "upper")


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowding:
    """The best trials crowd one edge: ``near`` of ``best`` lie in the quarter of the width there.

    ``diverged`` counts those of the ``around`` trials (all, not only the best) near the edge that
    diverged; ``new`` is where a step past the edge would end.
    """

    ranking: Ranking
    name: str
    parameter: Range
    side: Side
    near: int
    best: int
    p: float
    around: int
    diverged: int
    new: float

    @property
    def edge(self) -> float:
        """The crowded end of the explored range."""
        return self.parameter.high if self.side == "upper" else self.parameter.low

    @property
    def stable(self) -> bool:
        """Whether the trials near the edge did not mostly diverge."""
        return 2 * self.diverged <= self.around

    @property
    def extends(self) -> bool:
        """Whether there is anything past the edge to explore."""
        return self.stable and self.new != self.edge


def crowdings(
    branches: Sequence[Branch],
    observations: Sequence[Observation],
    mode: Mode,
    seed: int,
    limits: Mapping[str, Domain],
) -> Iterator[Crowding]:
    """Every crowded edge of every branch that earned to go on."""
    standing = standings(branches, observations, mode)
    for branch in branches:
        ranking = rank_branch(branch, observations, mode, share=_ELITE_SHARE, least=_ELITE_LEAST)
        if not standing[branch.key].earned or len(ranking.trials) < LEAST_JUDGED:
            continue
        for name, parameter in branch.parameters.items():
            if isinstance(parameter, Range) and parameter.low < parameter.high:
                yield from _crowded_sides(ranking, name, parameter, seed, limits.get(name))


def _crowded_sides(
    ranking: Ranking, name: str, parameter: Range, seed: int, domain: Domain | None
) -> Iterator[Crowding]:
    first, last = span(parameter)
    places = ranking.places(name)
    for side in _SIDES:
        # How far inside each trial lies, as a share of the width: 0 on the edge.
        inside = [
            (last - place if side == "upper" else place - first) / (last - first)
            for place in places
        ]
        best = inside[: ranking.elite]
        if not best or statistics.median(best) > _OUTER:
            continue
        generator = keyed_generator(seed, ranking.branch.key, name, side, len(places), "border")
        p = upward_p([-depth for depth in inside], range(ranking.elite), generator)
        if p <= _CROWDED_P and not _is_bracketed(ranking, inside):
            yield _crowding(ranking, name, parameter, side, inside, p, domain)


def _is_bracketed(ranking: Ranking, inside: list[float]) -> bool:
    """Whether trials get worse from the best towards the edge: then the best lie before it.

    Spearman's correlation of place and rank over the trials from the median of the best outwards,
    in one direction. Those that diverged do not count: they make a stability edge.
    """
    middle = statistics.median(inside[: ranking.elite])
    outer = [i for i, depth in enumerate(inside) if depth <= middle and not ranking.diverged[i]]
    if len(outer) < _LEAST_OUTER:
        return False
    outwards = [-inside[index] for index in outer]  # and by rank already, the best first
    return rising_p(outwards) <= _BRACKETED_P


def _crowding(
    ranking: Ranking,
    name: str,
    parameter: Range,
    side: Side,
    inside: list[float],
    p: float,
    domain: Domain | None,
) -> Crowding:
    outward = sorted(range(len(inside)), key=lambda index: inside[index])
    around = [index for index in outward if inside[index] <= _NEAR]
    around = around if len(around) >= _LEAST_NEAR else outward[:_LEAST_NEAR]
    return Crowding(
        ranking=ranking,
        name=name,
        parameter=parameter,
        side=side,
        near=sum(depth <= _OUTER for depth in inside[: ranking.elite]),
        best=ranking.elite,
        p=p,
        around=len(around),
        diverged=sum(ranking.diverged[index] for index in around),
        new=stepped(parameter, side, domain),
    )

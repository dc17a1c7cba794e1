"""The best on the border: whether the best trials crowd an edge, and the extension past it.

Called by the coordinator after a stage (``extend``, ``merge``) and at the end of a search
(``still_on_border``).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.sampling.allocation import allocate
from hpsearch.sampling.keyed import keyed_generator
from hpsearch.sampling.narrowing import label
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.ranges import Side, shown, span, stepped
from hpsearch.sampling.ranking import LEAST_JUDGED, Ranking, rank_branch
from hpsearch.sampling.refiner import Refinement
from hpsearch.sampling.standing import standings
from hpsearch.sampling.statistics import rising_p, upward_p
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Branch, Definition, Range
from workers.config.domain import Domain

_ELITE_SHARE = 0.1
_ELITE_LEAST = 5
_CROWDED_P = 0.02
_OUTER = 0.25  # of the width: the part in which half of the best must lie
_NEAR = 0.1  # of the width: where stability near an edge is judged
_BRACKETED_P = 0.01
_LEAST_OUTER = 5  # trials by which it is judged how they fare towards the edge
_OVERLAP = 0.1  # of the width: how far an extension reaches back inside
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


def extend(
    branches: Sequence[Branch],
    observations: Sequence[Observation],
    *,
    mode: Mode,
    trials: int,
    seed: int,
    limits: Mapping[str, Domain],
) -> Refinement | None:
    """The branches of an expand stage of ``trials`` trials, or None if no edge is crowded.

    ``branches`` have the ranges explored so far. A branch whose best trials (10 %, at least 5)
    crowd an edge, towards which trials get no worse, gets the part past it, with a little overlap;
    if it crowds several, the most certain one is stepped across and the others are only widened.
    Edges near which trials mostly diverge are called stability edges and left, those at the end of
    ``limits`` too. Branches that the refiner would drop are not extended.
    """
    crowded = list(_crowdings(branches, observations, mode, seed, limits))
    extending = [crowding for crowding in crowded if crowding.extends]
    if not extending:
        return None
    reasons = tuple(_reason(crowding) for crowding in crowded)
    keys = dict.fromkeys(crowding.ranking.branch.key for crowding in extending)
    standing = standings(branches, observations, mode)
    shares = allocate({key: standing[key].promise for key in keys}, trials, LEAST_JUDGED)
    extension = [
        _extension([one for one in extending if one.ranking.branch.key == key], share)
        for key, share in shares.items()
    ]
    return Refinement(branches=tuple(extension), reasons=reasons)


def still_on_border(
    branches: Sequence[Branch],
    observations: Sequence[Observation],
    *,
    mode: Mode,
    seed: int,
    limits: Mapping[str, Domain],
    expand: int,
) -> list[Reason]:
    """A reason for each edge of the explored ranges that the best trials crowd; none, all is well.

    The action is ``crowded`` where extending would go on, had the stage more than its ``expand``
    expand stages, and ``stability_edge`` or ``limit`` where it would not.
    """
    crowded = _crowdings(branches, observations, mode, seed, limits)
    return [_left(one, expand) if one.extends else _reason(one) for one in crowded]


def merge(branches: Sequence[Branch], extension: Sequence[Branch]) -> tuple[Branch, ...]:
    """The explored ranges after an extension: of each branch's, the union; its trials stay."""
    past = {branch.key: branch for branch in extension}
    return tuple(
        branch.model_copy(
            update={
                "parameters": {
                    name: united(parameter, past[branch.key].parameters[name])
                    for name, parameter in branch.parameters.items()
                }
            }
        )
        if branch.key in past
        else branch
        for branch in branches
    )


def united(one: Definition, other: Definition) -> Definition:
    """A range over both; a choice stays as it is."""
    if not (isinstance(one, Range) and isinstance(other, Range)):
        return one
    return one.model_copy(
        update={"low": min(one.low, other.low), "high": max(one.high, other.high)}
    )


def _crowdings(
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


def _extension(crowded: Sequence[Crowding], trials: int) -> Branch:
    """One branch past its crowded edges.

    Only the most certain edge is stepped across: were all of them, the trials of the extension
    would differ from the earlier ones in several parameters at once, and which of them made a
    trial good could not be told.
    """
    foremost = min(crowded, key=lambda one: one.p)
    branch = foremost.ranking.branch
    parameters = dict(branch.parameters)
    for one in crowded:
        end = "high" if one.side == "upper" else "low"
        widened = {end: one.new}
        if one is foremost:
            other = "low" if one.side == "upper" else "high"
            widened[other] = _overlap_end(one)
        parameters[one.name] = one.parameter.model_copy(update=widened)
    return branch.model_copy(update={"parameters": parameters, "trials": trials})


def _overlap_end(one: Crowding) -> float:
    """Where the extension begins, inside the explored range."""
    first, last = span(one.parameter)
    if one.parameter.is_int:
        return one.edge  # the next whole value may lie far inside
    back = _OVERLAP * (last - first)
    return one.parameter.unscale(last - back if one.side == "upper" else first + back)


def _reason(one: Crowding) -> Reason:
    """What is done about a crowded edge on the way into an expand stage."""
    if not one.stable:
        what = (
            f"but {one.diverged} of the {one.around} trials there diverged: a stability edge, "
            "not extended"
        )
        return _said(one, "stability_edge", what)
    if not one.extends:
        return _said(one, "limit", "which is the parameter's own limit: not extended")
    return _said(one, "extended", f"extended to {shown(one.new)}")


def _left(one: Crowding, expand: int) -> Reason:
    """What is said of an edge at the end of a search, when nothing is done about it any more."""
    further = " any further" if expand else ""
    way = "up" if one.side == "upper" else "down"
    what = f"not extended{further} (expand: {expand}); try {way} to {shown(one.new)}"
    return _said(one, "crowded", what)


def _said(one: Crowding, action: str, what: str) -> Reason:
    old = [one.parameter.low, one.parameter.high]
    new = [old[0], one.new] if one.side == "upper" else [one.new, old[1]]
    return Reason(
        branch=one.ranking.branch.key,
        parameter=one.name,
        action=action,
        old=old,
        new=new if action == "extended" else old,
        text=(
            f"{label(one.ranking, one.name)}: {one.near} of the best {one.best} crowd the "
            f"{one.side} edge {shown(one.edge)}, in the quarter of the range next to it "
            f"(p = {one.p:.2g}): {what}"
        ),
        evidence={
            "side": one.side,
            "near": one.near,
            "best": one.best,
            "trials": len(one.ranking.trials),
            "diverged_near": one.diverged,
            "around": one.around,
            "p": one.p,
        },
    )

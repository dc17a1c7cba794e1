"""The best on the border: the extension past an edge that they crowd, and what is said of it.

Called by the coordinator after a stage (``extend``, ``merge``) and at the end of a search
(``still_on_border``); whether an edge is crowded is found in ``crowding``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpsearch.sampling.allocation import allocate
from hpsearch.sampling.crowding import Crowding, crowdings
from hpsearch.sampling.narrowing import label
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.ranges import shown, span
from hpsearch.sampling.ranking import LEAST_JUDGED
from hpsearch.sampling.refiner import Refinement
from hpsearch.sampling.standing import standings
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Branch, Definition, Range
from workers.config.domain import Domain

_OVERLAP = 0.1  # of the width: how far an extension reaches back inside


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
    crowded = list(crowdings(branches, observations, mode, seed, limits))
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
    crowded = crowdings(branches, observations, mode, seed, limits)
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

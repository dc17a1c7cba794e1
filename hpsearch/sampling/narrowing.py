"""One parameter's part in a refinement: narrowed, trimmed at a stability edge, or kept, and why.

Called by the refiner for each parameter of each branch that goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpsearch.sampling.encoding import encode
from hpsearch.sampling.keyed import keyed_generator
from hpsearch.sampling.ranges import Side, shown, within
from hpsearch.sampling.ranking import LEAST_JUDGED, Ranking
from hpsearch.sampling.standing import DROP_P
from hpsearch.sampling.statistics import absence_p, concentration_p, run_p
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Choice, Range

_CONCENTRATED_P = 0.05
_TRIM_P = 0.1  # lenient: what is trimmed holds nothing but diverged trials
_EDGE_P = 0.02  # from here on it is called a stability edge
_FIRST_SUSPECT = "learning_rate"  # of a single divergence, wherever else the trial was outermost
_MARGIN = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilityEdge:
    """Beyond ``value`` (the outermost trial that did not diverge) all ``beyond`` trials did."""

    side: Side
    value: float
    beyond: int
    p: float


def stability_edge(values: list[float], diverged: list[bool], side: Side) -> StabilityEdge | None:
    """The edge on this side, if the outermost trials diverged and chance does not explain it."""
    sign = 1.0 if side == "upper" else -1.0
    # Outermost first; of two at one value, the stable one speaks for it.
    outward = sorted(zip(values, diverged, strict=True), key=lambda one: (-sign * one[0], one[1]))
    beyond = next((index for index, (_, failed) in enumerate(outward) if not failed), 0)
    if beyond == 0:
        return None
    p = run_p(len(values), sum(diverged), beyond)
    if p > _TRIM_P:
        return None
    return StabilityEdge(side=side, value=outward[beyond][0], beyond=beyond, p=p)


def narrow_range(ranking: Ranking, name: str, old: Range, seed: int) -> tuple[Range, list[Reason]]:
    """The parameter's next range within the old one, with a reason for each change or its lack."""
    if old.low == old.high:
        return old, []
    if len(ranking.trials) < LEAST_JUDGED or ranking.elite < 2:
        return old, [_too_few(ranking, name, old)]
    trimmed, reasons = _trim(ranking, name, old)
    new, reason = _close_in(ranking, name, trimmed, seed)
    return new, [*reasons, reason]


def margin_of(elite_span: float, elite: int) -> float:
    """How far beyond the elite's ends a range goes on, on each side.

    Of m points drawn evenly from an interval, the outermost lie on average span/(m-1) short of its
    ends (order statistics of the uniform law: David and Nagaraja, Order Statistics, 2003, ch. 2);
    twice that, because the best trials are few, noisy, and not drawn evenly.
    """
    return _MARGIN * elite_span / (elite - 1)


def _trim(ranking: Ranking, name: str, old: Range) -> tuple[Range, list[Reason]]:
    """Cut the old range back to its outermost stable trials, where trials diverge beyond them.

    One diverged trial is outermost in one of several parameters by chance, so that it alone can cut
    the learning rate only.
    """
    values = [trial.params[name] for trial in ranking.trials]
    new, reasons = old, list[Reason]()
    if sum(ranking.diverged) == 1 and name != _FIRST_SUSPECT:
        return new, reasons
    sides: tuple[Side, Side] = ("lower", "upper")
    for side in sides:
        edge = stability_edge(values, ranking.diverged, side)
        if edge is None:
            continue
        # Exactly there, with no least width: that would reach past the edge again.
        end = "high" if side == "upper" else "low"
        cut = new.model_copy(update={end: float(edge.value)})
        if cut != new and cut.low < cut.high:
            reasons.append(_edge_reason(ranking, name, new, cut, edge))
            new = cut
    return new, reasons


def _close_in(ranking: Ranking, name: str, old: Range, seed: int) -> tuple[Range, Reason]:
    """Narrow around the elite, unless it lies as widely spread as chance would spread it."""
    places = ranking.places(name)
    generator = keyed_generator(seed, ranking.branch.key, name, len(places), "concentration")
    p = concentration_p(places, range(ranking.elite), generator)
    best = places[: ranking.elite]
    margin = margin_of(max(best) - min(best), ranking.elite)
    new = old
    if p <= _CONCENTRATED_P and old.low < old.high:
        new = within(old, min(best) - margin, max(best) + margin)
    return new, _range_reason(ranking, name, old, new, p)


def narrow_choice(ranking: Ranking, name: str, old: Choice) -> tuple[Choice, list[Reason]]:
    """The choices that go on: all but those that significantly never appear among the best."""
    if len(ranking.trials) < LEAST_JUDGED or not ranking.elite:
        return old, []
    indices = [encode(old, trial.params[name]) for trial in ranking.trials]
    best = set(indices[: ranking.elite])
    kept, reasons = list(old.choices), list[Reason]()
    for index, choice in enumerate(old.choices):
        count = indices.count(index)
        p = absence_p(len(indices), ranking.elite, count)
        if index not in best and p <= DROP_P:
            kept.remove(choice)
            reasons.append(_choice_reason(ranking, name, choice, count, p))
    return old.model_copy(update={"choices": tuple(kept)}), reasons


def _too_few(ranking: Ranking, name: str, old: Range) -> Reason:
    judged = len(ranking.trials)
    return Reason(
        branch=ranking.branch.key,
        parameter=name,
        action="kept",
        old=[old.low, old.high],
        new=[old.low, old.high],
        text=f"{label(ranking, name)}: {judged} trials are too few to judge it by: kept",
        evidence={"trials": judged, "best": ranking.elite},
    )


def _range_reason(ranking: Ranking, name: str, old: Range, new: Range, p: float) -> Reason:
    best = [trial.params[name] for trial in ranking.trials[: ranking.elite]]
    low, high = min(best), max(best)
    count = f"the best {ranking.elite} of {len(ranking.trials)}"
    if p > _CONCENTRATED_P:
        what = f"{count} are spread as by chance (p = {p:.2g}): kept, no sign that it matters"
    elif new == old:
        what = f"{count} reach from {shown(low)} to {shown(high)} (p = {p:.2g}): kept"
    else:
        what = (
            f"{count} lie between {shown(low)} and {shown(high)} (p = {p:.2g}): narrowed "
            f"to {shown(new.low)} … {shown(new.high)}"
        )
    return Reason(
        branch=ranking.branch.key,
        parameter=name,
        action="kept" if new == old else "narrowed",
        old=[old.low, old.high],
        new=[new.low, new.high],
        text=f"{label(ranking, name)}: {what}",
        evidence={
            "trials": len(ranking.trials),
            "best": ranking.elite,
            "lowest": low,
            "highest": high,
            "p": p,
        },
    )


def _edge_reason(
    ranking: Ranking, name: str, old: Range, new: Range, edge: StabilityEdge
) -> Reason:
    at = new.high if edge.side == "upper" else new.low
    certain = edge.p <= _EDGE_P
    what = "a stability edge" if certain else "weak evidence, and nothing is lost by it"
    count = "the only trial" if edge.beyond == 1 else f"all {edge.beyond} trials"
    return Reason(
        branch=ranking.branch.key,
        parameter=name,
        action="stability_edge" if certain else "narrowed",
        old=[old.low, old.high],
        new=[new.low, new.high],
        text=(
            f"{label(ranking, name)}: {count} beyond {shown(at)} diverged (p = {edge.p:.2g}, "
            f"{what}): the {edge.side} end from now on"
        ),
        evidence={"side": edge.side, "edge": at, "diverged_beyond": edge.beyond, "p": edge.p},
    )


def _choice_reason(ranking: Ranking, name: str, choice: object, count: int, p: float) -> Reason:
    return Reason(
        branch=ranking.branch.key,
        parameter=name,
        action="dropped",
        old=choice,
        new=None,
        text=(
            f"{label(ranking, name)}: none of the best {ranking.elite} of {len(ranking.trials)} "
            f"is one of the {count} with {choice} (p = {p:.2g}): dropped"
        ),
        evidence={"trials": count, "best": ranking.elite, "p": p},
    )


def label(ranking: Ranking, name: str) -> str:
    """A parameter's name in a reason, with its branch if there are several."""
    values = ", ".join(str(value) for value in ranking.branch.fixed.values())
    return f"{name} ({values})" if values else name

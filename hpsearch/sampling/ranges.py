"""New ranges from places on a parameter's scale: narrowed within the old, or stepped past an edge.

Called by narrowing and by the border check; whole ranges stay whole, powers stay powers.
"""

from __future__ import annotations

import math
from typing import Literal

from hpsearch.spec.space import Range
from workers.config.domain import Domain

Side = Literal["lower", "upper"]

_LEAST_FACTOR = 1.2  # between the ends of a continuous log range
_LEAST_SHARE = 0.1  # of the old width, however close the best lie: closing in is done by stages


def shown(value: float) -> str:
    """A value as it stands in a reason."""
    return f"{value:.3g}" if abs(value) < 1000 or value != round(value) else f"{value:.6g}"


def span(parameter: Range) -> tuple[float, float]:
    """The places of both ends on the parameter's own scale."""
    return parameter.scale(parameter.low), parameter.scale(parameter.high)


def within(parameter: Range, low_place: float, high_place: float) -> Range:
    """The part of ``parameter`` between two places, widened to the least that may be left.

    Whole ranges and powers are rounded outwards and keep two values at least; nothing leaves the
    old range.
    """
    first, last = span(parameter)
    low_place, high_place = _widened(parameter, max(low_place, first), min(high_place, last))
    low = parameter.low if low_place <= first else parameter.unscale(low_place)
    high = parameter.high if high_place >= last else parameter.unscale(high_place)
    if parameter.is_int:
        low, high = _whole(parameter, low, high)
    return parameter.model_copy(update={"low": low, "high": high})


def _widened(parameter: Range, low: float, high: float) -> tuple[float, float]:
    first, last = span(parameter)
    least = _LEAST_SHARE * (last - first)
    if parameter.is_log:
        least = max(least, math.log10(_LEAST_FACTOR))
    lack = max(0.0, least - (high - low)) / 2
    # Shifted where an end of the old range is in the way, so that no width is lost there.
    low, high = low - lack, high + lack
    shift = max(0.0, first - low) - max(0.0, high - last)
    return max(first, low + shift), min(last, high + shift)


def _whole(parameter: Range, low: float, high: float) -> tuple[float, float]:
    """Rounded outwards to whole values (or powers): two at least, as the ends lie apart."""
    base = parameter.base
    if base is None:
        bottom, top = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    else:
        bottom = math.floor(math.log(low, base) + 1e-9)
        top = math.ceil(math.log(high, base) - 1e-9)
    ends = (bottom, top) if base is None else (base**bottom, base**top)
    return max(parameter.low, float(ends[0])), min(parameter.high, float(ends[1]))


def clipped(parameter: Range, domain: Domain | None) -> Range:
    """The part of an explored range that its domain admits."""
    if domain is None or (domain.admits(parameter.low) and domain.admits(parameter.high)):
        return parameter
    low, high = max(parameter.low, domain.low), min(parameter.high, domain.high)
    return parameter.model_copy(update={"low": low, "high": high})


def stepped(parameter: Range, side: Side, domain: Domain | None) -> float:
    """The new value of one edge, a step past the old one; the old one if the domain ends there.

    The step is half the width of the range on its own scale, and for a continuous log range at
    least one decade, for a whole log range at least a factor of 2 (or its base), for a whole range
    at least 1. An open end of the domain is approached by half the way and never reached; without
    a domain, a linear range does not change its sign.
    """
    sign = 1.0 if side == "upper" else -1.0
    first, last = span(parameter)
    edge = last if side == "upper" else first
    old = parameter.high if side == "upper" else parameter.low
    target = edge + sign * max((last - first) / 2, _least_step(parameter))
    place = _before_limit(parameter, side, edge, target, domain)
    if place == edge:
        return old
    value = parameter.unscale(place)
    return _rounded(parameter, old, value, sign) if parameter.is_int else value


def _least_step(parameter: Range) -> float:
    if not parameter.is_log:
        return 1.0 if parameter.is_int else 0.0
    return math.log10(parameter.base or 2) if parameter.is_int else 1.0


def _before_limit(
    parameter: Range, side: Side, edge: float, target: float, domain: Domain | None
) -> float:
    limit, is_open = _limit(parameter, side, domain)
    if math.isinf(limit) or (parameter.is_log and limit <= 0):
        return target  # zero lies infinitely far away on a log scale
    end = parameter.scale(limit)
    if is_open:
        end = edge + (end - edge) / 2
    return min(target, max(end, edge)) if side == "upper" else max(target, min(end, edge))


def _limit(parameter: Range, side: Side, domain: Domain | None) -> tuple[float, bool]:
    if domain is not None:
        if side == "upper":
            return domain.high, domain.high_open
        return domain.low, domain.low_open
    if side == "lower" and parameter.low >= 0:
        return 0.0, False
    if side == "upper" and parameter.high <= 0:
        return 0.0, False
    return (math.inf if side == "upper" else -math.inf), False


def _rounded(parameter: Range, old: float, value: float, sign: float) -> float:
    """The whole value (or power) next to ``value``, not past it."""
    if parameter.base is None:
        return float(math.floor(value + 1e-9) if sign > 0 else math.ceil(value - 1e-9))
    exponent = math.log(value, parameter.base)
    whole = math.floor(exponent + 1e-9) if sign > 0 else math.ceil(exponent - 1e-9)
    # A negative power is no whole number: the lowest power is 1.
    return (
        max(1.0, float(parameter.base ** max(whole, 0)))
        if sign < 0
        else float(parameter.base**whole)
    )

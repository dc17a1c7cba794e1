"""The axis of the objective, and where a parameter's values lie on theirs.

Used by every plot of the report that has trials in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.plain_text import one_line
from hpsearch.report.panel import Axis

if TYPE_CHECKING:
    import pandas as pd

LOG_RATIO = 50  # between the worst and the best, above which a positive loss has a log axis
FAR = 5.0  # times the way from the best to the median: what is worse than that stands on the edge
DECADES = (-320.0, 308.0)  # that a float holds
PAD = 0.05  # of that way, beyond the best
MARGIN = 0.03  # of an axis, to either side of all that is on it
EDGE = 0.015  # of an axis, how far from its end stands what is beyond
JITTER = 0.3  # how far trials of one choice are spread to either side
GOLDEN = 0.6180339887  # multiples of it fill an interval evenly (Weyl)


def value_axis(title: str, values: Sequence[float], *, is_max: bool) -> Axis:
    """The axis of a metric: without the worst, beside which all others would look alike."""
    found = np.array([v for v in values if np.isfinite(v)], dtype=float)
    if not len(found):
        return Axis(title=title)
    is_log = not is_max and is_wide(found.min(), found.max())
    places = np.log10(found) if is_log else found
    places = places if is_max else -places
    best, way = places.max(), places.max() - np.median(places)
    least = best - FAR * way
    if way == 0 or places.min() >= least:
        return Axis(title=title, is_log=is_log)
    more = PAD * FAR * way  # so that the best is not on the edge itself
    ends = (least, best + more) if is_max else (-best - more, -least)
    limits = _powers(*ends) if is_log else (float(ends[0]), float(ends[1]))
    return Axis(title=title, is_log=is_log, limits=limits)


def is_wide(low: float, high: float) -> bool:
    """Whether only a log axis shows all from ``low`` to ``high``."""
    return 0 < low < high / LOG_RATIO  # divided by low, the ratio may be too large for a float


def padded(low: float, high: float, *, is_log: bool) -> tuple[float, float] | None:
    """Limits a little wider than from ``low`` to ``high``; None where these are one."""
    if low >= high:
        return None
    if is_log:
        first, last = np.log10(low), np.log10(high)
        more = (last - first) * MARGIN
        return _powers(first - more, last + more)
    more = (high - low) * MARGIN
    return low - more, high + more


def _powers(low: float, high: float) -> tuple[float, float]:
    """Ten to these, as far as a float holds them."""
    first, last = 10.0 ** np.clip([low, high], *DECADES)
    return float(first), float(last)


def within(axis: Axis, values: Sequence[float]) -> list[float]:
    """The values, those beyond the axis' limits near its edge, where a point is seen whole."""
    if axis.limits is None:
        return [float(value) for value in values]
    low, high = np.log10(axis.limits) if axis.is_log else axis.limits
    edge = EDGE * (high - low)
    ends = np.array([low + edge, high - edge])
    least, most = 10**ends if axis.is_log else ends
    return [float(value) for value in np.clip(np.array(values, dtype=float), least, most)]


def beyond(axis: Axis, values: Sequence[float]) -> int:
    """How many values the axis has no room for."""
    low, high = axis.limits or (-np.inf, np.inf)
    found = np.array(values, dtype=float)
    return int(((found < low) | (found > high)).sum())


def choices_of(trials: pd.DataFrame, name: str) -> list[Any]:
    """The different values that trials have of a parameter, in order where there is one."""
    values = plain(trials[name].dropna())
    known = list({(isinstance(value, bool), value): value for value in values}.values())
    try:
        return sorted(known)
    except TypeError:  # numbers beside names
        return sorted(known, key=str)


def places_of(choices: Sequence[Any], values: Iterable[Any]) -> list[int | None]:
    """Where each value is among the choices; None for what is none. True is not 1."""
    places = {(isinstance(choice, bool), choice): place for place, choice in enumerate(choices)}
    return [places.get((isinstance(value, bool), value)) for value in values]


def words(value: Any) -> str:
    """A value as it is read on an axis."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(words(item) for item in value) + "]"
    return one_line(str(value))


def spread(places: Sequence[float], numbers: Sequence[int]) -> list[float]:
    """Places beside which trials would hide one another, moved a little by the trial's number."""
    moved = zip(places, numbers, strict=True)
    return [place + JITTER * (2 * (number * GOLDEN % 1) - 1) for place, number in moved]


def plain(values: pd.Series[Any]) -> list[Any]:
    """The column's values as Python has them; None for those that are missing."""
    missing = values.isna()
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]

"""The axis plots: the objective against each parameter, with the best of each bucket.

After the hyperparameter axis plots of the Deep Learning Tuning Playbook (google-research).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.report.panel import FAILED, INK, Axis, Border, Marks, Panel, numbers
from hpsearch.report.reading import sampled
from hpsearch.report.section import Legend, Part, Section, Text
from hpsearch.report.values import (
    beyond,
    choices_of,
    padded,
    places_of,
    plain,
    spread,
    within,
    words,
)

if TYPE_CHECKING:
    import pandas as pd

    from hpsearch.report.reading import Reading

MOST_BUCKETS = 12  # of a range, evenly on its scale
LEAST_BUCKETS = 3
MOST_POINTS = 1500
MOST_CROSSES = 300
MOST_PARAMETERS = 30
MOST_CHOICES = 40


def axes(reading: Reading) -> Section:
    """A panel a parameter; those that never vary in a sentence."""
    varied, constant = reading.varied, reading.constant
    parts: list[Part] = [Text(_caption(reading)), *_legend(reading)] if varied else []
    parts += panels(reading)
    if len(varied) > MOST_PARAMETERS:
        left = ", ".join(varied[MOST_PARAMETERS:])
        parts.append(Text(f"Not drawn, for they are many: {left}."))
    parts += [
        Text(f"{name} has one value in all trials that ended, {words(value)}: nothing to compare.")
        for name, value in constant.items()
    ]
    if not parts:
        parts.append(Text("No trial has ended with a value yet."))
    return Section(key="axes", title="Each parameter", parts=tuple(parts))


def panels(reading: Reading) -> list[Panel]:
    """A panel a parameter that varies."""
    return [panel(reading, name) for name in reading.varied[:MOST_PARAMETERS]]


def panel(reading: Reading, name: str) -> Panel:
    """The objective of the trials against one parameter that varies."""
    ranges = reading.ranges()
    ranked = reading.ranked.dropna(subset=[name])
    crosses = reading.infeasible.dropna(subset=[name]).iloc[:MOST_CROSSES]
    y = reading.value_axis(ranked["value"].tolist())
    shown, left_out = sampled(ranked, MOST_POINTS), 0
    if name in ranges:
        x, places = _numeric_axis(reading, name, ranked, crosses), _numeric(name)
        tried, values = _floats(ranked[name]), ranked["value"].tolist()
        best = envelope(tried, values, is_log=ranges[name], is_max=reading.is_max)
        envelope_kind = "line"
    else:
        all_choices = choices_of(reading.trials, name)
        choices = _best_choices(reading, name, all_choices)
        left_out = len(all_choices) - len(choices)
        x, places = _choice_axis(name, choices), _chosen(name, choices)
        shown, crosses = (f[f[name].isin(choices)] for f in (shown, crosses))
        best = best_of_choices(ranked, name, choices, reading.is_max)
        envelope_kind = "points"
    marks = [*_points(reading, shown, places, x, y), _envelope(best, envelope_kind, x, y)]
    if len(crosses):
        marks.append(_crosses(crosses, places, x, _worse_edge(reading)))
    lost = beyond(y, ranked["value"].tolist())
    note = f"{lost} worse trials stand on the edge." if lost else ""
    if left_out:
        note = f"{note} {left_out} more choices are not drawn; their trials are worse.".strip()
    return Panel(title=name, x=x, y=y, marks=tuple(marks), note=note, legend=False)


def envelope(
    x: Sequence[float], values: Sequence[float], *, is_log: bool, is_max: bool
) -> list[tuple[float, float]]:
    """(x, value) of the best trial in each even part of the range, from left."""
    places = np.log10(x) if is_log else np.array(x, dtype=float)
    if not len(places):
        return []
    low, high = places.min(), places.max()
    num = num_buckets(len(x))
    bucket = np.minimum((places - low) / ((high - low) or 1.0) * num, num - 1).astype(int)
    found: dict[int, int] = {}
    for i in np.argsort(np.array(values) * (1 if is_max else -1), kind="stable"):
        found[int(bucket[i])] = int(i)  # the best of a bucket comes last
    return [(float(x[found[b]]), float(values[found[b]])) for b in sorted(found)]


def num_buckets(num_trials: int) -> int:
    """Into how many parts a range falls: few trials have no best in each of many."""
    return min(MOST_BUCKETS, max(LEAST_BUCKETS, math.isqrt(num_trials)))


def best_of_choices(
    ranked: pd.DataFrame, name: str, choices: Sequence[Any], is_max: bool
) -> list[tuple[float, float]]:
    """(place of the choice, best value) of each choice that a trial has a value with."""
    best: dict[int, float] = {}
    better = max if is_max else min
    for place, value in zip(places_of(choices, plain(ranked[name])), ranked["value"], strict=True):
        if place is not None:
            best[place] = float(better(best.get(place, value), value))
    return [(float(place), best[place]) for place in sorted(best)]


def _caption(reading: Reading) -> str:
    best = "highest" if reading.is_max else "lowest"
    return (
        f"Each point is a trial. The line joins the {best} {reading.metric} of each of up to "
        f"{MOST_BUCKETS} parts of a range; where it is flat, the parameter hardly matters. Crosses "
        f"at the {_worse_edge(reading)} edge are trials that failed or have no value. With a "
        "mouse, draw a frame to see it large; a double click goes back."
    )


def _legend(reading: Reading) -> list[Part]:
    """Of the branches, if there are several."""
    ended = reading.trials[reading.trials["ranks"] | reading.trials["is_infeasible"]]
    entries = tuple((color, name) for name, color, _ in reading.by_color(ended))
    return [Legend(entries)] if len(entries) > 1 else []


def _worse_edge(reading: Reading) -> Border:
    return "lower" if reading.is_max else "upper"


def _numeric_axis(reading: Reading, name: str, ranked: pd.DataFrame, crosses: pd.DataFrame) -> Axis:
    """Around all that is drawn, crosses too."""
    tried = _floats(ranked[name]) + _floats(crosses[name])
    return reading.axis(name, padded(min(tried), max(tried), is_log=reading.ranges()[name]))


def _best_choices(reading: Reading, name: str, choices: Sequence[Any]) -> list[Any]:
    """Of many choices those with the best trials, then those without any, in their own order."""
    best = best_of_choices(reading.ranked, name, choices, reading.is_max)
    best.sort(key=lambda found: found[1], reverse=reading.is_max)
    places = [int(place) for place, _ in best]
    places += [place for place in range(len(choices)) if place not in set(places)]
    return [choices[place] for place in sorted(places[:MOST_CHOICES])]


def _choice_axis(name: str, choices: Sequence[Any]) -> Axis:
    ticks = tuple((float(place), words(choice)) for place, choice in enumerate(choices))
    return Axis(title=name, ticks=ticks, limits=(-0.6, len(choices) - 0.4))


def _floats(values: pd.Series[Any]) -> list[float]:
    return [float(value) for value in values]


def _numeric(name: str) -> Any:
    return lambda trials: numbers(trials[name])


def _chosen(name: str, choices: Sequence[Any]) -> Any:
    def places(trials: pd.DataFrame) -> list[float | None]:
        found = places_of(choices, plain(trials[name]))
        among = [0.0 if place is None else float(place) for place in found]  # all are among them
        return numbers(spread(among, trials["number"].tolist()))

    return places


def _whole(trials: pd.DataFrame, x: Axis) -> list[str] | None:
    """The choice of each trial in full, which the axis may cut short."""
    return None if x.ticks is None else [words(value) for value in plain(trials[x.title])]


def _points(reading: Reading, shown: pd.DataFrame, places: Any, x: Axis, y: Axis) -> list[Marks]:
    return [
        Marks(
            x=places(trials),
            y=numbers(within(y, trials["value"].tolist())),
            name=name,
            color=color,
            numbers=trials["number"].tolist(),
            words=_whole(trials, x),
            opacity=0.75,
        )
        for name, color, trials in reversed(reading.by_color(shown))  # the best in front
    ]


def _envelope(best: Sequence[tuple[float, float]], kind: Any, x: Axis, y: Axis) -> Marks:
    names = None if x.ticks is None else [x.ticks[int(place)][1] for place, _ in best]
    return Marks(
        words=names,
        x=numbers(place for place, _ in best),
        y=numbers(within(y, [value for _, value in best])),
        kind=kind,
        symbol="bar",
        size=26,
        color=INK,
        name="best" if kind == "points" else "best of each part",
    )


def _crosses(crosses: pd.DataFrame, places: Any, x: Axis, border: Border) -> Marks:
    kinds = [_failure(row) for row in crosses.itertuples()]
    whole = _whole(crosses, x)
    told = kinds if whole is None else [f"{a}, {b}" for a, b in zip(whole, kinds, strict=True)]
    return Marks(
        x=places(crosses),
        y=[0.0] * len(crosses),
        name="failed",
        color=FAILED,
        symbol="x",
        size=7,
        border=border,
        numbers=crosses["number"].tolist(),
        words=told,
    )


def _failure(row: Any) -> str:
    kind = row.failure_kind
    return "no value" if kind is None or kind != kind else str(kind).replace("_", " ")  # NaN is not

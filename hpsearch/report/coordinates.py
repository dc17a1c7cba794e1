"""Parallel coordinates: each trial a line through its values, the best in colour.

Drawn as ordinary lines, which print; plotly's own kind is drawn by WebGL, which does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.report.panel import OTHERS, SCALE, Axis, Marks, Panel
from hpsearch.report.reading import sampled
from hpsearch.report.section import Legend, Part, Section, Text
from hpsearch.report.values import choices_of, places_of, plain, words

if TYPE_CHECKING:
    import pandas as pd

    from hpsearch.report.reading import Reading

MOST_LINES = 400
MOST_PARAMETERS = 12
BEST_SHARE = 0.1  # of the trials, which have colours; the others are grey
MOST_LABELS = 12  # at an axis
ABSENT = -0.12  # where a line runs that has no value of a parameter
DIGITS = 3


def coordinates(reading: Reading) -> Section:
    """One panel, or a sentence where there is nothing to lay side by side."""
    key, title = "coordinates", "All parameters at once"
    found = panel(reading)
    if found is None:
        has = f"only {reading.varied[0]} varies" if reading.varied else "none varies"
        text = (
            "Parallel coordinates need two parameters that vary among trials with a value; among "
            f"the {len(reading.ranked)} of this search {has}."
        )
        return Section(key=key, title=title, parts=(Text(text),))
    colored = tuple((mark.color, mark.name) for mark in reversed(found.marks))
    caption = (
        f"Each line is a trial, each upright axis a parameter; the best {100 * BEST_SHARE:.0f} % "
        "are in colour. A line below an axis is of a trial without the parameter."
    )
    parts: tuple[Part, ...] = (Text(caption), Legend(colored), found)
    return Section(key=key, title=title, parts=parts)


def panel(reading: Reading) -> Panel | None:
    """The lines of the trials that rank, grey ones first; None where fewer than two axes vary."""
    names = reading.varied[:MOST_PARAMETERS]
    ranked = reading.ranked
    if len(names) < 2 or ranked.empty:
        return None
    shown = sampled(ranked, MOST_LINES)
    places = {name: placed(reading, ranked, shown, name) for name in names}
    num_best = max(1, round(BEST_SHARE * len(shown)))
    marks = [_lines(places, range(num_best, len(shown)), OTHERS, 0.25, 0.7, "other trials")]
    bounds = np.linspace(num_best, 0, len(SCALE) + 1).round().astype(int)
    for color, stop, start in zip(SCALE, bounds[:-1], bounds[1:], strict=True):
        if start < stop:
            title = "the best" if start == 0 else f"from place {start + 1}"
            marks.append(_lines(places, range(start, stop), color, 0.9, 1.6, title))
    ticks = tuple((float(i), name) for i, name in enumerate(names))
    ends = [(-0.2, ABSENT - 0.05), (len(names) - 0.8, 1.05)]
    return Panel(
        title="Parallel coordinates",
        x=Axis(ticks=ticks, limits=(ends[0][0], ends[1][0])),
        y=Axis(ticks=(), limits=(ends[0][1], ends[1][1])),
        marks=tuple(marks),
        labels=tuple(
            label for i, name in enumerate(names) for label in _ends(reading, ranked, name, i)
        ),
        height=420,
        wide=True,
        legend=False,
    )


def placed(
    reading: Reading, ranked: pd.DataFrame, shown: pd.DataFrame, name: str
) -> list[float | None]:
    """Where each shown trial crosses an axis, from 0 to 1 over what all ranked trials have."""
    ranges = reading.ranges()
    if name in ranges:
        all_places = _scaled(ranked[name].dropna(), ranges[name])
        low, high = all_places.min(), all_places.max()
        size = (high - low) or 1.0
        return [
            None if value is None else round((_scale(value, ranges[name]) - low) / size, DIGITS)
            for value in plain(shown[name])
        ]
    choices = choices_of(ranked, name)
    step = 1 / max(1, len(choices) - 1)
    found = places_of(choices, plain(shown[name]))
    return [None if place is None else round(place * step, DIGITS) for place in found]


def _scaled(values: pd.Series[Any], is_log: bool) -> np.ndarray[Any, Any]:
    return np.array([_scale(value, is_log) for value in values])


def _scale(value: Any, is_log: bool) -> float:
    return float(np.log10(value)) if is_log else float(value)


def _lines(
    places: dict[str, list[float | None]], rows: range, color: str, opacity: float, width: float,
    name: str,
) -> Marks:  # fmt: skip
    x: list[float | None] = []
    y: list[float | None] = []
    for row in rows:
        x += [*map(float, range(len(places))), None]
        y += [ABSENT if (at := of[row]) is None else at for of in places.values()] + [None]
    return Marks(
        x=x[:-1], y=y[:-1], kind="line", color=color, opacity=opacity, width=width, name=name
    )


def _ends(
    reading: Reading, ranked: pd.DataFrame, name: str, place: int
) -> list[tuple[float, float, str]]:
    """What stands at an axis: the lowest and the highest value, or each choice."""
    if name in reading.ranges():
        values = ranked[name].dropna()
        return [(place, 0.0, words(float(values.min()))), (place, 1.0, words(float(values.max())))]
    choices = choices_of(ranked, name)
    step = 1 / max(1, len(choices) - 1)
    every = -(-len(choices) // MOST_LABELS)
    return [(place, i * step, words(choices[i])) for i in range(0, len(choices), every)]

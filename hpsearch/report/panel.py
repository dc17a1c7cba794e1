"""Panel: one plot as plain values, before anybody draws it.

Made by the sections; drawn by ``interactive`` for the page and by ``images`` for papers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Told apart by most who see colours differently, and legible on white and on black.
PALETTE = ("#3b82c4", "#e08214", "#2a9d6f", "#c2569b", "#8a6fd1", "#b8860b", "#6b8e23")
FAILED = "#d1495b"
OTHERS = "#8a8f98"
INK = "ink"  # the colour of text: dark on a light page, light on a dark one
SCALE = ("#35478c", "#2a788e", "#35a36f", "#a8c431", "#f2b134")  # worst to best
BORDER = 0.06  # of a plot's height: how far from its edge points on the border stand
DIGITS = 5  # that a number keeps: more would not be seen, and make the page larger

Numbers = Sequence[float | None]
Border = Literal["lower", "upper"]
HEIGHT_OF: dict[Border, float] = {"lower": BORDER, "upper": 1 - BORDER}  # of the plot


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis: ``ticks`` are (place, words), None for numbers; ``limits`` None for all there is.

    Long words are cut short at the axis: what is marked there says them whole at a pointer.
    Limits are values, on a log axis too. One that ``is_int`` has ticks at whole numbers only.
    """

    title: str = ""
    is_log: bool = False
    is_int: bool = False
    ticks: tuple[tuple[float, str], ...] | None = None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """What is drawn in one manner: points, a line, steps or bars; None parts a line.

    ``color`` is one for all; with ``values``, one a point, it is read from a scale. ``numbers`` are
    those of the trials that points stand for. Points on a ``border`` stand at that edge of the
    plot, whatever their ``y``. ``words`` are shown at a pointer, one a point.
    """

    x: Numbers
    y: Numbers
    name: str = ""
    kind: Literal["points", "line", "steps", "bars"] = "points"
    color: str = PALETTE[0]
    values: Numbers | None = None
    numbers: Sequence[int] | None = None
    words: Sequence[str] | None = None
    symbol: Literal["circle", "x", "diamond", "bar"] = "circle"
    size: float = 5
    width: float = 1.6
    dashed: bool = False
    opacity: float = 1.0
    border: Border | None = None
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """A table of coloured cells, rows upwards from 0: ``values`` from 0 to 1, and their words.

    ``places`` say of each cell what it is of, at a pointer.
    """

    values: Sequence[Sequence[float]]
    words: Sequence[Sequence[str]]
    places: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A plot: its axes and what is drawn on them, the first at the back; ``height`` in pixels.

    ``scale_title`` says what the ``scale`` of the coloured ``values`` is of, and ``scale_is_log``
    whether equal steps of colour are equal ratios;
    ``labels`` are words beside places, (x, y, words) each. On the page there is no ``legend`` where
    the section has one for all its panels, and one that is ``wide`` has no other beside it.
    """

    title: str
    x: Axis
    y: Axis
    marks: tuple[Marks, ...]
    height: int = 320
    scale_title: str = ""
    scale: tuple[float, float] | None = None
    scale_is_log: bool = False
    best_is_low: bool = False
    labels: tuple[tuple[float, float, str], ...] = ()
    legend: bool = True
    cells: Cells | None = None
    wide: bool = False
    note: str = ""


def alone(marks: Marks) -> list[int]:
    """Which points of a line have no neighbour to be joined with: no line would show them."""
    is_gap = [True, *(None in pair for pair in zip(marks.x, marks.y, strict=True)), True]
    return [i for i in range(len(marks.x)) if is_gap[i] and not is_gap[i + 1] and is_gap[i + 2]]


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Finite numbers to a few digits; None for what is none."""
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        found = float(value)
    except TypeError:  # pandas' NA
        return None
    return float(f"{found:.{DIGITS}g}") if math.isfinite(found) else None

"""Learning curves: those of the best trials and of a sample, in training and in validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from hpsearch.analysis.layout import CURVES
from hpsearch.report.panel import OTHERS, PALETTE, Axis, Marks, Numbers, Panel, numbers
from hpsearch.report.section import Part, Section, Text
from hpsearch.report.values import is_wide, padded

if TYPE_CHECKING:
    import pandas as pd

    from hpsearch.report.reading import Reading

BEST, SAMPLE = 5, 40  # trials whose curves are drawn
MOST_EPOCHS = 300  # points of a curve; of a longer one every so many epochs, and the last


def curves(reading: Reading) -> Section:
    """The objective by epoch, and the loss where that is another metric."""
    found = panels(reading)
    if not found:
        why = "No epoch is stored of a trial with a value: there are no curves."
        return Section(key="curves", title="Learning curves", parts=(Text(why),))
    parts: tuple[Part, ...] = (Text(_caption(found)), *found)
    return Section(key="curves", title="Learning curves", parts=parts)


def _caption(found: list[Panel]) -> str:
    has_training = any(mark.dashed for panel in found for mark in panel.marks)
    training = (", their training dotted", ", validation alone") if has_training else ("", "")
    return (
        f"In colour the best {BEST} trials{training[0]}; in grey a sample of the others"
        f"{training[1]}. A trial that goes on from another has the epochs of that one too. Axes "
        "are those of the best: what is far worse leaves the plot."
    )


def panels(reading: Reading) -> list[Panel]:
    """A panel a metric; none where there are no curves."""
    found = (panel(reading, name) for name in metrics(reading.column))
    return [each for each in found if each is not None]


def metrics(column: str) -> list[str]:
    """The columns to draw: ``column``, the objective's, and val_loss beside it."""
    return list(dict.fromkeys([column, "val_loss"]))


def drawn(column: str) -> list[str]:
    """The same, with those of the training part."""
    both = (name for own in metrics(column) for name in (own, training_of(own)))
    return [name for name in both if name is not None and name in CURVES]


def panel(reading: Reading, name: str) -> Panel | None:
    """One metric by epoch; None where no trial that ranks has any of it."""
    if name not in reading.curves or reading.curves[name].notna().sum() == 0:
        return None
    best, others = chosen(reading.ranked, reading.trials)
    by_number = dict(iter(reading.curves.groupby("number")))
    in_grey = joined([by_number[n] for n in others if n in by_number], name)
    marks = [
        Marks(
            x=in_grey[0],
            y=in_grey[1],
            kind="line",
            color=OTHERS,
            width=0.8,
            opacity=0.5,
            name="others",
        ),
        *(
            mark
            for number, color in zip(best, PALETTE, strict=False)
            if number in by_number
            for mark in _pair(by_number[number], name, number, color)
        ),
    ]
    is_objective = name == reading.column
    title = reading.metric if is_objective else name
    y = _axis(title, marks, is_max=reading.is_max and is_objective)
    if y is None:
        return None
    is_one = reading.curves["epoch"].max() == 1
    x = Axis(title="epoch", is_int=True, limits=(0, 2) if is_one else None)
    return Panel(title=f"{title} by epoch", x=x, y=y, marks=tuple(marks))


def _axis(title: str, marks: list[Marks], *, is_max: bool) -> Axis | None:
    """Around the curves of the best, and as far as the others' median; None without a value."""
    others, *best = ([value for value in mark.y if value is not None] for mark in marks)
    shown = [value for values in best for value in values] + ([median(others)] if others else [])
    if not shown:
        return None
    low, high = min(shown), max(shown)
    is_log = not is_max and is_wide(low, high)
    is_beyond = any(not low <= value <= high for value in others)
    limits = padded(low, high, is_log=is_log) if is_beyond else None
    return Axis(title=title, is_log=is_log, limits=limits)


def chosen(ranked: pd.DataFrame, trials: pd.DataFrame) -> tuple[list[int], list[int]]:
    """The numbers of the best trials, best first, and of a sample of the others; always the same.

    Of trials that one goes on from the other, only the last is among them.
    """
    gone_on = set(trials.loc[trials["replicate"] == 0, "parent"].dropna())
    ranked = ranked[~ranked["trial"].isin(gone_on)]
    found = ranked["number"].tolist()
    rest = found[BEST:]
    if len(rest) > SAMPLE:
        places = np.random.default_rng(0).choice(len(rest), SAMPLE, replace=False)
        rest = [rest[place] for place in sorted(places)]
    return found[:BEST], rest


def joined(curves: list[pd.DataFrame], name: str) -> tuple[Numbers, Numbers]:
    """Many curves as one line with gaps: a plot of few lines is drawn sooner."""
    x: list[float | None] = []
    y: list[float | None] = []
    for rows in curves:
        thin = thinned(rows)
        x += [*numbers(thin["epoch"]), None]
        y += [*numbers(thin[name]), None]
    return x[:-1], y[:-1]


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """A curve of at most about ``MOST_EPOCHS`` epochs, the last among them."""
    step = -(-len(rows) // MOST_EPOCHS)
    return rows.iloc[(len(rows) - 1) % step :: step] if step > 1 else rows


def training_of(name: str) -> str | None:
    """The training's counterpart of a metric of the validation."""
    return f"train_{name.removeprefix('val_')}" if name.startswith("val_") else None


def _pair(rows: pd.DataFrame, name: str, number: int, color: str) -> Iterator[Marks]:
    thin = thinned(rows)
    own = Marks(
        x=numbers(thin["epoch"]),
        y=numbers(thin[name]),
        kind="line",
        color=color,
        width=2,
        name=f"number {number}",
    )
    other = training_of(name)
    if other is not None and other in thin and thin[other].notna().any():
        yield replace(own, y=numbers(thin[other]), width=1.4, dashed=True, in_legend=False)
    yield own

"""Best so far: what the search had found when, against epochs spent and against time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hpsearch.report.panel import OTHERS, PALETTE, Axis, Marks, Panel, numbers
from hpsearch.report.reading import sampled
from hpsearch.report.section import Part, Section, Text
from hpsearch.report.values import within

if TYPE_CHECKING:
    from hpsearch.report.reading import Reading

MOST_POINTS = 800
EPOCHS, TRIALS = "epochs spent, of all trials", "trials that had ended"
UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def progress(reading: Reading) -> Section:
    """Two plots, or a sentence where no trial has ended."""
    ended = order(reading)
    if ended.empty:
        text = Text("No trial has ended with a value yet.")
        return Section(key="progress", title="Best so far", parts=(text,))
    caption = (
        "The best value of all trials that had ended by then; each point is a trial, where it "
        "ended. Repeats with other seeds are no points, but their epochs are spent. Time is the "
        "clock's, pauses of the search included."
    )
    parts: tuple[Part, ...] = (Text(caption), *panels(reading, ended))
    return Section(key="progress", title="Best so far", parts=parts)


def panels(reading: Reading, ended: pd.DataFrame) -> list[Panel]:
    """Against epochs, or against trials where none are told; and against time, where it passed."""
    spent, seconds = ended["spent"], ended["since_s"]
    if spent.max() > 0:
        drawn = [_panel(reading, ended, spent, Axis(title=EPOCHS, is_int=True))]
    else:
        count = pd.Series(range(1, len(ended) + 1), index=ended.index, dtype="float64")
        drawn = [_panel(reading, ended, count, Axis(title=TRIALS, is_int=True))]
    if seconds.max() > seconds.min():
        size, unit = next((s, u) for s, u in UNITS if seconds.max() >= s or s == 1)
        axis = Axis(title=f"{unit} since the search was stored")
        drawn.append(_panel(reading, ended, seconds / size, axis))
    return drawn


def order(reading: Reading) -> pd.DataFrame:
    """The trials that ended, from the first with a value on, with ``spent`` (the epochs that all
    trials had trained by then, those that failed and repeats too), ``since_s`` and ``best``.
    """
    ended = reading.trials[reading.trials["finished_at"].notna()]
    ended = ended.sort_values(["finished_at", "number"])
    since = ended["finished_at"] - reading.record.created_at
    ended = ended.assign(
        spent=ended["own_epochs"].cumsum().astype("float64"), since_s=since.dt.total_seconds()
    )
    values = ended["value"].where(ended["ranks"])
    best = values.cummax() if reading.is_max else values.cummin()
    return ended.assign(best=best.ffill()).dropna(subset=["best"])


def _panel(reading: Reading, ended: pd.DataFrame, x: pd.Series[float], x_axis: Axis) -> Panel:
    ended = ended.assign(x=x)
    improved, ranked = steps(ended), ended[ended["ranks"]]
    axis = reading.value_axis(ranked["value"].tolist())
    shown = sampled(ranked.sample(frac=1, random_state=0), MOST_POINTS)
    marks = (
        Marks(
            x=numbers(shown["x"]),
            y=numbers(within(axis, shown["value"].tolist())),
            numbers=shown["number"].tolist(),
            color=OTHERS,
            size=4,
            opacity=0.5,
            name="a trial",
        ),
        Marks(
            x=numbers(improved["x"]),
            y=numbers(within(axis, improved["best"].tolist())),
            numbers=improved["number"].tolist(),
            kind="steps",
            color=PALETTE[0],
            width=2.5,
            name="best so far",
        ),
    )
    return Panel(title=f"Against {x_axis.title}", x=x_axis, y=axis, marks=marks)


def steps(ended: pd.DataFrame) -> pd.DataFrame:
    """The trials that improved on all before them, and the last that ended."""
    changed = ended["best"].ne(ended["best"].shift())
    changed.iloc[-1] = True
    return ended[np.asarray(changed, dtype=bool)]

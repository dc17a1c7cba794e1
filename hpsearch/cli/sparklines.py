"""Learning curves as lines of eight heights, for the terminal.

Called by ``hpsearch curves``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpsearch.errors import HpsearchError, did_you_mean
from workers.metrics import OBJECTIVES, column_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpsearch.analysis.frames import Frames
    from hpsearch.spec.search import Objective
    from hpsearch.storage.records import SearchRecord

HEIGHTS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # characters of the longest curve
LEAST_SHARE = 0.05  # of all values, which the lowest height takes in: most curves begin far below


def best_or_begun(frames: Frames, record: SearchRecord, n: int) -> DataFrame:
    """The best trials; of a search of which none has ended the best of those that run."""
    found = frames.best(record.id, n=n)
    if len(found):
        return found
    begun = frames.trials(record.id, where="value IS NOT NULL")
    is_max = record.spec.objective.mode == "max"
    return begun.sort_values("value", ascending=not is_max, kind="stable").head(n)


def metric_column(curves: DataFrame, objective: Objective, metric: str | None) -> tuple[str, bool]:
    """The column of the curves to draw, and whether high is good there.

    Raises HpsearchError for a metric of which nothing is stored.
    """
    is_objective = metric in (None, objective.metric)
    name = objective.metric if metric is None else metric
    column = column_of(name) if is_objective else name
    floats = map(str, curves.select_dtypes("float64"))
    numeric = [each for each in floats if curves[each].notna().any()]
    if column not in numeric and len(curves):
        raise HpsearchError(
            f"--metric must be one that is stored, but got {name!r}: {did_you_mean(name, numeric)}"
        )
    is_max = objective.mode == "max" if is_objective else OBJECTIVES.get(name, "min") == "max"
    return column, is_max


def sparkline(values: Sequence[float], low: float, high: float, width: int = WIDTH) -> str:
    """A character a value, from ``low`` to ``high``; a space for what is no number.

    Of more values than ``width``, those at even distances, the last among them.
    """
    size = min(len(values), width)
    shown = [values[(i + 1) * len(values) // size - 1] for i in range(size)]
    return "".join(_height(value, low, high) for value in shown)


def _height(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return " "
    share = (value - low) / (high - low) if high > low else 1.0
    return HEIGHTS[min(max(int(share * len(HEIGHTS)), 0), len(HEIGHTS) - 1)]


def sparklines(trials: DataFrame, curves: DataFrame, column: str, *, is_max: bool) -> DataFrame:
    """A row a trial of ``trials``, in their order: its value, and the curve of ``column``.

    All curves have one scale, a taller character a higher number; the worst twentieth of all
    values has the height of the best of them.
    """
    wanted = curves[curves["number"].isin(trials["number"])]
    values = wanted[column].replace([math.inf, -math.inf], math.nan)
    worst = float(values.quantile(LEAST_SHARE if is_max else 1 - LEAST_SHARE))
    low, high = (worst, float(values.max())) if is_max else (float(values.min()), worst)
    by_number = dict(iter(values.groupby(wanted["number"])))
    lines = [
        sparkline(by_number[number].tolist(), low, high) if number in by_number else ""
        for number in trials["number"]
    ]
    longest = max((len(line) for line in lines), default=0)
    shown = trials[["number", "stage", "value", "epochs"]]
    return shown.assign(**{column: [line.ljust(longest) for line in lines]})

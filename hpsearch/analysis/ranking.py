"""The best trials of a search: what was confirmed first, and what is within noise of the best.

Called by ``hpsearch.analysis.frames``.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import ColumnElement, Connection, Row

from hpsearch.analysis.chance import Array, Sample, within_noise
from hpsearch.analysis.columns import trials_frame
from hpsearch.analysis.layout import BEST, TRIALS
from hpsearch.spec.search import Search
from hpsearch.storage import queries
from hpsearch.storage.curves import read_curves
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.tables import TrialRow
from workers.metrics import column_of

AT = list(TRIALS).index("spread")  # where a row of BEST has more than one of TRIALS


def best_frame(
    connection: Connection, search: SearchRecord, chosen: ColumnElement[bool], n: int
) -> pd.DataFrame:
    """The ``n`` best of the trials that ``chosen`` is true of, with the columns of BEST.

    First those that were repeated, by the mean over their repeats; then the others, by value.
    """
    spec = search.spec
    mode = spec.objective.mode
    sign = -1.0 if mode == "max" else 1.0
    repeated = queries.confirmed(connection, search.id, chosen)
    first = sorted(repeated, key=lambda row: (sign * row.mean, row.number))[:n]
    rows = [*first, *queries.best(connection, chosen, mode, n - len(first))]
    over = [_over(row, spec.data.folds) for row in rows]
    values = _objective(connection, spec, rows[0].trial) if rows else np.empty(0)
    near = within_noise(over, mode, values)
    full = [
        (*row[:AT], *astuple(each), is_near, *row[AT + 1 : len(TRIALS)])
        for row, each, is_near in zip(rows, over, near, strict=True)
    ]
    return trials_frame(spec.space, full, [row.params for row in rows], BEST)


def _over(row: Row[Any], num_folds: int | None) -> Sample:
    if hasattr(row, "mean"):
        spread = math.nan if row.variance is None else math.sqrt(row.variance)
        return Sample(mean=row.mean, spread=spread, n=row.n, confirmed=True)
    if row.spread is None:
        return Sample(mean=row.value, spread=math.nan, n=1, confirmed=False)
    return Sample(mean=row.value, spread=float(row.spread), n=num_folds or 1, confirmed=False)


def _objective(connection: Connection, spec: Search, trial: int) -> Array:
    """The objective of a trial, epoch by epoch."""
    name = column_of(spec.objective.metric)
    (curve,) = read_curves(connection, TrialRow.id == trial, [name])
    return curve.numbers[name]

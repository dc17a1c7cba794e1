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
    found = samples_of(connection, search, n, chosen)
    values = objective_of(connection, search.spec, found[0][0].trial) if found else np.empty(0)
    near = within_noise([over for _, over in found], search.spec.objective.mode, values)
    rows = [
        (*row[:AT], *astuple(over), is_near, *row[AT + 1 : len(TRIALS)])
        for (row, over), is_near in zip(found, near, strict=True)
    ]
    return trials_frame(search.spec.space, rows, [row.params for row, _ in found], BEST)


def samples_of(
    connection: Connection,
    search: SearchRecord,
    n: int,
    chosen: ColumnElement[bool] | None = None,
) -> list[tuple[Row[Any], Sample]]:
    """The ``n`` best trials of those that are chosen, or of all, with what they rank by."""
    chosen = TrialRow.search_id == search.id if chosen is None else chosen
    mode, folds = search.spec.objective.mode, search.spec.data.folds
    sign = -1.0 if mode == "max" else 1.0
    repeated = queries.confirmed(connection, search.id, chosen)
    first = sorted(repeated, key=lambda row: (sign * row.mean, row.number))[:n]
    rows = [*first, *queries.best(connection, chosen, mode, n - len(first))]
    return [(row, _over(row, folds)) for row in rows]


def _over(row: Row[Any], num_folds: int | None) -> Sample:
    if hasattr(row, "mean"):
        spread = math.nan if row.variance is None else math.sqrt(row.variance)
        return Sample(mean=row.mean, spread=spread, n=row.n, confirmed=True)
    if row.spread is None:
        return Sample(mean=row.value, spread=math.nan, n=1, confirmed=False)
    return Sample(mean=row.value, spread=float(row.spread), n=num_folds or 1, confirmed=False)


def objective_of(connection: Connection, spec: Search, trial: int) -> Array:
    """The objective of a trial, epoch by epoch."""
    name = column_of(spec.objective.metric)
    (curve,) = read_curves(connection, TrialRow.id == trial, [name])
    return curve.numbers[name]

"""From stored rows to curves: one query for all trials of a search.

Called by ``searching``; 10,000 trials of 20 epochs take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row

from hpsearch.analysis.collection import no_collection
from hpsearch.analysis.diagnosis.curve import Array, Curve
from hpsearch.spec.search import Search
from hpsearch.storage import codec, queries
from hpsearch.storage.records import TrialRecord
from hpsearch.storage.reports import METRIC_COLUMNS, OTHERS
from hpsearch.storage.repository import Repository
from workers.metrics import PER_FOLD, PER_LAYER, column_of

NUMBERS = tuple(name for name in METRIC_COLUMNS if name not in (*PER_LAYER, *PER_FOLD, OTHERS))


def read_curves(
    repository: Repository, search_id: int, spec: Search, trials: Iterable[TrialRecord]
) -> dict[int, Curve]:
    """The curve of each of ``trials`` that has an epoch, by id; a continued one has all its epochs.

    Metrics that an older version did not store are NaN.
    """
    with no_collection(), repository.database.read() as connection:
        return _curves(queries.curves(connection, search_id), spec, trials)


def _curves(
    rows: Sequence[Row[Any]], spec: Search, trials: Iterable[TrialRecord]
) -> dict[int, Curve]:
    if not rows:
        return {}
    names = tuple(rows[0]._fields)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    numbers = {name: np.array(columns[name], dtype=np.float64) for name in NUMBERS}
    layers = codec.decode_all(columns.get(PER_LAYER[0], ()))
    bounds = _bounds(columns["trial"])
    return {
        trial.id: _curve(spec, trial, numbers, layers, bounds[trial.id])
        for trial in trials
        if trial.id in bounds
    }


def _bounds(ids: Sequence[int]) -> dict[int, slice]:
    """Which rows are whose: the rows of a trial are neighbours."""
    ids_N = np.array(ids)
    starts = np.flatnonzero(np.diff(ids_N, prepend=ids_N[0] - 1))
    stops = [*starts[1:].tolist(), len(ids_N)]
    return {
        int(ids_N[start]): slice(start, stop)
        for start, stop in zip(starts.tolist(), stops, strict=True)
    }


def _curve(
    spec: Search,
    trial: TrialRecord,
    numbers: Mapping[str, Array],
    layers: Sequence[Any],
    rows: slice,
) -> Curve:
    return Curve(
        series={name: values[rows] for name, values in numbers.items()},
        layers_NL=_stacked(layers[rows]),
        settings={**spec.train, **trial.params},
        objective=column_of(spec.objective.metric),
        mode=spec.objective.mode,
        diverged=trial.failure_kind == "diverged",
    )


def _stacked(layers: Sequence[Any]) -> Array:
    """[N, L] of the epochs that have one number a layer."""
    stored = [norms for norms in layers if norms]
    if not stored or len({len(norms) for norms in stored}) != 1:
        return np.empty((0, 0))
    return np.array(stored, dtype=np.float64)

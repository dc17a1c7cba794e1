"""From stored rows to curves: those of all trials of a search at once.

Called by ``searching``; 10,000 trials of 20 epochs take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hpsearch.analysis.collection import no_collection
from hpsearch.analysis.diagnosis.curve import Array, Curve
from hpsearch.spec.search import Search
from hpsearch.storage import curves
from hpsearch.storage.records import TrialRecord
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import TrialRow
from workers.metrics import PER_LAYER, column_of


def read_curves(
    repository: Repository, search_id: int, spec: Search, trials: Iterable[TrialRecord]
) -> dict[int, Curve]:
    """The curve of each of ``trials`` that has an epoch, by id; a continued one has all its epochs.

    Metrics that an older version did not store are NaN.
    """
    known, of_search = {trial.id: trial for trial in trials}, TrialRow.search_id == search_id
    found: dict[int, Curve] = {}
    with no_collection(), repository.database.read() as connection:
        for piece in curves.read_curves(connection, of_search, (*curves.NUMBERS, *PER_LAYER)):
            for id, rows in _bounds(piece.numbers["trial"]).items():
                if id in known:
                    found[id] = _curve(spec, known[id], piece, rows)
    return found


def _bounds(ids_N: Array) -> dict[int, slice]:
    """Which rows are whose: the rows of a trial are neighbours."""
    bounds = [*np.flatnonzero(np.diff(ids_N, prepend=-1)).tolist(), len(ids_N)]
    return {int(ids_N[start]): slice(start, stop) for start, stop in pairwise(bounds)}


def _curve(spec: Search, trial: TrialRecord, piece: curves.Curves, rows: slice) -> Curve:
    return Curve(
        series={name: piece.numbers[name][rows] for name in curves.NUMBERS},
        layers_NL=_stacked(piece.lists[PER_LAYER[0]][rows]),
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

"""Frames of curves: which columns they have, and how those that are stored become them.

Called by ``hpsearch.analysis.frames``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hpsearch import given
from hpsearch.analysis.layout import CURVES, LISTS
from hpsearch.errors import HpsearchError, did_you_mean
from hpsearch.spec.search import Search
from hpsearch.storage.curves import Curves
from hpsearch.storage.reports import OTHERS
from workers.metrics import VALUE

PLACE = ("number", "trial", "epoch")  # the columns that every frame of curves has


def wanted_columns(spec: Search, columns: str | Sequence[str] | None) -> tuple[str, ...]:
    """The metrics of a frame, in its order: all, or those of ``columns``, without a name twice.

    Raises HpsearchError for a name that is none of them, with the closest one.
    """
    known = (*(name for name in CURVES if name not in PLACE), *spec.metrics)
    if columns is None:
        return known
    names = given.names("columns", columns)
    for name in names:
        if name not in (*PLACE, *known):
            hint = did_you_mean(name, known)
            raise HpsearchError(f"columns must be among those of curves, but got {name!r}: {hint}")
    return tuple(name for name in known if name in names)


def stored_columns(spec: Search, wanted: Sequence[str]) -> tuple[str, ...]:
    """The columns of the database that ``wanted`` are made of."""
    return tuple(dict.fromkeys(_stored(spec, name) for name in wanted))


def curves_frame(spec: Search, piece: Curves, wanted: Sequence[str]) -> pd.DataFrame:
    """A row per trial and epoch, with the columns ``wanted``."""
    place = {name: pd.array(piece.numbers[name].astype("int64"), dtype="Int64") for name in PLACE}
    columns = {**place, **{name: _column(spec, piece, name) for name in wanted}}
    return pd.DataFrame(columns, copy=False)


def _column(spec: Search, piece: Curves, name: str) -> pd.Series:
    if name in LISTS:
        return pd.Series(piece.lists[name], dtype="object")
    if _stored(spec, name) == OTHERS:
        values = [(each or {}).get(name) for each in piece.lists[OTHERS]]
        return pd.Series(values, dtype="float64")
    return pd.Series(piece.numbers[_stored(spec, name)])


def _stored(spec: Search, name: str) -> str:
    """A metric of the user's own is among the others, but for the objective."""
    if name not in spec.metrics:
        return name
    return VALUE if name == spec.objective.metric else OTHERS

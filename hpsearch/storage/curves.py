"""The curves of trials, as columns: what each trial measured, epoch by epoch, or inherited.

Called by ``hpsearch.analysis``; ``storage.numbers`` is how columns leave the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.orm import aliased

from hpsearch.storage import codec
from hpsearch.storage.numbers import Columns, read_columns
from hpsearch.storage.reports import METRIC_COLUMNS, OTHERS
from hpsearch.storage.tables import MetricRow, TrialRow
from hpsearch.storage.types import LARGEST_INTEGER

TEXTS = tuple(name for name in METRIC_COLUMNS if isinstance(MetricRow.__table__.c[name].type, JSON))
NUMBERS = tuple(name for name in METRIC_COLUMNS if name not in TEXTS)
EPOCH_BITS = 32  # of a key of trial and epoch, which are integers of 31
TOO_LONG = "54000"  # PostgreSQL's program_limit_exceeded
MOST_ROWS = 500_000  # of a piece, unless told otherwise

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """A row per trial and epoch, by column: ``numbers`` [N], NaN where there is none.

    ``lists`` are what JSON holds: lists of numbers, or None, and mappings as OTHERS.
    """

    numbers: dict[str, npt.NDArray[Any]]
    lists: dict[str, list[Any]]


def read_curves(
    connection: Connection,
    chosen: ColumnElement[bool],
    columns: Sequence[str] = METRIC_COLUMNS,
    most_rows: int = MOST_ROWS,
) -> Iterator[Curves]:
    """The curves of the trials that ``chosen`` is true of, in pieces of whole trials.

    Each has ``number``, ``trial``, ``epoch`` and ``columns``, a row per trial and epoch in that
    order, and at most ``most_rows`` rows unless one trial alone has more. There is at least one. A
    trial that continues another one has that one's epochs too.
    """
    whole = lineage(chosen).c
    rows = connection.execute(select(*whole).order_by(whole.number, whole.after)).all()
    found = np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 6).T
    for first, end in _pieces(found, most_rows):
        yield from _parts(connection, found[:, first:end], columns)


def lineage(chosen: ColumnElement[bool]) -> CTE:
    """Whose epochs make up each curve: (number, trial, source, after, up_to, epochs).

    A trial is its own source for the epochs after its start; its parent is for those between the
    parent's start and its own, and so on up the chain. ``epochs`` are those of the whole curve.
    """
    own = (
        select(
            TrialRow.number,
            TrialRow.id.label("trial"),
            TrialRow.id.label("source"),
            TrialRow.start_epoch.label("after"),
            literal(LARGEST_INTEGER, Integer).label("up_to"),
            TrialRow.epochs,
        )
        .where(chosen)
        .cte("lineage", recursive=True)
    )
    child, parent = aliased(TrialRow), aliased(TrialRow)
    inherited = (
        select(own.c.number, own.c.trial, parent.id, parent.start_epoch, own.c.after, own.c.epochs)
        .join(child, child.id == own.c.source)
        .join(parent, parent.id == child.parent_id)
        .where(own.c.after > 0)
    )
    return own.union_all(inherited)


def _pieces(lineage: Integers, most_rows: int) -> Iterator[tuple[int, int]]:
    """Which columns of the lineage are a piece: from and to, between trials."""
    starts = np.flatnonzero(np.diff(lineage[0], prepend=-1)).tolist()
    first = rows = 0
    for start, epochs in zip(starts, lineage[5][starts].tolist(), strict=True):
        if rows and epochs and rows + epochs > most_rows:
            yield first, start
            first, rows = start, 0
        rows += epochs
    yield first, lineage.shape[1]


def _parts(connection: Connection, lineage: Integers, columns: Sequence[str]) -> Iterator[Curves]:
    """One piece, or more where lists together are longer than a database's longest value (1 GB)."""
    is_sqlite = connection.dialect.name == "sqlite"  # where reading goes on after an error
    try:
        with nullcontext() if is_sqlite else connection.begin_nested():
            piece = _piece(connection, lineage, columns)
    except DBAPIError as error:
        starts = np.flatnonzero(np.diff(lineage[0])) + 1  # of trials, but for the first
        if not len(starts) or not _is_too_long(error):
            raise
        half = starts[len(starts) // 2]
        yield from _parts(connection, lineage[:, :half], columns)
        yield from _parts(connection, lineage[:, half:], columns)
    else:
        yield piece


def _is_too_long(error: DBAPIError) -> bool:
    return isinstance(error, DataError) or getattr(error.orig, "sqlstate", "") == TOO_LONG


def _piece(connection: Connection, lineage: Integers, columns: Sequence[str]) -> Curves:
    number, trial, source, after, up_to, _ = lineage
    stored = _stored(connection, np.unique(source), columns)
    keys = _key(stored.numbers["trial"].astype(np.int64), stored.numbers["epoch"])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.searchsorted(keys, _key(source, after), side="right")
    counts = np.searchsorted(keys, _key(source, up_to), side="right") - first
    # For each row of the lineage as many places as it has epochs, one after the other.
    places = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    ids = {"number": np.repeat(number, counts), "trial": np.repeat(trial, counts)}
    return _taken(ids, stored, order[places])


def _key(trial: Integers, epoch: npt.NDArray[Any]) -> Integers:
    return (trial << EPOCH_BITS) + epoch.astype(np.int64)


def _taken(ids: dict[str, Integers], stored: Columns, places: Integers) -> Curves:
    """The rows of ``stored`` at the places: most often all of them, as they are."""
    num_stored = len(stored.numbers["epoch"])
    is_whole = len(places) == num_stored and bool((np.diff(places, prepend=-1) == 1).all())
    at = slice(None) if is_whole else places
    found = {name: _decoded(name, text, num_stored) for name, text in stored.texts.items()}
    return Curves(
        numbers={**{name: values[at] for name, values in stored.numbers.items()}, **ids},
        lists={
            name: values if is_whole else [values[place] for place in places.tolist()]
            for name, values in found.items()
        },
    )


def _decoded(name: str, text: str | None, num_rows: int) -> list[Any]:
    if text is None:
        return [None] * num_rows
    return codec.decode_lists(text.split("\n")) if name == OTHERS else codec.decode_numbers(text)


def _stored(connection: Connection, trials: Integers, columns: Sequence[str]) -> Columns:
    """The rows of ``trials``, in any order: to sort them here takes less than the database's."""
    rows = select(
        MetricRow.trial_id.label("trial"),
        MetricRow.epoch,
        *(_as_stored(getattr(MetricRow, name)) for name in columns),
    ).where(MetricRow.trial_id.in_(listed(connection, trials.tolist())))
    numbers = [name for name in columns if name in NUMBERS]
    texts = [name for name in columns if name in TEXTS]
    return read_columns(connection, rows, ["trial", "epoch", *numbers], texts)


def _as_stored(column: Any) -> ColumnElement[Any]:
    as_text = cast(column, Text) if isinstance(column.type, JSON) else column
    return as_text.label(column.key)


def listed(connection: Connection, ids: Sequence[int]) -> Select[tuple[int]]:
    """The ids as rows: there may be more of them than a statement may have parameters."""
    text = json.dumps(ids)
    if connection.dialect.name == "sqlite":
        return select(func.json_each(text).table_valued("value").c.value)
    each = func.json_array_elements_text(cast(literal(text), JSON)).table_valued("value")
    return select(cast(each.c.value, Integer))

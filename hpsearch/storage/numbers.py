"""Columns out of the database, each as one value: no row is made an object of.

Called by ``hpsearch.storage.curves``, where rows are many. Row by row, the driver takes several
times as long as the database.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import Struct
from struct import error as StructError
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    case,
    cast,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.sql.elements import KeyedColumnElement

SAMPLE = 500  # rows, of which it is told which columns hold anything, and which always do
MISSING = -sys.float_info.max  # stands for NULL on the way from SQLite: the one number that is lost
SENT = np.dtype([("bytes", ">i4"), ("value", ">f8")])  # an element of PostgreSQL's array_send
HEAD_BYTES = 20  # of array_send: dimensions, flags, type, length, lower bound

Matrix = npt.NDArray[np.float64]
Asked = Sequence[ColumnElement[Any]]
Columned = Sequence[KeyedColumnElement[Any]]
Found = tuple[Matrix, list[Any]]  # a row per column of numbers, and what was asked for besides


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """By name: ``numbers`` [N], NaN where there is none, and ``texts``, a line of JSON a row.

    The text is None where a column holds nothing.
    """

    numbers: dict[str, npt.NDArray[np.float64]]
    texts: dict[str, str | None]


def read_columns(
    connection: Connection, rows: Select[Any], numbers: Sequence[str], texts: Sequence[str]
) -> Columns:
    """The columns ``numbers`` and ``texts`` of ``rows``, in any order, which is one for all.

    Integers come as float64 too, which holds those of our tables exactly. Most columns of most
    searches hold nothing: those that hold something in a few rows are read, and all of them once
    more where others do so in other rows.
    """
    sample = _sample(connection, rows)
    if not sample.filled:
        return Columns(numbers=dict.fromkeys(numbers, np.empty(0)), texts=dict.fromkeys(texts))
    found = _read(connection, rows, numbers, texts, sample)
    if found is None:
        everything = replace(sample, filled={*numbers, *texts})
        found = _read(connection, rows, numbers, texts, everything)
    assert found is not None  # nothing is left out
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """Of a few rows: the columns that any of them fills, and those that any of them leaves out."""

    filled: set[str]
    gappy: set[str]


def _sample(connection: Connection, rows: Select[Any]) -> _Sample:
    found = connection.execute(rows.limit(SAMPLE)).mappings().all()
    return _Sample(
        filled={name for row in found for name, value in row.items() if value is not None},
        gappy={name for row in found for name, value in row.items() if value is None},
    )


def _read(
    connection: Connection,
    rows: Select[Any],
    numbers: Sequence[str],
    texts: Sequence[str],
    sample: _Sample,
) -> Columns | None:
    """The columns that are filled, the others empty; None where these hold something after all."""
    columns, filled = rows.subquery().c, sample.filled
    some_numbers, some_texts = ([n for n in names if n in filled] for names in (numbers, texts))
    others = [columns[name].is_not(None) for name in (*numbers, *texts) if name not in filled]
    missed = func.count(case((or_(false(), *others), 1)))
    joined = func.group_concat if connection.dialect.name == "sqlite" else func.string_agg
    lines = [joined(func.coalesce(columns[name], "null"), "\n") for name in some_texts]
    read = _from_sqlite if connection.dialect.name == "sqlite" else _from_pg
    asked = [columns[name] for name in some_numbers]
    matrix, (num_missed, *found) = read(connection, asked, [missed, *lines], sample.gappy)
    if num_missed:
        return None
    empty = np.full(matrix.shape[1], np.nan)
    return Columns(
        numbers={**dict.fromkeys(numbers, empty), **dict(zip(some_numbers, matrix, strict=True))},
        texts={**dict.fromkeys(texts), **dict(zip(some_texts, found, strict=True))},
    )


def _from_sqlite(
    connection: Connection, numbers: Columned, others: Asked, gappy: set[str]
) -> Found:
    """By an aggregate of ours, which is given each row's numbers and keeps their bytes.

    A column that is gappy gives MISSING for NULL, so that it costs no exception each time.
    """
    pack, kept = Struct(f"{len(numbers)}d").pack, []

    class Kept:
        def step(self, *values: float | str | None) -> None:
            try:
                kept.append(pack(*values))
            except StructError:  # NULL in no row of the sample; NaN, which is the text 'nan' there
                kept.append(pack(*map(_number, values)))

        def finalize(self) -> int:
            return len(kept)

    driver: Any = connection.connection.driver_connection
    driver.create_aggregate("hpsearch_keep", len(numbers), Kept)
    given = [func.coalesce(n, MISSING) if n.name in gappy else n for n in numbers]
    *found, _ = connection.execute(select(*others, func.hpsearch_keep(*given))).one()
    matrix = np.frombuffer(b"".join(kept)).reshape(-1, len(numbers)).T.copy()
    for column, values in zip(numbers, matrix, strict=True):
        if column.name in gappy:
            values[values == MISSING] = np.nan
    return matrix, found


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _from_pg(connection: Connection, numbers: Columned, others: Asked, gappy: set[str]) -> Found:
    """By arrays, as PostgreSQL sends them to programs in C; any column may have gaps."""
    nan = cast("NaN", Double)
    arrays = [func.array_agg(func.coalesce(cast(number, Double), nan)) for number in numbers]
    sent = [func.array_send(array) for array in arrays]
    found = connection.execute(select(*others, *sent)).one()
    columns = [np.frombuffer(each, SENT, offset=HEAD_BYTES) for each in found[len(others) :]]
    matrix = np.array([each["value"] for each in columns], dtype=np.float64)
    return matrix, list(found[: len(others)])

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
from sqlalchemy.exc import OperationalError
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
    """Of a few rows: the columns that any of them fills, and where any of them has no number."""

    filled: set[str]
    gappy: set[str]


def _sample(connection: Connection, rows: Select[Any]) -> _Sample:
    found = connection.execute(rows.limit(SAMPLE)).mappings().all()
    return _Sample(
        filled={name for row in found for name, value in row.items() if value is not None},
        gappy={name for row in found for name, value in row.items() if _is_none(value)},
    )


def _is_none(value: Any) -> bool:
    return value is None or value != value


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
    is_sqlite = connection.dialect.name == "sqlite"
    read, joined = (_from_sqlite, func.group_concat) if is_sqlite else (_from_pg, func.string_agg)
    lines = [joined(func.coalesce(columns[name], "null"), "\n") for name in some_texts]
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
    """By functions of ours in C that keep each row's numbers as bytes.

    With a line of Python in them, Ctrl-C would be an error of the query.
    """
    kept: list[bytes] = []

    class Kept:
        def __init__(self) -> None:
            self.step = kept.append

        def finalize(self) -> int:
            return len(kept)

    driver: Any = connection.connection.driver_connection
    driver.create_aggregate("hpsearch_keep", 1, Kept)
    driver.create_function("hpsearch_pack", len(numbers), Struct(f"{len(numbers)}d").pack)
    names = {number.name for number in numbers}
    try:
        *found, _ = _packed(connection, numbers, others, gappy)
    except OperationalError:  # a column that the sample does not tell of has what is no number
        kept.clear()
        *found, _ = _packed(connection, numbers, others, names)
    matrix = np.frombuffer(b"".join(kept)).reshape(-1, len(numbers)).T.copy()
    kept.clear()  # the connection goes on knowing the functions
    matrix[matrix == MISSING] = np.nan
    return matrix, found


def _packed(
    connection: Connection, numbers: Columned, others: Asked, gappy: set[str]
) -> Sequence[Any]:
    """Only numbers can be packed: of columns that are ``gappy`` MISSING stands for what is none."""
    # A NaN is the text 'nan' there, which is greater than any number; NULL is not less either.
    given = [
        case((number <= math.inf, number), else_=MISSING) if number.name in gappy else number
        for number in numbers
    ]
    return connection.execute(select(*others, func.hpsearch_keep(func.hpsearch_pack(*given)))).one()


def _from_pg(connection: Connection, numbers: Columned, others: Asked, gappy: set[str]) -> Found:
    """By arrays, as PostgreSQL sends them to programs in C; any column may have gaps."""
    nan = cast("NaN", Double)
    arrays = [func.array_agg(func.coalesce(cast(number, Double), nan)) for number in numbers]
    sent = [func.array_send(array) for array in arrays]
    found = connection.execute(select(*others, *sent)).one()
    columns = [np.frombuffer(each, SENT, offset=HEAD_BYTES) for each in found[len(others) :]]
    matrix = np.array([each["value"] for each in columns], dtype=np.float64)
    return matrix, list(found[: len(others)])

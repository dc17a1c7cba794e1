"""Columns of numbers out of the database, each as one value: no object is made for a number.

Called by ``hpsearch.storage.curves``, where rows are many. Row by row, the driver takes several
times as long as the database.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Double, Subquery, case, cast, func, select

from hpsearch.storage import codec

MISSING = -sys.float_info.max  # stands for what is no number while it leaves SQLite
SENT = np.dtype([("bytes", ">i4"), ("value", ">f8")])  # an element of PostgreSQL's array_send
HEAD_BYTES = 20  # of array_send: dimensions, flags, type, length, lower bound

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """By name: ``numbers`` [N], NaN where there is none, and what JSON holds as ``texts``."""

    numbers: dict[str, npt.NDArray[np.float64]]
    texts: dict[str, Sequence[Any]]


def read_columns(
    connection: Connection, rows: Subquery, numbers: Sequence[str], texts: Sequence[str]
) -> Columns:
    """The columns ``numbers`` and ``texts`` of ``rows``, in the order that the subquery has.

    Integers come as float64 too, which holds those of our tables exactly. Texts are JSON, or NULL.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    read, join = (_from_sqlite, func.group_concat) if is_sqlite else (_from_pg, func.string_agg)
    joined = [
        case((func.count(rows.c[name]) > 0, join(func.coalesce(rows.c[name], "null"), ",")))
        for name in texts
    ]
    found, (num_rows, *read_texts) = read(connection, rows, numbers, [func.count(), *joined])
    return Columns(
        numbers=dict(zip(numbers, found, strict=True)),
        texts={
            name: [None] * num_rows if text is None else codec.decode_lists(text)
            for name, text in zip(texts, read_texts, strict=True)
        },
    )


def _from_sqlite(
    connection: Connection, rows: Subquery, numbers: Sequence[str], others: Sequence[Any]
) -> tuple[Matrix, Sequence[Any]]:
    """By an aggregate of ours, which is given each row's numbers and keeps their bytes."""
    pack, kept = Struct(f"{len(numbers)}d").pack, []

    class Kept:
        def step(self, *values: float) -> None:
            kept.append(pack(*values))

        def finalize(self) -> int:
            return len(kept)

    driver: Any = connection.connection.driver_connection
    driver.create_aggregate("hpsearch_keep", len(numbers), Kept)
    # A NaN is the text 'nan' there, which is greater than any number; NULL is not less either.
    given = [case((rows.c[name] <= math.inf, rows.c[name]), else_=MISSING) for name in numbers]
    _, *row = connection.execute(select(func.hpsearch_keep(*given), *others)).one()
    found = np.frombuffer(b"".join(kept)).reshape(-1, len(numbers)).T.copy()
    found[found == MISSING] = np.nan
    return found, row


def _from_pg(
    connection: Connection, rows: Subquery, numbers: Sequence[str], others: Sequence[Any]
) -> tuple[Matrix, Sequence[Any]]:
    """By arrays, as PostgreSQL sends them to programs in C."""
    nan = cast("NaN", Double)
    arrays = (func.array_agg(func.coalesce(cast(rows.c[name], Double), nan)) for name in numbers)
    row = connection.execute(select(*others, *(func.array_send(each) for each in arrays))).one()
    if not row[0]:
        return np.empty((len(numbers), 0)), row[: len(others)]
    sent = [np.frombuffer(each, SENT, offset=HEAD_BYTES) for each in row[len(others) :]]
    return np.array([each["value"] for each in sent], dtype=np.float64), row[: len(others)]

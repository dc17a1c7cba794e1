"""Bulk: one statement for many rows, compiled once, its parameters given column by column.

Called by the writes that happen many times a second. SQLAlchemy's own way looks at each parameter
of each row anew, which takes longer than the database does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Update
from sqlalchemy.types import TypeEngine

from hpsearch.storage.types import Real, is_plain

Statement = Insert | Update | Delete
Values = Sequence[Any]
POSITIONAL = {"sqlite": "qmark", "postgresql": "format"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    """Text for the driver, and how each of its places is filled: which column, made to what."""

    text: str
    places: tuple[tuple[str, Callable[[Values], Values]], ...]


def execute_rows(
    connection: Connection, statement: Statement, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Execute ``statement`` once a row; ``columns`` has the rows' values by parameter.

    The columns are equally long and their values go through the types of the tables. An Insert
    gets the columns that are named, others are NULL. ``statement`` must be one that is kept, such
    as a constant: what is compiled is found again by its identity.
    """
    compiled = _compiled(statement, connection.dialect, tuple(columns))
    filled = (bind(columns[name]) for name, bind in compiled.places)
    rows = list(zip(*filled, strict=True))
    if rows:
        connection.exec_driver_sql(compiled.text, rows)


@lru_cache(maxsize=256)
def _compiled(statement: Statement, dialect: Dialect, names: tuple[str, ...]) -> _Compiled:
    positional = type(dialect)(paramstyle=POSITIONAL[dialect.name])  # type: ignore[call-arg]
    compiled = statement.compile(dialect=positional, column_keys=list(names))
    order = compiled.positiontup or []
    places = ((name, _binder(compiled.binds[name].type, dialect)) for name in order)
    return _Compiled(text=compiled.string, places=tuple(places))


def _binder(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Values], Values]:
    """What makes the values of a column those that the driver is given."""
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    if process is None:
        return lambda values: values
    if isinstance(kind, Real):
        return lambda values: values if is_plain(values) else [process(v) for v in values]
    return lambda values: [process(value) for value in values]

"""Bulk: rows that go out column by column are those that SQLAlchemy itself would store."""

from __future__ import annotations

import math
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    event,
    insert,
    select,
    update,
)
from stored_searches import a_report, begin

from hpsearch.storage.bulk import execute_rows
from hpsearch.storage.database import Database
from hpsearch.storage.types import Message, Real, UtcDateTime, is_plain

TABLE = Table(
    "bulk",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("group", Integer),  # a word of SQL
    Column("seed", BigInteger),
    Column("real", Real),
    Column("flag", Boolean),
    Column("time", UtcDateTime),
    Column("message", Message),
    Column("list", JSON(none_as_null=True)),
)
INSERT, DELETE = insert(TABLE), delete(TABLE).where(TABLE.c.id == bindparam("row"))
SET = update(TABLE).where(TABLE.c.id == bindparam("row")).values(real=bindparam("new"))
shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
floats = st.floats() | st.floats(width=32).map(np.float32)
rows_of_any = st.lists(
    st.fixed_dictionaries(
        {
            "group": st.none() | st.integers(0, 9),
            "seed": st.integers(-(2**63), 2**63 - 1),
            "real": st.none() | floats,
            "flag": st.none() | st.booleans(),
            "time": st.none() | st.datetimes(timezones=st.just(UTC)),
            "message": st.none() | st.text(),
            "list": st.none() | st.lists(st.floats()),
        }
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def table_in(database: Database) -> Database:
    with database.write() as connection:
        TABLE.create(connection)
    return database


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def stored(database: Database) -> str:
    """All rows without their ids; as text, in which NaN is equal to itself."""
    names = [column for column in TABLE.c if column.name != "id"]
    with database.read() as connection:
        return str(connection.execute(select(*names).order_by(TABLE.c.id)).all())


@shared
@given(rows=rows_of_any)
def test_rows_are_stored_as_sqlalchemy_stores_them(
    table_in: Database, rows: list[dict[str, Any]]
) -> None:
    found = []
    for store in (
        lambda connection: connection.execute(INSERT, rows),
        lambda connection: execute_rows(connection, INSERT, columns(rows)),
    ):
        with table_in.write() as connection:
            connection.execute(delete(TABLE))
            store(connection)
        found.append(stored(table_in))
    assert found[0] == found[1]


def test_a_statement_may_name_other_columns_each_time(table_in: Database) -> None:
    with table_in.write() as connection:
        execute_rows(connection, INSERT, {"group": [1, 2]})
        execute_rows(connection, INSERT, {"real": [math.nan], "group": [3]})
    assert stored(table_in) == (
        "[(1, None, None, None, None, None, None), (2, None, None, None, None, None, None), "
        "(3, None, nan, None, None, None, None)]"
    )


def test_each_row_is_changed_by_its_own_values(table_in: Database) -> None:
    with table_in.write() as connection:
        execute_rows(connection, INSERT, {"id": [1, 2, 3, 4]})
        execute_rows(connection, SET, {"new": [math.nan, -math.inf], "row": [3, 1]})
        execute_rows(connection, DELETE, {"row": [2]})
        execute_rows(connection, DELETE, {"row": []})
    with table_in.read() as connection:
        query = select(TABLE.c.id, TABLE.c.real).order_by(TABLE.c.id)
        assert str(connection.execute(query).all()) == "[(1, -inf), (3, nan), (4, None)]"


def test_columns_of_different_lengths_are_refused(table_in: Database) -> None:
    with table_in.write() as connection, pytest.raises(ValueError, match="zip"):
        execute_rows(connection, INSERT, {"seed": [1, 2], "group": [1]})
    assert stored(table_in) == "[]"


@given(values=st.lists(st.none() | floats | st.integers()))
def test_a_plain_column_is_bound_as_it_is(values: list[Any]) -> None:
    from sqlalchemy.dialects import sqlite

    bind = Real().bind_processor(sqlite.dialect())
    bound = [bind(value) for value in values]
    if is_plain(values):
        assert list(map(type, bound)) == list(map(type, values))
        assert bound == values


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        ([0.5, math.inf, 1e308, 1e308], True),
        ([None, None], True),
        ([], True),
        ([0.5, math.nan], False),
        ([math.inf, -math.inf], False),  # it cannot be told from a NaN by the sum
        ([0.5, None], False),
        ([0.5, 1], False),
        ([np.float64(0.5)], False),
    ],
)
def test_which_columns_are_plain(values: list[Any], plain: bool) -> None:
    assert is_plain(values) is plain


def test_a_report_is_one_call_of_the_driver_a_table(database: Database) -> None:
    writer = begin(database)
    calls: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, *rest):  # type: ignore[no-untyped-def] # an event's
        calls.append(" ".join(statement.split()[:2]))

    writer.repository.commit_report(writer.lease, a_report(1, dict.fromkeys(writer.ids, 0.5)))
    assert [call for call in calls if "BEGIN" not in call] == [
        "UPDATE searches",
        "INSERT INTO",
        "UPDATE trials",
    ]

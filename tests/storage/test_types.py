"""Column types: floats, times and messages survive both databases."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from hpsearch.storage.database import Database
from hpsearch.storage.types import Message, Real, UtcDateTime

TABLE = Table(
    "kept",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("real", Real),
    Column("time", UtcDateTime),
    Column("message", Message),
)
# One database serves all examples of a test: each has a row of its own.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.fixture
def table_in(database: Database) -> Database:
    with database.write() as connection:
        TABLE.create(connection)
    return database


def kept(database: Database, **values: Any) -> Any:
    with database.write() as connection:
        id = connection.execute(insert(TABLE).values(**values).returning(TABLE.c.id)).scalar_one()
    (column,) = values
    with database.read() as connection:
        return connection.execute(select(TABLE.c[column]).where(TABLE.c.id == id)).scalar_one()


@shared
@given(value=st.none() | st.floats())
def test_every_float_and_none_come_back(table_in: Database, value: float | None) -> None:
    back = kept(table_in, real=value)
    if value is None:
        assert back is None
    else:
        assert isinstance(back, float)
        assert back == value or (math.isnan(back) and math.isnan(value))


def test_nan_is_not_null_in_sql(table_in: Database) -> None:
    with table_in.write() as connection:
        connection.execute(insert(TABLE), [{"real": math.nan}, {"real": None}, {"real": 1.0}])
        query = select(TABLE.c.real)
        assert len(connection.execute(query.where(TABLE.c.real.is_(None))).all()) == 1
        assert connection.scalars(query.where(TABLE.c.real != math.nan)).all() == [1.0]


@shared
@given(
    value=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=zones)
)
def test_a_time_of_any_zone_comes_back_in_utc(table_in: Database, value: datetime) -> None:
    back = kept(table_in, time=value)
    assert back == value
    assert back.tzinfo is UTC


def test_a_time_without_zone_is_refused(table_in: Database) -> None:
    with pytest.raises(StatementError, match="must have a zone"):
        kept(table_in, time=datetime(2026, 1, 1))


@shared
@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_message_comes_back(table_in: Database, value: str) -> None:
    assert kept(table_in, message=value) == value


def test_what_postgresql_refuses_in_a_message_is_replaced(table_in: Database) -> None:
    assert kept(table_in, message="a\0b\udc80c") == "a\ufffdb\ufffdc"

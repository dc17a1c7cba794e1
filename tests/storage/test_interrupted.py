"""Ctrl-C in the middle of a write: the next one, which stores that, finds nothing locked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hpsearch.storage import sqlite_files
from hpsearch.storage.database import Database


class Interrupted(list[Any]):
    """Rows of which the second never comes: Ctrl-C."""

    def __iter__(self) -> Iterator[Any]:
        yield self[0]
        raise KeyboardInterrupt


def test_a_write_that_is_interrupted_holds_no_lock(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "BUSY_TIMEOUT_MS", 200)
    statement = "UPDATE searches SET name = 'other' WHERE id = "
    statement += "?" if database.engine.dialect.name == "sqlite" else "%s"
    with database.write() as connection:
        connection.exec_driver_sql(statement, (0,))
    with pytest.raises(KeyboardInterrupt) as told, database.write() as connection:
        connection.exec_driver_sql(statement, Interrupted([(1,), (2,)]))
    with database.write() as connection:
        connection.exec_driver_sql(statement, (3,))
    assert told.tb is not None  # it is still being handled, as where a search is given back

"""Servers hear of what is submitted at once where the database can tell, and soon elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from sqlalchemy import text
from stored_searches import PROVENANCE, a_spec

from hpsearch.storage.bell import Bell, ring
from hpsearch.storage.database import Database
from hpsearch.storage.queue import Queue

LONG_S = 60.0


@pytest.fixture
def postgresql(postgresql_url: str) -> Database:
    database = Database(postgresql_url)
    database.upgrade()
    return database


def test_a_submission_wakes_a_server_that_waits(postgresql: Database) -> None:
    bell, queue = Bell(postgresql), Queue(postgresql)
    assert not bell.wait(0.01)  # from now on it listens
    heard: list[bool] = []
    waiting = threading.Thread(target=lambda: heard.append(bell.wait(LONG_S)))
    waiting.start()
    search_id = queue.submit(a_spec(), PROVENANCE).id
    waiting.join(LONG_S / 2)
    assert heard == [True]
    queue.cancel(search_id)
    queue.submit_again(search_id)
    assert bell.wait(LONG_S), "what rang before it waited counts too"
    bell.close()


def test_what_was_rolled_back_wakes_nobody(postgresql: Database) -> None:
    bell = Bell(postgresql)
    bell.wait(0.01)
    with suppress(ZeroDivisionError), postgresql.write() as connection:
        ring(connection)
        raise ZeroDivisionError
    assert not bell.wait(0.2)
    bell.close()


def test_a_line_that_was_cut_is_opened_again(postgresql: Database) -> None:
    bell, queue = Bell(postgresql), Queue(postgresql)
    bell.wait(0.01)
    with postgresql.write() as connection:
        lines = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        assert connection.execute(lines).scalars().all() == [True]
    assert not bell.wait(0.2), "it is away"
    bell.wait(0.01)
    queue.submit(a_spec(), PROVENANCE)
    assert bell.wait(LONG_S)
    bell.close()


def test_where_nobody_can_tell_the_time_is_waited_for(sqlite_url: str) -> None:
    started_s = time.monotonic()
    assert not Bell(Database(sqlite_url)).wait(0.2)
    assert time.monotonic() - started_s >= 0.2

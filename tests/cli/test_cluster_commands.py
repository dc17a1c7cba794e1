"""dashboard, doctor, serve: what they say of a cluster and a database, and make nothing there."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Hpsearch
from sqlalchemy import Engine, event, text

from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository
from hpsearch.storage.revisions import HEAD


@pytest.mark.parametrize("command", [("dashboard",), ("doctor",)])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_said_at_once_in_one_line(
    hpsearch: Hpsearch, command: tuple[str, ...], address: str
) -> None:
    began_s = time.monotonic()
    code, out, err = hpsearch(*command, "--ray", address)
    assert code == 1
    assert (out + err).count(f"the Ray cluster at {address} does not answer (") == 1
    assert "Connection refused" in out + err
    assert len((out + err).splitlines()) == (1 if command == ("dashboard",) else 3)
    assert time.monotonic() - began_s < 15  # Ray alone takes 20 s and more


@pytest.mark.parametrize("command", ["dashboard", "doctor", "serve"])
@pytest.mark.parametrize(
    "address", ["foo bar", "", "none", "local", "host", "host:0", "host:99999", "host:6379:1"]
)
def test_an_address_that_cannot_be_is_refused_at_once(
    hpsearch: Hpsearch, command: str, address: str
) -> None:
    code, out, err = hpsearch(command, "--ray", address)
    assert code == 1
    assert "must be the HOST:PORT of a Ray cluster" in out + err
    assert f"but got {address!r}" in out + err


def test_the_doctor_finds_all_well_without_a_cluster(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    code, out, _ = hpsearch("doctor")
    assert code == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ok   database", "ok   checkpoints"]
    assert lines[0].endswith(f"has schema {HEAD}")


def test_the_doctor_makes_nothing(hpsearch: Hpsearch, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, _ = hpsearch("doctor")
    assert code == 0
    assert "there is none at sqlite:///hpsearch.db yet: the first `hpsearch run` or" in out
    assert "hpsearch-checkpoints is made when it is needed" in out
    assert sorted(tmp_path.iterdir()) == before
    Path("hpsearch.db").touch()
    assert "has no tables yet" in hpsearch("doctor")[1]
    assert Path("hpsearch.db").stat().st_size == 0


def test_the_doctor_makes_no_tables(hpsearch: Hpsearch, postgresql_url: str) -> None:
    assert "has no tables yet" in hpsearch("doctor", "--db", postgresql_url)[1]
    assert Database(postgresql_url).is_empty()


def test_the_doctor_finds_what_may_only_be_read(
    hpsearch: Hpsearch, searched: Repository, postgresql_url: str
) -> None:
    @event.listens_for(Engine, "connect")
    def only_read(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA query_only = ON")

    try:
        code, out, _ = hpsearch("doctor")
    finally:
        event.remove(Engine, "connect", only_read)
    assert code == 1
    assert "MEND database: the database sqlite:///" in out
    assert "attempt to write a readonly database" in out
    Database(postgresql_url).upgrade()
    standby = f"{postgresql_url}&options=-cdefault_transaction_read_only%3Don"
    code, out, _ = hpsearch("doctor", "--db", standby)
    assert code == 1
    assert "in a read-only transaction" in out


def test_the_doctor_finds_a_damaged_file(hpsearch: Hpsearch, searched: Repository) -> None:
    searched.database.close()
    file = Path("hpsearch.db")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    code, out, _ = hpsearch("doctor")
    assert code == 1
    assert "MEND database: the " in out
    assert len(out.splitlines()) == 2


def test_the_doctor_finds_a_table_missing(hpsearch: Hpsearch, database: Database) -> None:
    database.upgrade()
    with database.write() as connection:
        connection.execute(text("DROP VIEW trial_curves"))  # which needs it, for PostgreSQL
        connection.execute(text("DROP TABLE metrics"))
    database.close()
    code, out, _ = hpsearch("doctor", "--db", database.engine.url.render_as_string(False))
    assert code == 1
    assert f"must have all tables of schema {HEAD}, but metrics is missing: put" in out
    assert out.splitlines()[0].startswith("MEND database: ")


def test_the_doctor_finds_a_password_that_cannot_be_read(
    hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_DATABASE_PASSWORD_FILE", "nothing/here")
    monkeypatch.setenv("HPSEARCH_DATABASE_URL", "postgresql://me@127.0.0.1:9/name")
    code, out, err = hpsearch("doctor")
    assert code == 1
    first, second = out.splitlines()
    assert first.startswith("MEND database: HPSEARCH_DATABASE_PASSWORD_FILE must name a text file")
    assert second.startswith("ok   checkpoints: ")
    assert "HPSEARCH_DATABASE_PASSWORD_FILE" not in err


def test_the_doctor_says_how_to_mend(hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPSEARCH_CHECKPOINTS", "/proc/nothing")
    monkeypatch.setenv("HPSEARCH_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/name")
    code, out, _ = hpsearch("doctor")
    assert code == 1
    assert "MEND database: the database postgresql+psycopg://me:***@127.0.0.1:9/name" in out
    assert "MEND checkpoints: checkpoints must be written to '/proc/nothing'" in out
    assert "secret" not in out


def test_serve_refuses_a_database_that_it_cannot_use(hpsearch: Hpsearch) -> None:
    code, _, err = hpsearch("serve", "--db", "sqlite:////nowhere/x.db", "--ray", "auto")
    assert code == 1
    assert "the folder of a SQLite database must exist" in err

"""A SQLite file in a folder that may not be written: it is read, and writers are refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from stored_searches import a_report, begin

from hpsearch.storage.database import Database

# All is imported by then: what the tests were started by may be nobody's to read.
AS_NOBODY = """
import os, sys
import hpsearch.analysis.frames, hpsearch.api, hpsearch.cli.read, hpsearch.cli.tables
import hpsearch.storage.queue
from hpsearch.cli.main import main
if os.geteuid() == 0:  # whom no permission binds
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[1:])
"""
READERS = ("list", "status 1", "best 1", "db current")


@pytest.fixture
def file() -> Iterator[Path]:
    """A database with a search, in a folder that others may enter."""
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-read-only-"))  # pytest's own are shut to others
    folder.chmod(0o755)
    file = folder / "100% #1.db"
    database = Database(f"sqlite:///{file}")
    writer = begin(database)
    writer.repository.commit_report(writer.lease, a_report(1, {writer.ids[0]: 0.5}, "complete"))
    writer.repository.release(writer.lease, "complete")
    database.close()
    assert [path.name for path in folder.iterdir()] == [file.name]
    yield file
    folder.chmod(0o755)
    shutil.rmtree(folder)


def hpsearch(file: Path, words: str) -> tuple[int, str]:
    """Exit code and output of a command of somebody who may not write in the file's folder."""
    given = [sys.executable, "-c", AS_NOBODY, *words.split(), "--db", f"sqlite:///{file}"]
    said = subprocess.run(given, capture_output=True, text=True, cwd="/")
    return said.returncode, said.stdout + said.stderr


def shut(file: Path) -> None:
    for path in file.parent.iterdir():
        path.chmod(0o444)
    file.parent.chmod(0o555)


@pytest.mark.parametrize("words", READERS)
def test_what_may_only_be_read_is_read(file: Path, words: str) -> None:
    shut(file)
    code, said = hpsearch(file, words)
    assert code == 0, said
    assert "Error" not in said
    assert len(list(file.parent.iterdir())) == 1


def test_what_somebody_has_in_the_log_is_read_as_well(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE searches SET name = 'newest'")
        connection.commit()
        shut(file)
        code, said = hpsearch(file, "list")
    assert code == 0, said
    assert "newest" in said


def test_a_log_that_nobody_can_fold_is_not_passed_over(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE searches SET name = 'newest'")
        connection.commit()
        log = Path(f"{file}-wal").read_bytes()
    Path(f"{file}-wal").write_bytes(log)
    shut(file)
    code, said = hpsearch(file, "list")
    assert code == 1
    assert "cannot be used: unable to open database file" in said


@pytest.mark.parametrize("words", ["delete 1 --yes", "widths --forget"])
def test_who_writes_there_is_refused_in_a_sentence(file: Path, words: str) -> None:
    shut(file)
    code, said = hpsearch(file, words)
    assert code == 1
    assert "it may only be read: make its file and its folder writable, or give another" in said
    assert len(said.splitlines()) == 1


def test_a_reader_sees_what_was_written_since(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *arguments: False)
        database = Database(f"sqlite:///{file}")
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT name FROM searches").scalar() == "digits"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE searches SET name = 'newest'")
        connection.commit()
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT name FROM searches").scalar() == "newest"

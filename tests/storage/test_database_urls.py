"""Where a database is: its URL, and what cannot be reached or is none, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.urls import masked_url, parse_url


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg"),
    ],
)
def test_a_url_gets_its_driver(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


def test_a_sqlite_path_does_not_follow_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_url("sqlite:///x.db").database == str(tmp_path / "x.db")


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "sqlite+x:///a"]
)
def test_a_url_that_cannot_be_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StorageError, match="sqlite:///PATH or postgresql://") as refusal:
        Database(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se:c@r/et@host/db", "postgresql://me:***@host/db"),
        (
            "postgresql://host/db?user=me&password=secret",
            "postgresql://host/db?user=me&password=***",
        ),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////data/a@b:c.db", "sqlite:////data/a@b:c.db"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_a_server_that_cannot_be_reached_is_told_without_the_password() -> None:
    database = Database("postgresql://me:secret@127.0.0.1:1/db")
    with pytest.raises(
        StorageError, match=r"me:\*\*\*@127\.0\.0\.1:1/db cannot be used: "
    ) as error:
        database.check_revision()
    assert "secret" not in str(error.value) + database.url
    assert "\n" not in str(error.value)


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"folder of a SQLite database must exist, but .*gone"):
        Database(f"sqlite:///{tmp_path}/gone/x.db")


@pytest.mark.parametrize("path", ["a" * 300 + ".db", "a" * 300 + "/x.db", "a/" * 3000 + "x.db"])
def test_a_path_that_is_too_long_is_told_in_a_short_sentence(path: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long") as caught:
        parse_url(f"sqlite:///{tmp_path}/{path}")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("kind", ["folder", "text"])
def test_a_path_that_is_no_database_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.db"
    path.mkdir() if kind == "folder" else path.write_text("not a database, but long enough" * 99)
    with pytest.raises(StorageError, match=r"x\.db cannot be used: .*check that the path is right"):
        Database(f"sqlite:///{path}").check_revision()

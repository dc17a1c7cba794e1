"""Where the database is: the password may be in a file, so that no environment has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from hpsearch.errors import HpsearchError
from hpsearch.service.serving import environment
from hpsearch.settings import database_url, given_url

URL = "postgresql://me@host/name"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "database_password"
    monkeypatch.setenv("HPSEARCH_DATABASE_PASSWORD_FILE", str(found))
    monkeypatch.setenv("HPSEARCH_DATABASE_URL", URL)
    monkeypatch.delenv("HPSEARCH_CHECKPOINTS", raising=False)
    return found


@pytest.mark.parametrize("password", ["secret", "p@ss:w/rd %41?#", "ä"])
def test_the_password_is_read_from_the_file(file: Path, password: str) -> None:
    file.write_text(f"{password}\n")
    assert make_url(database_url()).password == password
    assert make_url(database_url("postgresql://me@other/name")).password == password


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:other@host/name",
        "postgresql://host/name?user=me&password=other",
        "sqlite:///x.db",
    ],
)
def test_a_url_that_needs_none_is_left_as_it_is(file: Path, url: str) -> None:
    assert database_url(url) == url


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read (No such file"), (b" \n", "is empty"), (b"\xff", "it is not UTF-8")],
)
def test_a_file_without_a_password_is_told(file: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HpsearchError, match="HPSEARCH_DATABASE_PASSWORD_FILE must name") as caught:
        database_url()
    assert why in str(caught.value)
    assert str(file) in str(caught.value)


def test_jobs_are_sent_the_url_without_the_password(file: Path) -> None:
    file.write_text("secret")
    assert environment(given_url()) == {
        "HPSEARCH_DATABASE_URL": "postgresql+psycopg://me@host/name"
    }

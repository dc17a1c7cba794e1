"""Database URLs: which are understood, how they are completed, and how they are shown to people.

Used by ``hpsearch.storage.database``, and by everything that prints a URL.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hpsearch.given import in_short
from hpsearch.spec.problem import shown
from hpsearch.storage.errors import StorageError

SQLITE = ("sqlite", "sqlite+pysqlite")
POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
FORMS = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
_USERINFO = re.compile(r"(://[^:/@]*):.*@")  # up to the last @: people forget to escape theirs
_QUERY = re.compile(r"([?&][^=&]*password=)[^&]*", re.IGNORECASE)


def masked_url(url: str) -> str:
    """``url`` with every password in it replaced by ***; works on malformed ones too."""
    return _QUERY.sub(r"\1***", _USERINFO.sub(r"\1:***@", url))


def shown_url(url: str) -> str:
    """The URL of a database, completed, for people to read."""
    return masked_url(parse_url(url).render_as_string(hide_password=False))


def parse_url(text: str) -> URL:
    """The URL of a database, with its driver filled in and the path of a file made absolute.

    Raises StorageError for one that cannot be: malformed, of another kind of database, or a file in
    a folder that does not exist.
    """
    if not isinstance(text, str):
        raise StorageError(f"a database is given as {FORMS}, but got {in_short(text)}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise StorageError(
            f"a database is given as {FORMS}, but got {masked_url(text)!r}"
        ) from error
    if url.drivername in POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in SQLITE:
        return _absolute(url)
    raise StorageError(
        f"a database is SQLite or PostgreSQL, given as {FORMS}, but got {masked_url(text)!r}"
    )


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for PostgreSQL. Raises StorageError as parse_url does."""
    parsed = parse_url(url)
    return Path(parsed.database) if parsed.drivername in SQLITE and parsed.database else None


def check_exists(url: str) -> None:
    """Raises StorageError for a SQLite file that is not there: a reader would make an empty one."""
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise StorageError(
            f"there is no database {str(file)!r}: start a search with `hpsearch run`, or give the "
            "right one with --db"
        )


def _absolute(url: URL) -> URL:
    """So that connections opened after a change of the working folder see the same file."""
    if not url.database or url.database.startswith((":memory:", "file:")) or "\0" in url.database:
        raise StorageError(
            f"a SQLite database must be a file, as in sqlite:///hpsearch.db, but got {str(url)!r}"
        )
    if url.query:
        options = ", ".join(url.query)
        raise StorageError(f"the URL of a SQLite database takes no options, but got {options}")
    path = Path(url.database).absolute()
    if not _has_folder(path):
        raise StorageError(
            f"the folder of a SQLite database must exist, but {str(path.parent)!r} does not: "
            "create it, or give another path"
        )
    return url.set(database=str(path))


def _has_folder(path: Path) -> bool:
    try:
        path.exists()  # raises where this system can have no such name, as the next line does
        return path.parent.is_dir()
    except OSError as error:
        raise StorageError(
            f"the path of a SQLite database must be one that can be there, but {shown(str(path))} "
            f"cannot ({error.strerror}): give another one"
        ) from error


def has_password(url: str) -> bool:
    """Whether there is a secret in it."""
    return masked_url(url) != url


def lacks_password(url: str) -> bool:
    """Whether it is of PostgreSQL and has no password. Raises StorageError as parse_url does."""
    return parse_url(url).drivername not in SQLITE and not has_password(url)


def with_password(url: str, password: str) -> str:
    """``url`` with a password, escaped. Raises StorageError as parse_url does."""
    return parse_url(url).set(password=password).render_as_string(hide_password=False)

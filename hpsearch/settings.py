"""Where things are: the database and the checkpoints, from arguments and the environment.

Used by ``hpsearch.api`` and the command line, so that both find the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from hpsearch.errors import HpsearchError

DEFAULT_DATABASE = "sqlite:///hpsearch.db"
MOST_SEARCHES = 16  # that the service carries out side by side, unless told otherwise
DATABASE_VARIABLE = "HPSEARCH_DATABASE_URL"
PASSWORD_FILE_VARIABLE = "HPSEARCH_DATABASE_PASSWORD_FILE"
IMPORTS_VARIABLE = "HPSEARCH_ALLOW_IMPORTS"  # 1: a service imports what specs name
CHECKPOINTS_VARIABLE = "HPSEARCH_CHECKPOINTS"


def given_url(url: str | None = None) -> str:
    """``url``, else the environment's, else a SQLite file in the working folder."""
    return url or os.environ.get(DATABASE_VARIABLE) or DEFAULT_DATABASE


def database_url(url: str | None = None) -> str:
    """The URL that is given, with the password from the environment's file where it needs one."""
    given, file = given_url(url), os.environ.get(PASSWORD_FILE_VARIABLE)
    if not file:
        return given
    from hpsearch.storage.urls import lacks_password, with_password

    return with_password(given, _password(file)) if lacks_password(given) else given


def _password(file: str) -> str:
    rule = f"{PASSWORD_FILE_VARIABLE} must name a text file with the database's password"
    mend = "mend the file, or unset the variable"
    if Path(file).exists() and not Path(file).is_file():
        raise HpsearchError(f"{rule}, but {file!r} is a folder, a device or a pipe: {mend}")
    try:
        password = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # ValueError: it is no text
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise HpsearchError(f"{rule}, but {file!r} cannot be read ({why}): {mend}") from error
    if not password:
        raise HpsearchError(f"{rule}, but {file!r} is empty: {mend}")
    if not password.isprintable():
        raise HpsearchError(f"{rule}, but {file!r} has several lines or control characters: {mend}")
    return password


def command(words: str, url: str) -> str:
    """``hpsearch`` and ``words``, as it must be typed here to reach the database at ``url``."""
    from hpsearch.storage.urls import shown_url  # SQLAlchemy; `hpsearch --help` does without

    shown = shown_url(url)
    is_default = shown == shown_url(database_url())
    return f"`hpsearch {words}`" if is_default else f"`hpsearch {words} --db {shown}`"


def checkpoint_root(url: str) -> Path:
    """The folder for checkpoints: the environment's, else beside the SQLite file.

    A PostgreSQL server has no folder that workers could reach, so it is one in the working folder;
    on a cluster of several machines it must be named, and shared.
    """
    given = os.environ.get(CHECKPOINTS_VARIABLE)
    if given:
        return Path(given).absolute()
    from hpsearch.storage.urls import sqlite_file  # SQLAlchemy; `hpsearch --help` does without

    path = sqlite_file(url) or Path("hpsearch.db").absolute()
    return path.with_name(f"{path.stem}-checkpoints")

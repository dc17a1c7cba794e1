"""Where things are: the database and the checkpoints, from arguments and the environment.

Used by ``hpsearch.api`` and the command line, so that both find the same.
"""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_DATABASE = "sqlite:///hpsearch.db"
DEFAULT_RAY = "processes"  # where a search is carried out that names no cluster
MOST_SEARCHES = 16  # that the service carries out side by side, unless told otherwise
DATABASE_VARIABLE = "HPSEARCH_DATABASE_URL"
CHECKPOINTS_VARIABLE = "HPSEARCH_CHECKPOINTS"


def database_url(url: str | None = None) -> str:
    """``url``, else the environment's, else a SQLite file in the working folder."""
    return url or os.environ.get(DATABASE_VARIABLE) or DEFAULT_DATABASE


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

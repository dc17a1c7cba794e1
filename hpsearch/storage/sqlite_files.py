"""SQLite files: how one is opened, be it only to be read, and how readers and a writer share it.

Called by ``hpsearch.storage.database`` for each new connection.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Dialect

BUSY_TIMEOUT_MS = 30_000
CHECKPOINT_PAGES = 4000  # 16 MB: the log goes to the file, and waits for the disk, so often


def open_frozen(
    _dialect: Dialect, _record: object, arguments: list[str], options: dict[str, Any]
) -> None:
    """Open as immutable what can be read no other way: to read the log a file must be made.

    In a folder that may not be written, that is, while nobody has the log open there.
    """
    path = arguments[0]
    is_there, folder = os.path.exists(path), Path(path).parent
    if is_there and not os.access(folder, os.W_OK) and not _has_log(path):
        arguments[0], options["uri"] = f"file:{quote(path)}?immutable=1", True


def _has_log(path: str) -> bool:
    """Whether something may be in the log that is not in the file at ``path``."""
    try:
        return Path(f"{path}-wal").stat().st_size > 0 or os.path.exists(f"{path}-shm")
    except FileNotFoundError:
        return False


def prepare(connection: sqlite3.Connection, _record: object) -> None:
    """Transactions as ``database`` begins them, and how long they wait for one another."""
    # Python's driver would begin them late and on its own terms.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # In WAL mode NORMAL survives any death of the process; only a power cut can take the last
    # commits back, and the search then goes on from the ones before.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    cursor.close()


def switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Readers and a writer side by side; set once, kept in the file.

    While two processes switch a new file at once, SQLite tells one that it is locked without
    waiting for the busy timeout.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33)  # 33: RECURSIVE


def only_reading(action: int, *_: object) -> int:
    """What an authorizer says: SQLITE_OK to what reads tables, SQLITE_DENY to all else."""
    return sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY

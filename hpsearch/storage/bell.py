"""Bell: rung by who submits or cancels a search, heard by servers that wait for it.

PostgreSQL tells of it (LISTEN and NOTIFY); SQLite cannot, so there a server just looks again soon.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hpsearch.storage.database import Database

CHANNEL = "hpsearch"


def ring(connection: Connection) -> None:
    """Wake who waits, once this transaction is committed."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"NOTIFY {CHANNEL}"))


class Bell:
    """Of one server; on PostgreSQL it keeps a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._line: Connection | None = None

    def wait(self, timeout_s: float) -> bool:
        """Until it is rung, or the time is over; whether it was rung. Rings before count as well.

        While the database is away it only waits.
        """
        if self._engine.dialect.name != "postgresql":
            time.sleep(timeout_s)
            return False
        import psycopg  # a tenth of a second, which `hpsearch submit` can do without

        started_s = time.monotonic()
        try:
            return self._heard(timeout_s)
        except (DBAPIError, psycopg.Error):
            self.close()
            time.sleep(max(0.0, started_s + timeout_s - time.monotonic()))
            return False

    def close(self) -> None:
        """Hang up; the next wait opens a new line."""
        if self._line is not None:
            with suppress(DBAPIError):
                self._line.invalidate()  # it listens: nobody else is to have it from the pool
                self._line.close()
            self._line = None

    def _heard(self, timeout_s: float) -> bool:
        if self._line is None:
            self._line = self._engine.connect()
            self._line.execute(text(f"LISTEN {CHANNEL}"))
        driver: Any = self._line.connection.driver_connection  # psycopg's
        return bool(list(driver.notifies(timeout=timeout_s, stop_after=1)))

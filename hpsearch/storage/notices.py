"""Notices: which ended searches are still to be told of; a row's own columns are the outbox.

Set by whoever ends a search of the service; taken by ``hpsearch.service.notifying``, of which
several may run. Each is told at least once: again if who told it died before it had noted that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, select, update

from hpsearch.storage.database import Database, clock
from hpsearch.storage.events import add_event
from hpsearch.storage.tables import SearchRow

MOST_TRIES = 6
FIRST_WAIT = timedelta(minutes=2)  # before the second try: longer than a try can take
GROWTH = 3  # each wait is so many times the one before
OLDEST = timedelta(days=1)  # what nobody told for so long is no news any more
NOT_TOLD = "not_told"  # the event


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """That a search has ended, to be told now, for the ``tries``-th time (from 1)."""

    search_id: int
    tries: int


class Notices:
    """Those of ``database``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self) -> Notice | None:
        """The next that is due, None if none is; nobody else has it before it is due again."""
        with self._database.write() as connection:
            now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
            row = connection.execute(
                select(SearchRow.id, SearchRow.notice_tries)
                .where(SearchRow.notice_at <= now, SearchRow.notice_at > now - OLDEST)
                .order_by(SearchRow.notice_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            again_at = now + FIRST_WAIT * GROWTH**row.notice_tries
            notice = Notice(search_id=row.id, tries=row.notice_tries + 1)
            values = {"notice_at": again_at, "notice_tries": notice.tries}
            connection.execute(update(SearchRow).where(SearchRow.id == row.id).values(values))
            return notice

    def told(self, notice: Notice) -> None:
        """It has arrived, and is not to be told again."""
        with self._database.write() as connection:
            _close(connection, notice)

    def failed(self, notice: Notice, why: str) -> None:
        """It has not; after the last try that is noted, and it is not told again."""
        if notice.tries < MOST_TRIES:
            return
        with self._database.write() as connection:
            _close(connection, notice)
            now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
            add_event(connection, notice.search_id, NOT_TOLD, {"message": why}, now)


def _close(connection: Connection, notice: Notice) -> None:
    """Unless the search has gone on, and ended, since."""
    same = (SearchRow.id == notice.search_id) & (SearchRow.notice_tries == notice.tries)
    connection.execute(update(SearchRow).where(same).values(notice_at=None))

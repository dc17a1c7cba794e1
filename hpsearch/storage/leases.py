"""Leases: one coordinator owns a search, and the writes of one that was replaced are refused.

Called by ``hpsearch.storage.repository`` inside its transactions. The token is a fencing token
(Kleppmann 2016, "How to do distributed locking"): it grows by one with each owner, and every write
checks it in the transaction that it writes in.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import psutil
from sqlalchemy import Connection, Row, bindparam, case, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from hpsearch.storage.database import clock, fold_log_after
from hpsearch.storage.errors import LeaseHeld, LeaseLost, StorageError
from hpsearch.storage.events import add_event
from hpsearch.storage.records import ENDED, SearchState
from hpsearch.storage.tables import SearchRow, TrialRow

TTL = timedelta(seconds=15)
START_TOLERANCE_S = 5.0  # a process's start time, as told, moves when the host's clock is set


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process, told from a later one with the same pid by its start (seconds since 1970)."""

    host: str
    pid: int
    started_s: float

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        started_s = psutil.Process(pid).create_time()
        return cls(host=socket.gethostname(), pid=pid, started_s=started_s)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Owner:
        """The owner in a ``lease_owner`` column."""
        return cls(**values)

    def is_dead(self) -> bool:
        """Whether it ran on this host and is gone; of another host's nothing is known: False."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:  # killed, and not yet reaped
                return True
            started_s: float = process.create_time()
            return abs(started_s - self.started_s) > START_TOLERANCE_S
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write to a search, until somebody with a higher token has it."""

    search_id: int
    token: int
    owner: Owner


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What others ask of a search's owner: to end it, and to have no more ``workers`` than these.

    None: as many as the search asks for.
    """

    cancelled: bool = False
    workers: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A lease that was checked and extended: the database's time of that, and the orders."""

    now: datetime
    orders: Orders


def acquire(connection: Connection, search_id: int, owner: Owner) -> Lease:
    """Take the search: free, expired, or left by a process of this host that is dead.

    Raises LeaseHeld otherwise, StorageError if there is no such search.
    """
    row = connection.execute(
        select(
            SearchRow.lease_owner,
            SearchRow.lease_token,
            SearchRow.lease_expires_at,
            clock(connection.dialect.name).label("now"),
        )
        .where(SearchRow.id == search_id)
        .with_for_update()  # SQLite has no such clause, and has the whole database locked
    ).first()
    if row is None:
        raise StorageError(
            f"a search must exist to be carried out, but there is none with id {search_id}: "
            "`hpsearch list` shows all"
        )
    if (holder := holder_of(row, row.now)) is not None:
        raise LeaseHeld(
            f"search {search_id} is being carried out by {holder}: stop that one, or, if it is "
            f"dead, try again when its lease has expired at {row.lease_expires_at:%H:%M:%S} UTC"
        )
    lease = Lease(search_id=search_id, token=row.lease_token + 1, owner=owner)
    mine = {
        "served": False,
        "job": None,
        "workers": None,
        "cancel_requested_at": None,
        "notice_at": None,
    }
    _take(connection, lease, row.now, **mine)  # no server is to look after it
    return lease


def holder_of(row: Row[Any], now: datetime) -> Owner | None:
    """Who carries out the search of ``row``; None if nobody does, or who did is dead."""
    if row.lease_owner is None or row.lease_expires_at <= now:
        return None
    owner = Owner.from_json(row.lease_owner)
    return None if owner.is_dead() else owner


def take_over(connection: Connection, search_id: int, token: int, owner: Owner) -> Lease:
    """Own the search in the place of who has it by ``token``, and meant it for ``owner``.

    Raises LeaseLost if somebody else has it by now.
    """
    now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
    served = connection.scalar(select(SearchRow.served).where(SearchRow.id == search_id))
    lease = Lease(search_id=search_id, token=token + 1, owner=owner)
    if not served or not _take(connection, lease, now):  # what is run here is meant for nobody
        raise LeaseLost(
            f"search {search_id} was to be carried out here, but somebody else has it by now: "
            "nothing is to be done"
        )
    return lease


def hold(connection: Connection, lease: Lease) -> Held:
    """Check the token, and extend the lease by TTL.

    First statement of every write. The row stays locked until the end of the transaction, so the
    lease cannot change hands before. Raises LeaseLost if it has.
    """
    given = {"search": lease.search_id, "token": lease.token}
    extend = _extend(connection.dialect.name, TTL)
    row = connection.execute(extend, given).first()
    if row is None:
        raise LeaseLost(
            f"search {lease.search_id} was taken over from {lease.owner}: nothing of this write "
            "was stored; stop here, and see who carries it out with `hpsearch status`"
        )
    orders = Orders(cancelled=row.cancel_requested_at is not None, workers=row.workers)
    return Held(now=row.lease_expires_at - TTL, orders=orders)


@cache
def _extend(
    dialect: str, ttl: timedelta
) -> ReturningUpdate[datetime | None, datetime | None, int | None]:
    """Built once: to build it takes longer than to execute it."""
    return (
        update(SearchRow)
        .where(SearchRow.id == bindparam("search"), SearchRow.lease_token == bindparam("token"))
        .values(lease_expires_at=clock(dialect, ahead=ttl))
        .returning(SearchRow.lease_expires_at, SearchRow.cancel_requested_at, SearchRow.workers)
    )


def release(
    connection: Connection, lease: Lease, state: SearchState, message: str | None = None
) -> None:
    """Give the search back in ``state``; whoever acquires it next has a higher token still.

    All of it is in SQLite's own file then, unless somebody is reading: people copy that.
    """
    held = hold(connection, lease)
    now = held.now
    if state == "submitted" and held.orders.cancelled:  # nobody is to go on with it
        state = "cancelled"
    ended = state in ENDED
    connection.execute(
        update(SearchRow)
        .where(SearchRow.id == lease.search_id)
        .values(
            state=state,
            lease_owner=None,
            lease_token=lease.token + 1,  # so that this lease is of no use from now on
            lease_expires_at=None,
            finished_at=now if ended else None,
            notice_at=case((SearchRow.served, now)) if ended else None,
            notice_tries=0,
            message=SearchRow.message if message is None else message,
        )
    )
    if state != "complete":
        stop_trials(connection, lease.search_id)
    why = {} if message is None else {"message": message}
    add_event(connection, lease.search_id, "released", {"state": state, **why}, now)
    fold_log_after(connection)


def stop_trials(connection: Connection, search_id: int) -> None:
    """Those that ran wait again: nobody trains them now."""
    connection.execute(
        update(TrialRow)
        .where(TrialRow.search_id == search_id, TrialRow.state == "running")
        .values(state="waiting")
    )


def _take(connection: Connection, lease: Lease, now: datetime, **values: Any) -> bool:
    """Set it running under ``lease``, if it has the token before; ``values`` as well."""
    taken = connection.execute(
        update(SearchRow)
        .where(SearchRow.id == lease.search_id, SearchRow.lease_token == lease.token - 1)
        .values(
            state="running",
            lease_owner=lease.owner,
            lease_token=lease.token,
            lease_expires_at=now + TTL,
            finished_at=None,
            message=None,
            **values,
        )
    ).rowcount
    if taken:
        data = {"owner": lease.owner, "token": lease.token}
        add_event(connection, lease.search_id, "acquired", data, now)
    return bool(taken)

"""Queue: the searches that the service carries out, from their submission to their end.

Written by the commands that submit, cancel and submit again, and by ``hpsearch.service``, any
number of which may run. Every method is one transaction; while a search is carried out, its lease
decides whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, Update, and_, func, insert, or_, select, text, update
from sqlalchemy.sql.dml import ReturningUpdate

from hpsearch.spec.search import Resources, Search
from hpsearch.storage import searches, upkeep
from hpsearch.storage.bell import ring
from hpsearch.storage.database import Database, clock, fold_log_after
from hpsearch.storage.errors import LeaseHeld, StorageError
from hpsearch.storage.events import add_event
from hpsearch.storage.leases import TTL, Lease, Owner, holder_of, stop_trials
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import BEGUN, ENDED, SearchRecord, SearchState
from hpsearch.storage.tables import CodeRow, EventRow, SearchRow, TrialRow

MOST_IN_VAIN = 5
CLAIM_LOCK = 0x68707363  # "hpsc": PostgreSQL's advisory lock of a claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A search that was claimed; ``in_vain`` counts its last jobs that stored no epoch.

    ``code`` is the package of what its spec names in Python, if it was submitted with one.
    """

    name: str
    lease: Lease
    in_vain: int
    code: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A search of the service that somebody carries out, or did until it died.

    ``token`` is that of its lease, ``has_expired`` whether that is over. ``cancel_age_s`` counts
    since its cancelling was asked for; None if it was not. ``seen_at`` is the database's time of
    all this.
    """

    id: int
    name: str
    priority: int
    resources: Resources
    token: int
    owner: Owner | None
    has_expired: bool
    job: str | None
    workers: int | None
    cancel_age_s: float | None
    seen_at: datetime


class Queue:
    """Those of ``database``; methods raise StorageError when it cannot be used."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def submit(
        self,
        spec: Search,
        provenance: Provenance,
        priority: int = 0,
        code: bytes | None = None,
    ) -> SearchRecord:
        """Store a request for the service; of several that wait, the highest priority is first.

        Whoever carries it out, now or later, has the same ``code``.
        """
        with self.database.write() as connection:
            fold_log_after(connection)  # whoever copies SQLite's file now has the search
            ring(connection)
            record = searches.create(connection, spec, provenance, priority, served=True)
            if code is not None:
                row = {"search_id": record.id, "zipped": code}
                connection.execute(insert(CodeRow).values(row))
            return record

    def submit_again(self, search_id: int) -> None:
        """Give the service a search that was stopped or cancelled, or failed.

        Raises StorageError for one that is complete, LeaseHeld while somebody carries it out.
        """
        with self.database.write() as connection:
            row, now = _unheld(connection, search_id)
            if row.state == "complete":
                raise StorageError(
                    f"search {search_id} is complete: there is nothing to go on with"
                )
            ring(connection)
            values = {"served": True, "cancel_requested_at": None, "workers": None}
            _set(connection, row, "submitted", now, **values)

    def cancel(self, search_id: int) -> Literal["asked", "cancelled"]:
        """End a search: at once if nobody carries it out, else by asking who does.

        Raises StorageError for one that has ended.
        """
        with self.database.write() as connection:
            row, now = _locked(connection, search_id)
            if row.state in ENDED:
                raise StorageError(f"search {search_id} is {row.state}: there is nothing to cancel")
            if holder_of(row, now) is None:
                _set(connection, row, "cancelled", now)
                return "cancelled"
            asked_at = row.cancel_requested_at or now
            connection.execute(_of(search_id).values(cancel_requested_at=asked_at))
            return "asked"

    def retry_failed(self, search_id: int) -> int:
        """Let its failed trials wait again, but for those that diverged; how many. It is stopped.

        Raises LeaseHeld while somebody carries it out.
        """
        with self.database.write() as connection:
            row, now = _unheld(connection, search_id)
            count = upkeep.retry_failed(connection, search_id)
            if count:
                _set(connection, row, "stopped", now)
            return count

    def delete(self, search_id: int) -> None:
        """Forget a search and all its results. Raises LeaseHeld while somebody carries it out."""
        with self.database.write() as connection:
            _unheld(connection, search_id)
            upkeep.delete_search(connection, search_id)

    def claim(self, owner: Owner, most: int | None = None) -> Claim | None:
        """Take the lease of the search that is next: submitted, or left by who is gone.

        None if nothing waits, or ``most`` searches are carried out by now. Two who claim at once
        do it one after the other.
        """
        with self.database.write() as connection:
            _wait_for_other_claims(connection)
            if most is not None and _num_held(connection) >= most:
                return None
            row = connection.execute(_claim(connection.dialect.name, owner)).first()
            if row is None:
                return None
            lease = Lease(search_id=row.id, token=row.lease_token, owner=owner)
            code = select(CodeRow.zipped).where(CodeRow.search_id == row.id)
            return Claim(
                name=row.name,
                lease=lease,
                in_vain=_num_in_vain(connection, row.id),
                code=connection.execute(code).scalar_one_or_none(),
            )

    def set_job(self, lease: Lease, job: str) -> None:
        """Note what carries the claimed search out, or has taken it over by now.

        Nothing is noted of a claim that was lost.
        """
        is_held = SearchRow.lease_token == lease.token
        was_taken_over = and_(SearchRow.lease_token == lease.token + 1, SearchRow.job.is_(None))
        with self.database.write() as connection:
            noted = _of(lease.search_id).where(or_(is_held, was_taken_over)).values(job=job)
            if not connection.execute(noted).rowcount:
                return
            now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
            data = {"job": job, "epochs": _num_epochs(connection, lease.search_id)}
            add_event(connection, lease.search_id, BEGUN, data, now)

    def running(self) -> list[Running]:
        """The service's searches that have been claimed and have not ended, by id."""
        with self.database.read() as connection:
            now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
            rows = connection.execute(
                select(SearchRow.__table__)
                .where(SearchRow.served, SearchRow.state == "running")
                .order_by(SearchRow.id)
            )
            return [_running(row, now) for row in rows]

    def allot(self, workers: Mapping[int, int]) -> None:
        """How many workers searches may have, by id."""
        with self.database.write() as connection:
            for search_id, number in workers.items():
                connection.execute(_of(search_id).values(workers=number))


def _locked(connection: Connection, search_id: int) -> tuple[Row[Any], datetime]:
    """The search's row, which nobody else changes before the end of the transaction."""
    row = connection.execute(
        select(SearchRow.__table__).where(SearchRow.id == search_id).with_for_update()
    ).first()
    if row is None:
        raise StorageError(f"there is no search {search_id}: `hpsearch list` shows all")
    return row, connection.execute(select(clock(connection.dialect.name))).scalar_one()


def _unheld(connection: Connection, search_id: int) -> tuple[Row[Any], datetime]:
    """As :func:`_locked`; raises LeaseHeld if somebody carries it out."""
    row, now = _locked(connection, search_id)
    if (holder := holder_of(row, now)) is not None:
        is_asked = row.cancel_requested_at is not None
        first = "it is cancelled already: wait until" if is_asked else "end it with"
        then = "shows it so" if is_asked else "first"
        words = "status" if is_asked else "cancel"
        raise LeaseHeld(
            f"search {search_id} is being carried out by {holder}: {first} `hpsearch {words} "
            f"{search_id}` {then}"
        )
    return row, now


def _set(
    connection: Connection, row: Row[Any], state: SearchState, now: datetime, **values: Any
) -> None:
    """Put a search that nobody carries out into ``state``; a lease of before is of no use."""
    free = {"lease_owner": None, "lease_expires_at": None, "lease_token": row.lease_token + 1}
    finished_at = now if state in ENDED else None
    notice = {"notice_at": finished_at if row.served else None, "notice_tries": 0}
    change = {
        "state": state,
        "finished_at": finished_at,
        "message": None,
        **free,
        **notice,
        **values,
    }
    connection.execute(_of(row.id).values(**change))
    stop_trials(connection, row.id)
    add_event(connection, row.id, state, {}, now)


def _of(search_id: int) -> Update:
    return update(SearchRow).where(SearchRow.id == search_id)


def _wait_for_other_claims(connection: Connection) -> None:
    """So that what is counted here is so until the claim; SQLite has one writer in any case."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CLAIM_LOCK})


def _num_held(connection: Connection) -> int:
    """How many of the service's searches somebody carries out, or will as soon as it has begun."""
    is_held = SearchRow.lease_expires_at >= clock(connection.dialect.name)
    held = select(func.count()).where(SearchRow.served, SearchRow.state == "running", is_held)
    return int(connection.execute(held).scalar_one())


def _claim(dialect: str, owner: Owner) -> ReturningUpdate[Any, Any, Any, Any]:
    """One statement, so that two at once never take the same row (SKIP LOCKED on PostgreSQL)."""
    was_left = and_(SearchRow.state == "running", SearchRow.lease_expires_at < clock(dialect))
    next_one = (
        select(SearchRow.id)
        .where(SearchRow.served, SearchRow.cancel_requested_at.is_(None))
        .where(or_(SearchRow.state == "submitted", was_left))
        .order_by(SearchRow.priority.desc(), SearchRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return (
        update(SearchRow)
        .where(SearchRow.id == next_one.scalar_subquery())
        .values(
            state="running",
            lease_owner=owner,
            lease_token=SearchRow.lease_token + 1,
            lease_expires_at=clock(dialect, ahead=TTL),
            job=None,
            workers=None,
        )
        .returning(SearchRow.id, SearchRow.name, SearchRow.lease_token, SearchRow.lease_expires_at)
    )


def _num_in_vain(connection: Connection, search_id: int) -> int:
    """How many jobs have begun it since an epoch was stored, or it was submitted."""
    of_log = EventRow.search_id == search_id
    begin = select(func.max(EventRow.id)).where(of_log, EventRow.kind == "submitted")
    begun = connection.scalars(
        select(EventRow.data)
        .where(of_log, EventRow.kind == BEGUN)
        .where(EventRow.id > func.coalesce(begin.scalar_subquery(), 0))
        .order_by(EventRow.id.desc())
        .limit(MOST_IN_VAIN)
    ).all()
    epochs = _num_epochs(connection, search_id)
    progressed = (place for place, job in enumerate(begun) if job["epochs"] != epochs)
    return next(progressed, len(begun))


def _num_epochs(connection: Connection, search_id: int) -> int:
    total = select(func.coalesce(func.sum(TrialRow.epochs), 0))
    return int(connection.execute(total.where(TrialRow.search_id == search_id)).scalar_one())


def _running(row: Row[Any], now: datetime) -> Running:
    asked_at = row.cancel_requested_at
    return Running(
        id=row.id,
        name=row.name,
        priority=row.priority,
        resources=Resources.model_validate(row.spec["resources"]),
        token=row.lease_token,
        owner=None if row.lease_owner is None else Owner.from_json(row.lease_owner),
        has_expired=row.lease_expires_at is None or row.lease_expires_at <= now,
        job=row.job,
        workers=row.workers,
        cancel_age_s=None if asked_at is None else (now - asked_at).total_seconds(),
        seen_at=now,
    )

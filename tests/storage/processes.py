"""What other processes do in the tests of leases and databases; light to import, for ``spawn``."""

from __future__ import annotations

import signal
from typing import Any

from sqlalchemy import event
from stored_searches import PROVENANCE, a_report, a_spec, begin

from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseHeld
from hpsearch.storage.leases import Owner
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository

WIDTH = 8


def first_use(urls: list[str], barrier: Any) -> None:
    """Use empty databases, each at the same time as other processes."""
    for url in urls:
        barrier.wait(timeout=20)
        Repository(Database(url)).create_search(a_spec(), PROVENANCE)


def find_or_create(url: str, names: list[str], barrier: Any, got: Any) -> None:
    """Ask for searches, each at the same time as another process; tell the ids, and which new."""
    repository = Repository(Database(url))
    repository.list_searches()
    own = []
    for name in names:
        barrier.wait(timeout=60)
        record, is_new = repository.find_or_create(a_spec(name), PROVENANCE)
        own.append((record.id, is_new))
    got.put(own)


def race(url: str, search_id: int, barrier: Any, won: Any) -> None:
    """Try to acquire a search at the same time as another process; tell the token or None."""
    repository = Repository(Database(url))
    repository.list_searches()
    barrier.wait(timeout=60)
    try:
        won.put(repository.acquire(search_id, Owner.current()).token)
    except LeaseHeld:
        won.put(None)
    barrier.wait(timeout=60)  # who won must live until the other has tried


def write_until_killed(url: str, events: Any) -> None:
    """Store two reports; stop within the third, its metrics written and nothing committed."""
    writer = begin(Database(url), num_trials=WIDTH)
    epoch = 0

    @event.listens_for(writer.repository.database.engine, "before_cursor_execute")
    def stop(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE trials") and epoch == 3:
            events.put("inside")
            signal.pause()

    for epoch in (1, 2, 3):
        report = a_report(epoch, dict.fromkeys(writer.ids, 0.5))
        writer.repository.commit_report(writer.lease, report)


def submit_many(url: str, number: int) -> None:
    """Submit so many searches, one after the other."""
    queue = Queue(Database(url))
    for _ in range(number):
        queue.submit(a_spec(), PROVENANCE)


def claim_all(url: str, number: int, claims: Any) -> None:
    """Claim what is submitted until so many have been claimed by all; tell the ids."""
    queue, own = Queue(Database(url)), []
    while len(queue.running()) < number:
        claim = queue.claim(Owner.current())
        if claim is not None:
            own.append(claim.lease.search_id)
    claims.put(own)

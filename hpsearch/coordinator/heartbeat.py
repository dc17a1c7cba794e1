"""Heartbeat: keeps a search's lease while its process lives, whatever its loop is waiting for.

Entered by ``hpsearch.api`` around a search; every write renews the lease as well.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hpsearch.storage.errors import LeaseLost, StorageError
from hpsearch.storage.leases import TTL, Lease
from hpsearch.storage.repository import Repository

EVERY_S = TTL.total_seconds() / 3


@contextmanager
def heartbeat(repository: Repository, lease: Lease) -> Iterator[None]:
    """Renew ``lease`` in a thread until the end; the next write notices if it was lost."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(repository, lease, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(repository: Repository, lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(EVERY_S):
        try:
            repository.renew(lease)
        except LeaseLost:
            return
        except StorageError:
            continue  # the database is away for a moment; the loop will say so if it stays away

"""Heartbeat: keeps a search's lease while its process lives, whatever its loop is waiting for.

Entered by ``hpsearch.running`` and ``hpsearch.service.carrying`` around a search; every write
renews the lease as well. What it hears back is what others ask of the search: to end it, or to have
fewer workers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpsearch.coordinator.patience import patiently
from hpsearch.storage.errors import LeaseLost, StorageError
from hpsearch.storage.leases import TTL, Lease, Orders
from hpsearch.storage.repository import Repository

LOG = logging.getLogger("hpsearch.search")
EVERY_S = TTL.total_seconds() / 10  # a search that is cancelled ends soon after


@contextmanager
def heartbeat(repository: Repository, lease: Lease) -> Iterator[Callable[[], Orders]]:
    """Renew ``lease`` in a thread until the end.

    What is given tells the orders as of the last beat, the first of which was before; it raises
    LeaseLost once that is so.
    """
    heart = _Heart(repository, lease)
    thread = threading.Thread(target=heart.beat, daemon=True)
    thread.start()
    try:
        yield heart.orders
    finally:
        heart.ended.set()
        thread.join()


class _Heart:
    def __init__(self, repository: Repository, lease: Lease) -> None:
        self._repository, self._lease = repository, lease
        self._orders = patiently(lambda: repository.renew(lease), LOG.warning)
        self._lost: LeaseLost | None = None
        self.ended = threading.Event()

    def orders(self) -> Orders:
        if self._lost is not None:
            raise self._lost
        return self._orders

    def beat(self) -> None:
        while not self.ended.wait(EVERY_S):
            try:
                self._orders = self._repository.renew(self._lease)
            except LeaseLost as lost:
                self._lost = lost
                return
            except StorageError:
                continue  # the database is away; the loop will say so if it stays away

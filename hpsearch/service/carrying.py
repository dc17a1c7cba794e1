"""``carry_out``: what a job of the service does, which is to run the coordinator of one search.

Run by ``hpsearch carry-out``, which ``jobs`` names as the entrypoint; nobody else has use for it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from hpsearch.coordinator.ending import ending
from hpsearch.coordinator.events import (
    Advanced,
    Event,
    Finished,
    RungDecided,
    StageOpened,
    Troubled,
)
from hpsearch.coordinator.heartbeat import heartbeat
from hpsearch.coordinator.loop import Coordinator
from hpsearch.coordinator.patience import patiently
from hpsearch.coordinator.resources import check_same_data, prepared_folder
from hpsearch.errors import Cancelled, HpsearchError, MayPass
from hpsearch.executors.backends import ray_executor
from hpsearch.executors.base import Task
from hpsearch.executors.connecting import connecting
from hpsearch.service.metrics import Metrics
from hpsearch.settings import IMPORTS_VARIABLE, checkpoint_root, database_url
from hpsearch.spec import load_data
from hpsearch.spec.search import Search
from hpsearch.storage.database import Database
from hpsearch.storage.errors import DatabaseAway, LeaseLost
from hpsearch.storage.leases import Lease, Orders, Owner
from hpsearch.storage.records import SearchRecord, SearchState
from hpsearch.storage.repository import Repository

LOG = logging.getLogger("hpsearch.search")
CLUSTER = "auto"  # the one whose job this is
ALLOTTED_S = 0.1
TELL_S = 10.0


def carry_out(search_id: int, token: int, db: str | None = None) -> None:
    """Take the search over from the server that claimed it by ``token``, and end it.

    Raises LeaseLost, having done nothing, if another server has claimed it since.
    """
    url = database_url(db)
    repository = Repository(Database(url))
    record = patiently(lambda: repository.find_search(search_id), LOG.warning)
    owner = Owner.current()
    lease = patiently(lambda: repository.take_over(search_id, token, owner), LOG.warning)
    title = f"{record.name} (search {record.id})"
    with (
        connecting(CLUSTER, record.name) as connected,
        _in_service(repository, lease) as orders,
    ):
        check_imports(record.spec)
        dataset = load_data(record.spec)
        folder = prepared_folder(checkpoint_root(url), record)
        patiently(lambda: check_same_data(repository, lease, dataset), LOG.warning)
        task = Task(search=record.spec, title=title, dataset=dataset, folder=folder)
        given = task, _allotted(orders, record)
        with closing(ray_executor(connected(), *given, patience_s=None)) as executor:
            teller, metrics = Teller(), Metrics(title)

            def observe(event: Event) -> None:
                teller.observe(event)
                metrics.observe(event)

            parts = repository, lease, record, executor, folder, observe
            patiently(lambda: Coordinator(*parts, orders=orders), LOG.warning).run()


def check_imports(spec: Search) -> None:
    """Raises HpsearchError for a spec that names Python objects, unless the operator allows it."""
    names = spec.python_names
    if names and os.environ.get(IMPORTS_VARIABLE) != "1":
        raise HpsearchError(
            f"a spec for this service must name no Python objects, but search {spec.name} names "
            f"{' and '.join(names)}; its operator allows that by {IMPORTS_VARIABLE}=1"
        )


@contextmanager
def _in_service(repository: Repository, lease: Lease) -> Iterator[Callable[[], Orders]]:
    """Keep the search; give it back as it ended: for good, or to be gone on with by another job."""
    try:
        with heartbeat(repository, lease) as orders:
            yield orders
    except LeaseLost:
        raise
    except (Cancelled, KeyboardInterrupt) as ended:  # the latter is a SIGTERM, of Ray for example
        state: SearchState = "cancelled" if isinstance(ended, Cancelled) else "submitted"
        repository.release(lease, state)
        raise
    except DatabaseAway:
        raise  # nor could it be given back; its lease runs out
    except Exception as error:
        # Its spec, its data, its checks are wrong for everybody; all else may be over next time.
        is_final = isinstance(error, HpsearchError) and not isinstance(error, MayPass)
        said = (
            str(error) if isinstance(error, HpsearchError) else f"{type(error).__name__}: {error}"
        )
        repository.release(lease, "failed" if is_final else "submitted", said)
        raise
    state, why = patiently(lambda: ending(repository, lease.search_id), LOG.warning)
    if why is not None:
        LOG.error("%s", why)
    patiently(
        lambda: repository.release(lease, state, why),
        LOG.warning,
        lambda: repository.find_search(lease.search_id).state == state or None,
    )


def _allotted(orders: Callable[[], Orders], record: SearchRecord) -> int:
    """How many workers it may have at first; waits for the first one."""
    while not (number := orders().workers):
        if orders().cancelled:
            raise Cancelled(f"search {record.id} was cancelled before it had a worker")
        time.sleep(ALLOTTED_S)
    return number


class Teller:
    """Tells the job's log of a search, at most every TELL_S of its epochs."""

    def __init__(self) -> None:
        self._epochs, self._told_s = 0, time.monotonic()

    def observe(self, event: Event) -> None:
        """One line for what a person would want to know."""
        match event:
            case StageOpened(stage=stage):
                LOG.info("stage %s: %d epochs", stage.name, stage.epochs)
            case Troubled(message=message):
                LOG.warning("%s", message)
            case RungDecided(message=message):
                LOG.info("%s", message)
            case Advanced(trial_epochs=epochs):
                self._epochs += epochs
                if time.monotonic() - self._told_s > TELL_S:
                    self._told_s = time.monotonic()
                    LOG.info("%d epochs of single trials since the start", self._epochs)
            case Finished():
                LOG.info("all is trained")

"""A search of this process, from what it waits for to its last result: ``carry_out`` and the rest.

Called by ``hpsearch.api`` once its data are read and its workers begin to start; what a job of the
service does instead is in ``hpsearch.service.carrying``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.coordinator.allowance import AllFail
from hpsearch.coordinator.ending import ending
from hpsearch.coordinator.events import Observer
from hpsearch.coordinator.heartbeat import heartbeat
from hpsearch.coordinator.loop import Coordinator
from hpsearch.coordinator.resources import check_same_data, prepared_folder
from hpsearch.errors import Cancelled, Stopped
from hpsearch.executors.backends import IN_PROCESS, PROCESSES, Backend
from hpsearch.executors.base import Task
from hpsearch.settings import command
from hpsearch.spec.search import Search
from hpsearch.storage.errors import LeaseLost
from hpsearch.storage.leases import Lease, Orders, Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository

if TYPE_CHECKING:
    from workers.data import Dataset

DATA, WORKERS = "its data", "its workers"  # that are waited for before the first event
SAMPLER_PACKAGES = {"qmc": "scipy.stats", "cmaes": "cmaes"}  # the others are Optuna's


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A search is about to run: its record, whether it goes on from earlier, and what it runs on.

    ``backend`` is None if it is complete and only read; ``namesake`` is the id of an older search
    of the same name with another spec.
    """

    search: SearchRecord
    resumed: bool
    backend: Backend | None
    namesake: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Who is told of a search's start and progress, and whether failed checks are overlooked."""

    on_start: Callable[[Started], None]
    on_wait: Callable[[str], None]
    observer: Observer
    force: bool = False


def awaited(
    ready: Callable[[], Backend], ray: str, search: Search, on_wait: Callable[[str], None]
) -> Backend:
    """The backend that ``ray`` names, once it is there."""
    for stage in search.stages:  # there is time to import what its samplers will
        import_module(SAMPLER_PACKAGES.get(stage.sampler, "optuna"))
    on_wait(WORKERS if ray in (IN_PROCESS, PROCESSES) else f"Ray ({ray})")
    return ready()


def created(
    repository: Repository, search: Search, provenance: Provenance, backend: Backend, anew: bool
) -> Started:
    """A new search; unless another process has begun the same since it was looked for."""
    namesake = repository.newest_of_name(search.name)  # before there is a newer one
    if anew:
        record, is_new = repository.create_search(search, provenance), True
    else:
        record, is_new = repository.find_or_create(search, provenance)
    older = namesake if is_new else None
    return Started(search=record, resumed=not is_new, backend=backend, namesake=older)


def carry_out(
    repository: Repository,
    started: Started,
    dataset: Dataset | None,
    checkpoints: Path,
    watch: Watch,
) -> None:
    """Own the search, train it on the started backend, and store it as it ended."""
    record, backend = started.search, started.backend
    assert backend is not None
    title = f"{record.name} (search {record.id})"
    with leased(repository, record) as (lease, orders):  # until nothing is left that trains
        folder = prepared_folder(checkpoints, record)  # nobody else writes there now
        check_same_data(repository, lease, dataset)
        task = Task(search=record.spec, title=title, dataset=dataset, folder=folder)
        with closing(backend.executor(task)) as executor:
            watch.on_start(started)
            watch.on_wait(WORKERS)
            Coordinator(
                repository,
                lease,
                record,
                executor,
                folder,
                watch.observer,
                force=watch.force,
                orders=orders,
            ).run()


@contextmanager
def leased(
    repository: Repository, record: SearchRecord
) -> Iterator[tuple[Lease, Callable[[], Orders]]]:
    """Own the search; give it back as it ended, or stopped or cancelled if that ends it earlier."""
    lease = repository.acquire(record.id, Owner.current())
    try:
        with heartbeat(repository, lease) as orders:
            yield lease, orders
    except Cancelled:
        repository.release(lease, "cancelled")
        raise
    except KeyboardInterrupt:
        repository.release(lease, "stopped")
        raise Stopped(
            f"search {record.name} (id {record.id}) was stopped, and all that was reported is "
            f"stored: go on with {command(f'resume {record.id}', repository.database.url)}"
        ) from None
    except LeaseLost:
        raise
    except AllFail as found:
        repository.release(lease, "failed", str(found))
        raise
    except BaseException:
        repository.release(lease, "stopped")
        raise
    repository.release(lease, *ending(repository, record.id))

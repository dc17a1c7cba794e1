"""Backends: where a search's workers will run, which begins to start while its data are read.

Entered by ``hpsearch.api`` as soon as a spec is found good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hpsearch.errors import HpsearchError, closest
from hpsearch.executors.base import Executor, Task
from hpsearch.own_code import packed
from hpsearch.spec.search import Resources, Search

if TYPE_CHECKING:
    from hpsearch.executors.cluster import Cluster

START_S = 300.0  # until workers of a cluster have found room there
IN_PROCESS = "none"
PROCESSES = "processes"
WITHOUT_A_PORT = "local", "auto"  # a cluster that is started here, or that runs here


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """Makes the one executor of a search, from its task.

    ``close`` ends what was started for this search alone; it may be called twice. ``dashboard`` is
    an address for a browser, None if there is none. ``end`` ends what was started for this process
    and would serve its next search; it may take seconds. None: nothing was.
    """

    executor: Callable[[Task], Executor]
    close: Callable[[], None] = lambda: None
    dashboard: str | None = None
    end: Callable[[], None] | None = None


Starting = AbstractContextManager[Callable[[], Backend]]


def starting(ray: str, search: Search) -> Starting:
    """Begin to start what ``ray`` names; what is given waits for it, and raises what that raises.

    Workers that may run elsewhere find there what the search names in Python and is written here.
    If the body raises, all that was started for it is ended. If it does not, the caller has the
    backend, and closes it.
    """
    check_address(ray)
    if search.trainable is not None and ray in (IN_PROCESS, PROCESSES):
        raise HpsearchError(
            f"a trainable must be run by Ray Tune, but got --ray {ray}: say --ray local, or name a "
            "cluster's HOST:PORT"
        )
    if ray == IN_PROCESS:
        _check_one_device(search.resources)
        return nullcontext(lambda: Backend(executor=_in_process))
    if ray == PROCESSES:
        return _processes(search.resources)
    return _on_ray(ray, search.name, packed(search) if runs_elsewhere(ray) else None)


def default_ray(search: Search) -> str:
    """Where a search is carried out that names no cluster: a trainable on a Ray of its own."""
    return PROCESSES if search.trainable is None else "local"


def runs_elsewhere(ray: str) -> bool:
    """Whether workers may run on other machines, which have nothing of what is written here."""
    return ray not in (IN_PROCESS, PROCESSES, "local")


def check_address(ray: str) -> None:
    """Refuse a word that is neither, before Ray looks for a cluster of that name."""
    words = (IN_PROCESS, PROCESSES, *WITHOUT_A_PORT)
    if ":" not in ray and ray not in words:
        nearest = closest(ray, words)
        hint = "" if nearest is None else f"; did you mean {nearest}?"
        raise HpsearchError(
            f"--ray (or RAY_ADDRESS) must be one of {', '.join(words)}, or the HOST:PORT of a "
            f"cluster, but got {ray!r}{hint}"
        )


def _check_one_device(resources: Resources) -> None:
    devices = resources.devices_per_trial
    if devices > 1:
        raise HpsearchError(
            "resources.devices_per_trial must be 1 with --ray none, which trains in one process, "
            f"but got {devices}: use --ray {PROCESSES}, or a cluster"
        )


def _in_process(task: Task) -> Executor:
    from hpsearch.executors.inprocess import InProcessExecutor

    assert task.dataset is not None
    return InProcessExecutor(task.dataset)


@contextmanager
def _processes(resources: Resources) -> Iterator[Callable[[], Backend]]:
    from hpsearch.executors.crew import Crew

    crew = Crew(resources)

    def executor(task: Task) -> Executor:
        from hpsearch.executors.processes import ProcessExecutor

        assert task.dataset is not None
        return ProcessExecutor(crew, task.dataset, task.title)

    try:
        yield lambda: Backend(executor=executor, close=crew.end)
    except BaseException:
        crew.end()
        raise


@contextmanager
def _on_ray(address: str, title: str, code: bytes | None) -> Iterator[Callable[[], Backend]]:
    from hpsearch.executors.connecting import connecting

    with connecting(address, title, code) as connected:
        yield lambda: _ray_backend(connected())


def _ray_backend(cluster: Cluster) -> Backend:
    from hpsearch.executors.cluster import disconnect

    end = disconnect if cluster.is_own else None
    executor = partial(ray_executor, cluster)
    return Backend(executor=executor, dashboard=cluster.dashboard, end=end)


def ray_executor(
    cluster: Cluster,
    task: Task,
    num_workers: int | None = None,
    patience_s: float | None = START_S,
) -> Executor:
    """The executor of ``task`` on a cluster; ``num_workers`` and ``patience_s`` as RayExecutor's.

    Ray Tune waits for room by itself.
    """
    if task.search.trainable is not None:
        from hpsearch.executors.tune import TuneExecutor

        assert task.folder is not None
        return TuneExecutor(cluster, task.search, task.folder, num_workers)
    from hpsearch.executors.ray import RayExecutor

    assert task.dataset is not None
    given = cluster, task.dataset, task.search.resources, task.title
    return RayExecutor(*given, num_workers, patience_s)

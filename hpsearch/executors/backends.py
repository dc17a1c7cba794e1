"""Backends: where a search's workers will run, which begins to start while its data are read.

Entered by ``hpsearch.api`` as soon as a spec is found good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpsearch.errors import HpsearchError
from hpsearch.executors.base import Executor
from hpsearch.spec.problem import closest
from hpsearch.spec.search import Resources

if TYPE_CHECKING:
    from hpsearch.executors.cluster import Cluster
    from workers.data import Dataset

IN_PROCESS = "none"
PROCESSES = "processes"
WITHOUT_A_PORT = "local", "auto"  # a cluster that is started here, or that runs here


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """Makes the one executor of a search, from its data and a title.

    ``close`` ends what was started for this search alone; it may be called twice. ``dashboard`` is
    an address for a browser, None if there is none. ``end`` ends what was started for this process
    and would serve its next search; it may take seconds. None: nothing was.
    """

    executor: Callable[[Dataset, str], Executor]
    close: Callable[[], None] = lambda: None
    dashboard: str | None = None
    end: Callable[[], None] | None = None


Starting = AbstractContextManager[Callable[[], Backend]]


def starting(ray: str, title: str, resources: Resources) -> Starting:
    """Begin to start what ``ray`` names; what is given waits for it, and raises what that raises.

    If the body raises, all that was started for it is ended. If it does not, the caller has the
    backend, and closes it.
    """
    check_address(ray)
    if ray == IN_PROCESS:
        _check_one_device(resources)
        return nullcontext(lambda: Backend(executor=_in_process))
    if ray == PROCESSES:
        return _processes(resources)
    return _on_ray(ray, title, resources)


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


def _in_process(dataset: Dataset, title: str) -> Executor:
    from hpsearch.executors.inprocess import InProcessExecutor

    return InProcessExecutor(dataset)


@contextmanager
def _processes(resources: Resources) -> Iterator[Callable[[], Backend]]:
    from hpsearch.executors.crew import Crew

    crew = Crew(resources)

    def executor(dataset: Dataset, title: str) -> Executor:
        from hpsearch.executors.processes import ProcessExecutor

        return ProcessExecutor(crew, dataset, title)

    try:
        yield lambda: Backend(executor=executor, close=crew.end)
    except BaseException:
        crew.end()
        raise


@contextmanager
def _on_ray(address: str, title: str, resources: Resources) -> Iterator[Callable[[], Backend]]:
    from hpsearch.executors.connecting import connecting

    with connecting(address, title) as connected:
        yield lambda: _ray_backend(connected(), resources)


def _ray_backend(cluster: Cluster, resources: Resources) -> Backend:
    from hpsearch.executors.cluster import disconnect
    from hpsearch.executors.ray import RayExecutor

    def executor(dataset: Dataset, title: str) -> Executor:
        return RayExecutor(cluster, dataset, resources, title)

    end = disconnect if cluster.is_own else None
    return Backend(executor=executor, dashboard=cluster.dashboard, end=end)

"""RayExecutor: a pool of Ray actors, one per GPU, or spread over the CPU cores when there is none.

Made by ``hpsearch.api`` once a search's data are loaded; a worker that dies is replaced.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import click
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from hpsearch.errors import HpsearchError
from hpsearch.executors.base import ChecksBroken, Ended, Lost, Raised, Reported, Update
from hpsearch.executors.cluster import Cluster
from hpsearch.spec.search import Resources
from workers.actor import TrainingWorker
from workers.data import Dataset
from workers.messages import CheckPlan, CheckResult, Report, TrialGroup

START_S = 300
FILES = 256  # remembered a worker; its memory has room for about as many
_REMOTE = ray.remote(max_restarts=0)(TrainingWorker)  # a worker that died is replaced by us


@dataclass(kw_only=True, slots=True)
class _Slot:
    """One worker and the group that it is training: its number, and the stream of its Reports.

    ``files`` are the checkpoints that it wrote last, which it may have in memory still.
    """

    name: str
    actor: Any
    number: int | None = None
    stream: Any = None
    files: deque[str] = field(default_factory=lambda: deque(maxlen=FILES))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """How many workers there are, and what each of them holds."""

    num_workers: int
    gpus: float
    threads: int

    @property
    def sharing(self) -> int:
        """How many workers share a GPU, or the machine where there is none."""
        return max(1, int(1 / self.gpus)) if self.gpus else self.num_workers


class RayExecutor:
    """Trains up to one group per worker at once."""

    def __init__(
        self, cluster: Cluster, dataset: Dataset, resources: Resources, title: str
    ) -> None:
        self._pool = pool(cluster, resources)
        self._title = title
        self._dataset = ray.put(dataset)
        self._num_created = 0
        self._slots = [self._new_slot() for _ in range(self._pool.num_workers)]
        self._device: str | None = None

    @property
    def device(self) -> str:
        return self._await_workers()

    @property
    def num_slots(self) -> int:
        return len(self._slots)

    def start(self, number: int, group: TrialGroup) -> str:
        """On the free worker that wrote the checkpoints of most of the members."""
        wanted = Counter(member.resume.file for member in group.members if member.resume)
        free = (slot for slot in self._slots if slot.number is None)
        slot = max(free, key=lambda slot: sum(wanted[file] for file in set(slot.files)))
        slot.number = number
        slot.stream = slot.actor.train.options(name=group.name).remote(group)
        return slot.name

    def wait(self, timeout_s: float) -> list[Update]:
        busy = {slot.stream: slot for slot in self._slots if slot.number is not None}
        if not busy:
            return []
        ready, others = ray.wait(list(busy), timeout=timeout_s, fetch_local=False)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0, fetch_local=False)[0]
        return [self._take(busy[stream]) for stream in ready]

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        self._await_workers()
        slot = self._slots[0]
        try:
            found: list[CheckResult] = ray.get(slot.actor.check.remote(plan))
        except RayTaskError as error:
            raise ChecksBroken(_last_line(error)) from error
        except RayError as error:  # the actor, or its node, is gone
            self._slots[0] = self._new_slot()
            raise ChecksBroken(_first_line(error)) from error
        return found

    def close(self) -> None:
        for slot in self._slots:
            with contextlib.suppress(Exception):  # nor may a dead cluster hide why we close
                ray.kill(slot.actor)
        self._slots = []

    def _take(self, slot: _Slot) -> Update:
        """The next thing that the slot's stream says; frees the slot if it is the last."""
        number = slot.number
        assert number is not None
        try:
            report: Report = ray.get(next(slot.stream))
            if report.checkpoint is not None:
                slot.files.append(report.checkpoint)
            return Reported(group=number, report=report)
        except StopIteration:
            update: Update = Ended(group=number)
        except RayTaskError as error:
            update = Raised(group=number, traceback=click.unstyle(str(error)))
        except RayError as error:  # the actor, its node or what it had to say is gone
            self._slots[self._slots.index(slot)] = self._new_slot()
            return Lost(group=number, message=_first_line(error))
        slot.number = slot.stream = None
        return update

    def _await_workers(self) -> str:
        """What they train on, once all have their data there.

        Where they differ it is all of their names: what is measured is stored under no one's.

        Not in the constructor: while PyTorch is imported there, a search's first trials can be
        sampled here. Raises HpsearchError if one cannot start, or finds no room on the cluster.
        """
        if self._device is not None:
            return self._device
        names = [slot.actor.device_name.remote() for slot in self._slots]
        try:
            self._device = " and ".join(sorted(set(ray.get(names, timeout=START_S))))
        except GetTimeoutError:
            raise HpsearchError(
                f"{len(self._slots)} workers must start within {START_S} s, but the cluster has no "
                "room for them: lower resources.workers, or wait until others have ended"
            ) from None
        except RayError as error:
            raise HpsearchError(f"a worker could not start: {_last_line(error)}") from error
        return self._device

    def _new_slot(self) -> _Slot:
        self._num_created += 1
        name = f"{self._title} worker {self._num_created}"
        options = {"name": name, "num_gpus": self._pool.gpus, "num_cpus": 1}
        pool = self._pool
        actor = _REMOTE.options(**options).remote(self._dataset, pool.threads, name, pool.sharing)
        return _Slot(name=name, actor=actor)


def pool(cluster: Cluster, resources: Resources) -> Pool:
    """One worker per GPU (or per ``gpus_per_worker`` of one), else one per CPU core."""
    gpus = resources.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if cluster.num_gpus else 0.0
    if gpus > cluster.num_gpus:
        raise HpsearchError(
            f"resources.gpus_per_worker must be at most {cluster.num_gpus}, the GPUs of the "
            f"cluster, but got {gpus:g}: lower it, or say auto"
        )
    most = int(cluster.num_gpus / gpus) if gpus else cluster.num_cpus
    wanted = most if resources.workers == "auto" else resources.workers
    num_workers = max(1, min(wanted, most))
    threads = max(1, cluster.num_cpus // num_workers)
    return Pool(num_workers=num_workers, gpus=gpus, threads=threads)


def _last_line(error: RayError) -> str:
    return click.unstyle(str(error)).strip().splitlines()[-1]


def _first_line(error: RayError) -> str:
    return str(error).strip().splitlines()[0]

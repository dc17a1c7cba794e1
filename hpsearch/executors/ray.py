"""RayExecutor: a pool of Ray actors, one per GPU, or spread over the CPU cores when there is none.

Made by ``backends`` once a search's data are loaded; a worker that dies is replaced. One of several
devices is several actors, placed together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hpsearch.errors import HpsearchError, MayPass
from hpsearch.executors.backends import START_S
from hpsearch.executors.base import (
    ChecksBroken,
    Ended,
    Lost,
    Raised,
    Reported,
    Update,
)
from hpsearch.executors.cluster import Cluster, cpus_and_gpus
from hpsearch.executors.pool import pool
from hpsearch.executors.ray_errors import RAISED, last_line, plain, why_lost
from hpsearch.executors.ray_worker import RayWorker
from hpsearch.executors.slots import Slot, free_slot, together
from hpsearch.spec.search import Resources
from workers.data import Dataset
from workers.messages import CheckPlan, CheckResult, Report, TrialGroup

MOST_REPORTS = 64  # that nobody has taken, of one worker: then it waits
_REMOTE = ray.remote(max_restarts=0)(RayWorker)  # a worker that died is replaced by us


@dataclass(kw_only=True, slots=True)
class _Slot(Slot):
    """An actor for each device, and the streams of those that train: the first one's has Reports.

    ``place`` is the placement group of several.
    """

    actors: list[Any]
    streams: list[Any] = field(default_factory=list)
    place: Any = None


class RayExecutor:
    """Trains up to one group per worker at once."""

    def __init__(
        self,
        cluster: Cluster,
        dataset: Dataset,
        resources: Resources,
        title: str,
        num_workers: int | None = None,
        patience_s: float | None = START_S,
    ) -> None:
        """``num_workers`` at first; None: as many as ``resources`` asks for and there is room.

        They are waited for ``patience_s`` at most; None: for as long as others have their place.
        """
        self._patience_s, self._resources = patience_s, resources
        self._pool = pool(cluster.num_cpus, cluster.num_gpus, resources)
        self._most_slots = self._pool.num_workers
        self._title = title
        self._dataset = ray.put(dataset)
        self._num_created = 0
        self._num_slots = self._ordered = 0
        self._slots: list[_Slot] = []
        self._device: str | None = None
        self.resize(self._pool.num_workers if num_workers is None else num_workers)

    @property
    def device(self) -> str:
        return self._await_workers()

    @property
    def num_slots(self) -> int:
        return self._num_slots

    @property
    def most_slots(self) -> int:
        return self._most_slots

    @property
    def gpus_per_worker(self) -> float:
        return self._pool.gpus_per_worker

    def resize(self, num_workers: int) -> None:
        if num_workers > self._most_slots and num_workers != self._ordered:
            self._most_slots = max(self._most_slots, self._room())
        self._ordered = num_workers
        self._num_slots = min(num_workers, self._most_slots)
        missing = self._num_slots - len(self._slots)
        self._slots += [self._new_slot() for _ in range(missing)]
        self._let_go()

    def _room(self) -> int:
        """How many there is room for now: machines may have joined, or those with GPUs left."""
        num_cpus, num_gpus = cpus_and_gpus()
        there = num_gpus if self._pool.gpus else num_cpus
        if self._pool.gpus > num_gpus or self._pool.devices > there:
            return 0
        same = self._resources.model_copy(update={"gpus_per_worker": self._pool.gpus})
        return pool(num_cpus, num_gpus, same).num_workers

    def start(self, number: int, group: TrialGroup) -> str:
        slot = free_slot(self._slots, group)
        slot.number = number
        options = {"name": group.name, "_generator_backpressure_num_objects": MOST_REPORTS}
        slot.streams = [actor.train.options(**options).remote(group) for actor in slot.actors]
        return slot.name

    def wait(self, timeout_s: float) -> list[Update]:
        training = [slot for slot in self._slots if slot.number is not None]
        busy = {stream: slot for slot in training for stream in slot.streams}
        if not busy:
            return []
        ready, others = ray.wait(list(busy), timeout=timeout_s, fetch_local=False)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0, fetch_local=False)[0]
        return [update for stream in ready for update in self._take(busy[stream], stream)]

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        self._await_workers()
        slot = self._slots[0]
        try:
            found: list[CheckResult] = ray.get(slot.actors[0].check.remote(plan))
        except RAISED as error:
            raise ChecksBroken(last_line(error)) from error
        except RayError as error:  # the actor, or its node, is gone
            self._replace(slot)
            raise ChecksBroken(why_lost(error)) from error
        return found

    def close(self) -> None:
        for slot in self._slots:
            with contextlib.suppress(Exception):  # nor may a dead cluster hide why we close
                _end(slot)
        self._slots = []

    def _take(self, slot: _Slot, stream: Any) -> Iterator[Update]:
        """The next thing that a stream of the slot's says, if it is an update.

        Frees the slot if it is the last.
        """
        number = slot.number
        if number is None or slot not in self._slots:  # another of its streams has ended it
            return
        try:
            report: Report = ray.get(next(stream))
            slot.note(report)
            yield Reported(group=number, report=report)
            return
        except StopIteration:
            if stream is not slot.streams[0]:
                slot.streams.remove(stream)
                return
            update: Update = Ended(group=number)
        except RAISED as error:
            if len(slot.actors) > 1:  # the others may wait for this one for ever
                self._replace(slot)
            update = Raised(group=number, traceback=plain(error))
        except RayError as error:  # the actor, its node or what it had to say is gone
            self._replace(slot)
            yield Lost(group=number, message=why_lost(error))
            return
        slot.number, slot.streams = None, []
        self._let_go()
        yield update

    def _replace(self, slot: _Slot) -> None:
        """All of its actors: what is left of them can train with none that is new."""
        place = self._slots.index(slot)
        with contextlib.suppress(RayError):
            _end(slot)
        self._slots[place] = self._new_slot()

    def _let_go(self) -> None:
        """End workers that are free and too many, so that others have their place."""
        free = [slot for slot in self._slots if slot.number is None]
        for slot in free[: max(0, len(self._slots) - self._num_slots)]:
            self._slots.remove(slot)
            _end(slot)

    def _await_workers(self) -> str:
        """What they train on, once all have their data there.

        Not in the constructor: while PyTorch is imported there, a search's first trials can be
        sampled here. Raises HpsearchError if one cannot start, or finds no room on the cluster.
        """
        if self._device is not None:
            return self._device
        names = [actor.device_name.remote() for slot in self._slots for actor in slot.actors]
        if self._patience_s is None:  # the others come when there is room; it goes on without
            names, _ = ray.wait(names, num_returns=1)
        try:
            self._device = together(ray.get(names, timeout=self._patience_s), self._pool.devices)
        except GetTimeoutError:
            raise HpsearchError(
                f"{len(self._slots)} workers must start within {self._patience_s:g} s, but the "
                "cluster has no room for them: lower resources.workers, or wait until others have "
                "ended"
            ) from None
        except RayError as error:
            raise MayPass(f"a worker could not start: {last_line(error)}") from error
        return self._device

    def _new_slot(self) -> _Slot:
        self._num_created += 1
        name, num = f"{self._title} worker {self._num_created}", self._pool.devices
        if num == 1:
            return _Slot(name=name, actors=[self._new_actor(name)])
        needs = {"CPU": 1.0} | ({"GPU": self._pool.gpus} if self._pool.gpus else {})
        place = placement_group([needs] * num, strategy="PACK")  # all of them have room, or none
        actors = [
            self._new_actor(
                f"{name}, device {rank}",
                scheduling_strategy=PlacementGroupSchedulingStrategy(place, rank),
            )
            for rank in range(num)
        ]
        meeting = actors[0].meeting.remote()
        for rank, actor in enumerate(actors):
            actor.join.remote(meeting, rank, num)  # what they are asked next waits for it
        return _Slot(name=name, actors=actors, place=place)

    def _new_actor(self, name: str, **options: Any) -> Any:
        options |= {"name": name, "num_gpus": self._pool.gpus, "num_cpus": 1}
        pool = self._pool
        given = self._dataset, pool.threads, name, pool.sharing, self._title
        return _REMOTE.options(**options).remote(*given)


def _end(slot: _Slot) -> None:
    for actor in slot.actors:
        ray.kill(actor)
    if slot.place is not None:
        remove_placement_group(slot.place)

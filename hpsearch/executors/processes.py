"""ProcessExecutor: worker processes of this machine, without Ray.

Made by ``hpsearch.executors.backends`` from a crew that was started before the data were read; a
worker that dies is replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for

from hpsearch.errors import HpsearchError
from hpsearch.executors.base import ChecksBroken, Ended, Lost, Raised, Reported, Update
from hpsearch.executors.crew import Crew
from hpsearch.executors.slots import Slot, free_slot, together
from hpsearch.executors.worker_process import WorkerGone, WorkerProcess
from workers.calls import Done, Failed, Found, Said, Setup
from workers.data import Dataset
from workers.messages import CheckPlan, CheckResult, TrialGroup
from workers.shared_data import write

START_S = 300.0


@dataclass(kw_only=True, slots=True)
class _Slot(Slot):
    """A worker, number ``place``: its process, and those of its other devices."""

    place: int
    processes: list[WorkerProcess]

    @property
    def process(self) -> WorkerProcess:
        """That of its first device, which reports."""
        return self.processes[0]


class ProcessExecutor:
    """Trains up to one group per worker at once."""

    def __init__(self, crew: Crew, dataset: Dataset, title: str) -> None:
        """``crew`` has trained nothing yet, and ends with this."""
        self._crew = crew
        self._title = title
        self._shared = write(dataset, crew.data_file)
        self._num_created = 0
        self._slots = [self._new_slot(place) for place in range(crew.pool.num_workers)]
        self._num_slots = len(self._slots)
        self._device: str | None = None

    @property
    def device(self) -> str:
        return self._await_workers()

    @property
    def num_slots(self) -> int:
        return self._num_slots

    @property
    def most_slots(self) -> int:
        return self._crew.pool.num_workers

    @property
    def gpus_per_worker(self) -> float:
        return self._crew.pool.gpus_per_worker

    def resize(self, num_workers: int) -> None:
        self._num_slots = min(num_workers, len(self._slots))  # the others wait: they are nobody's

    def start(self, number: int, group: TrialGroup) -> str:
        slot = free_slot(self._slots, group)
        slot.number = number
        for process in slot.processes:
            process.send(group)
        return slot.name

    def wait(self, timeout_s: float) -> list[Update]:
        end_s = time.monotonic() + timeout_s
        while True:
            busy = [slot for slot in self._slots if slot.number is not None]
            of = {process.connection: process for slot in busy for process in slot.processes}
            ready = wait_for(list(of), max(0.0, end_s - time.monotonic())) if busy else []
            heard = [of[connection] for connection in of if connection in ready]
            updates = [update for slot in busy for update in self._take(slot, heard)]
            if updates or not ready:
                return updates

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        self._await_workers()
        slot = self._slots[0]
        slot.process.send(plan)
        found: list[CheckResult] = []
        try:
            while not isinstance(answer := slot.process.receive(), Done):
                if isinstance(answer, Failed):
                    raise ChecksBroken(answer.summary)
                if isinstance(answer, Found):
                    found = answer.results
        except WorkerGone as gone:
            self._replace(slot)
            raise ChecksBroken(str(gone)) from None
        return found

    def close(self) -> None:
        self._crew.end()
        self._slots = []

    def _take(self, slot: _Slot, heard: Sequence[WorkerProcess]) -> Iterator[Update]:
        """What the slot's worker says next, if it is an update; the last one frees the slot.

        Of its ``processes`` those that are ``heard`` have something to say.
        """
        number = slot.number
        assert number is not None
        for process in slot.processes:
            if process not in heard or slot.number is None:
                continue
            try:
                answer = process.receive()
            except WorkerGone as gone:
                self._replace(slot)
                yield Lost(group=number, message=f"its process is gone: {gone}")
                return
            match answer:
                case Said(report=report) if process is slot.process:
                    slot.note(report)
                    yield Reported(group=number, report=report)
                case Failed(traceback=text):
                    slot.number = None
                    if len(slot.processes) > 1:  # the others may wait for this one for ever
                        self._replace(slot)
                    yield Raised(group=number, traceback=text)
                    return
                case Done() if process is slot.process:
                    slot.number = None
                    yield Ended(group=number)
                case _:
                    pass

    def _await_workers(self) -> str:
        """What they train on, once all have their data there.

        Not in the constructor: while PyTorch is imported there, a search's first trials can be
        sampled here. Raises HpsearchError if one cannot start.
        """
        if self._device is None:
            end_s = time.monotonic() + START_S
            pool = self._crew.pool
            devices = [self._awaited(slot, end_s) for slot in list(self._slots)]
            self._device = together(devices, pool.devices, pool.form)
        return self._device

    def _awaited(self, slot: _Slot, end_s: float) -> str:
        """What its worker trains on; one that was killed as it started is replaced, once."""
        try:
            return _device(slot.processes, end_s)
        except WorkerGone:
            self._replace(slot)
        try:
            return _device(self._slots[slot.place].processes, end_s)
        except WorkerGone as gone:
            raise HpsearchError(f"a worker could not start: {gone}") from None

    def _new_slot(self, place: int) -> _Slot:
        """A slot for worker ``place``, whose processes are told what they need to be one."""
        self._num_created += 1
        pool, name = self._crew.pool, f"{self._title} worker {self._num_created}"
        processes = [self._crew.processes[device] for device in self._devices(place)]
        for rank, process in enumerate(processes):
            process.send(
                Setup(
                    shared=self._shared,
                    num_threads=pool.threads,
                    name=name,
                    num_sharing=pool.sharing,
                    rank=rank,
                    num_devices=pool.devices,
                    form=pool.form,
                    meeting=os.path.join(self._crew.meetings.name, str(self._num_created)),
                )
            )
        return _Slot(name=name, place=place, processes=processes)

    def _devices(self, place: int) -> range:
        """The places of worker ``place`` among the crew's processes."""
        return range(place * self._crew.pool.devices, (place + 1) * self._crew.pool.devices)

    def _replace(self, slot: _Slot) -> None:
        """All of its processes: what is left of them can train with none that is new."""
        for device in self._devices(slot.place):
            self._crew.replace(device)
        self._slots[slot.place] = self._new_slot(slot.place)


def _device(processes: Sequence[WorkerProcess], end_s: float) -> str:
    """What they train on; waits for all until ``end_s``. Raises WorkerGone if one ends before."""
    while waiting := [process for process in processes if process.device is None]:
        connections = [process.connection for process in waiting]
        ready = wait_for(connections, max(0.0, end_s - time.monotonic()))
        if not ready:
            raise HpsearchError(
                f"workers must start within {START_S:g} s, but process {waiting[0].pid} has not: "
                "wait until other programs have ended, or lower resources.workers"
            )
        for process in waiting:
            if process.connection in ready:
                process.receive()
    return str(processes[0].device)

"""ProcessExecutor: worker processes of this machine, without Ray.

Made by ``hpsearch.executors.backends`` from a crew that was started before the data were read; a
worker that dies is replaced.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for

from hpsearch.errors import HpsearchError
from hpsearch.executors.base import ChecksBroken, Ended, Lost, Raised, Reported, Update
from hpsearch.executors.crew import Crew
from hpsearch.executors.slots import Slot, free_slot, together
from hpsearch.executors.worker_process import WorkerGone, WorkerProcess
from workers.calls import Done, Failed, Found, Ready, Said, Setup
from workers.data import Dataset
from workers.messages import CheckPlan, CheckResult, TrialGroup
from workers.shared_data import write

START_S = 300.0


@dataclass(kw_only=True, slots=True)
class _Slot(Slot):
    """A worker: the process at ``place`` of the crew."""

    place: int
    process: WorkerProcess


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
        return self._crew.pool.gpus

    def resize(self, num_workers: int) -> None:
        self._num_slots = min(num_workers, len(self._slots))  # the others wait: they are nobody's

    def start(self, number: int, group: TrialGroup) -> str:
        slot = free_slot(self._slots, group)
        slot.number = number
        slot.process.send(group)
        return slot.name

    def wait(self, timeout_s: float) -> list[Update]:
        end_s = time.monotonic() + timeout_s
        while True:
            busy = {s.process.connection: s for s in self._slots if s.number is not None}
            ready = wait_for(list(busy), max(0.0, end_s - time.monotonic())) if busy else []
            found = [self._take(slot) for connection, slot in busy.items() if connection in ready]
            updates = [update for update in found if update is not None]
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

    def _take(self, slot: _Slot) -> Update | None:
        """What the slot's worker says next, if it is an update; the last one frees the slot."""
        number = slot.number
        assert number is not None
        try:
            answer = slot.process.receive()
        except WorkerGone as gone:
            self._replace(slot)
            return Lost(group=number, message=f"its process is gone: {gone}")
        match answer:
            case Ready() | Found():
                return None
            case Said(report=report):
                slot.note(report)
                return Reported(group=number, report=report)
            case Failed(traceback=text):
                slot.number = None
                return Raised(group=number, traceback=text)
            case Done():
                slot.number = None
                return Ended(group=number)

    def _await_workers(self) -> str:
        """What they train on, once all have their data there.

        Not in the constructor: while PyTorch is imported there, a search's first trials can be
        sampled here. Raises HpsearchError if one cannot start.
        """
        if self._device is None:
            end_s = time.monotonic() + START_S
            self._device = together(self._awaited(slot, end_s) for slot in list(self._slots))
        return self._device

    def _awaited(self, slot: _Slot, end_s: float) -> str:
        """What its worker trains on; one that was killed as it started is replaced, once."""
        try:
            return _device(slot.process, end_s)
        except WorkerGone:
            self._replace(slot)
        try:
            return _device(self._slots[slot.place].process, end_s)
        except WorkerGone as gone:
            raise HpsearchError(f"a worker could not start: {gone}") from None

    def _new_slot(self, place: int) -> _Slot:
        """A slot for the process at ``place``, which is told what it needs to be a worker."""
        self._num_created += 1
        pool, name = self._crew.pool, f"{self._title} worker {self._num_created}"
        process = self._crew.processes[place]
        process.send(
            Setup(
                shared=self._shared,
                num_threads=pool.threads,
                name=name,
                num_sharing=pool.sharing,
            )
        )
        return _Slot(name=name, place=place, process=process)

    def _replace(self, slot: _Slot) -> None:
        self._crew.replace(slot.place)
        self._slots[slot.place] = self._new_slot(slot.place)


def _device(process: WorkerProcess, end_s: float) -> str:
    """What it trains on; waits for it until ``end_s``. Raises WorkerGone if it ends before."""
    while process.device is None:
        if not process.connection.poll(max(0.0, end_s - time.monotonic())):
            raise HpsearchError(
                f"workers must start within {START_S:g} s, but process {process.pid} has not: "
                "wait until other programs have ended, or lower resources.workers"
            )
        process.receive()
    return process.device

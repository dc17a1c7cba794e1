"""InProcessExecutor: trains in the calling process, one group at a time, for debugging and tests.

The one module of hpsearch that imports torch.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import ExitStack

from hpsearch.executors.base import ChecksBroken, Ended, Raised, Reported, Update
from workers.data import Dataset
from workers.messages import CheckPlan, CheckResult, Measured, Report, TrialGroup
from workers.training.checks import check
from workers.training.device import prepared_device
from workers.training.device_name import device_name
from workers.training.feed import DeviceData
from workers.training.kept import KeptCheckpoints
from workers.training.loop import train
from workers.training.measuring import measure

NAME = "in-process"


class InProcessExecutor:
    """Advances its one group by an epoch each time that it is waited for."""

    def __init__(self, dataset: Dataset, num_threads: int = 1) -> None:
        """One thread: more of them wait for one another when other programs use the cores."""
        self._settings = ExitStack()
        device = self._settings.enter_context(prepared_device(num_threads))
        self.device = device_name(device)
        self._data = DeviceData(dataset, device)
        self._kept = KeptCheckpoints.of_device(device)
        self._running: tuple[int, Iterator[Report]] | None = None
        self.num_slots = self.most_slots = 1
        self.gpus_per_worker = 1.0 if device.type == "cuda" else 0.0

    def resize(self, num_workers: int) -> None:
        self.num_slots = min(num_workers, 1)

    def start(self, number: int, group: TrialGroup) -> str:
        assert self._running is None, "the one slot is taken"
        self._running = (number, train(group, self._data, self._kept))
        return NAME

    def wait(self, timeout_s: float) -> list[Update]:
        if self._running is None:
            return []
        number, reports = self._running
        update = _advance(number, reports)
        if not isinstance(update, Reported):
            self._running = None
        return [update]

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        try:
            return list(check(plan, self._data))
        except Exception as error:  # whatever a probe's configuration makes PyTorch raise
            said = str(error).strip().partition("\n")[0]
            raise ChecksBroken(f"{type(error).__name__}: {said}") from error

    def measure(self, group: TrialGroup) -> Measured:
        """The one network of ``group`` on the validation part, trained no further."""
        return measure(group, self._data)

    def close(self) -> None:
        self._running = None
        self._settings.close()


def _advance(number: int, reports: Iterator[Report]) -> Update:
    try:
        report = next(reports, None)
    except Exception:  # whatever a member's configuration makes PyTorch raise
        return Raised(group=number, traceback=traceback.format_exc())
    if report is None:
        return Ended(group=number)
    return Reported(group=number, report=report)

"""TrainingWorker: what a Ray actor does, which owns one device and trains groups on it.

Made an actor by ``hpsearch.executors.ray``; torch is loaded by the actor's process alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from workers.messages import CheckPlan, CheckResult, Report, TrialGroup

if TYPE_CHECKING:
    from workers.data import Dataset


class TrainingWorker:
    """Holds the data on its device; one group trains at a time."""

    def __init__(self, dataset: Dataset, num_threads: int, name: str) -> None:
        from workers.training.device import prepared_device
        from workers.training.feed import DeviceData

        self._name = name
        self._settings = ExitStack()  # never closed: they are those of the actor's process
        device = self._settings.enter_context(prepared_device(num_threads))
        self._data = DeviceData(dataset, device)

    def __repr__(self) -> str:  # what the dashboard and the logs show
        return self._name

    def train(self, group: TrialGroup) -> Iterator[Report]:
        """Train ``group`` and stream its Reports as the epochs end."""
        from workers.training.loop import train

        yield from train(group, self._data)

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        """Everything that is checked before a search."""
        from workers.training.checks import check

        return list(check(plan, self._data))

    def pid(self) -> int:
        """The process of this worker; answers once its data are on the device."""
        return os.getpid()

"""TrainingWorker: the Ray actor that owns one device and trains groups on it.

Created by ``hpsearch.executors.ray``; the one module of this package that imports Ray.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import ray

from workers.messages import Report, TrialGroup

if TYPE_CHECKING:  # torch is loaded on the worker, not in the coordinator that names this class
    from workers.data import Dataset


@ray.remote(max_restarts=0)
class TrainingWorker:
    """Holds the data on its device; one group trains at a time."""

    def __init__(self, dataset: Dataset, num_threads: int, name: str) -> None:
        from workers.training.device import prepare_device
        from workers.training.tensors import DeviceData

        self._name = name
        self._data = DeviceData(dataset, prepare_device(num_threads))

    def __repr__(self) -> str:  # what the dashboard and the logs show
        return self._name

    def train(self, group: TrialGroup) -> Iterator[Report]:
        """Train ``group`` and stream its Reports as the epochs end."""
        from workers.training.loop import train

        yield from train(group, self._data)

    def ready(self) -> float:
        """Answers once the data are on the device; the time, in seconds since 1970."""
        return time.time()

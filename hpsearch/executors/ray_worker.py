"""RayWorker: a TrainingWorker that is a Ray actor, and tells Ray how much memory its device holds.

Made by ``hpsearch.executors.ray``; Prometheus collects what it tells from the node it runs on.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import ray
from ray.util.metrics import Gauge

from workers.actor import TrainingWorker
from workers.data import Dataset
from workers.messages import Report, TrialGroup

EVERY_S = 5.0


class RayWorker(TrainingWorker):
    """Tags what it tells with the search; Ray adds the worker and the node."""

    def __init__(
        self, dataset: Dataset, num_threads: int, name: str, num_sharing: int, search: str
    ) -> None:
        super().__init__(dataset, num_threads, name, num_sharing)
        self._memory = Gauge(
            "hpsearch_device_memory_bytes", "What a worker holds of its device.", ("search",)
        )
        self._memory.set_default_tags({"search": search})
        self._told_s = -EVERY_S

    def meeting(self) -> str:
        """Where the devices of this worker meet, if it is the first of them: at a port here."""
        host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # untyped there
        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def train(self, group: TrialGroup) -> Iterator[Report]:
        for report in super().train(group):
            if time.monotonic() - self._told_s > EVERY_S:
                self._told_s = time.monotonic()
                self._memory.set(self.held_bytes())
            yield report

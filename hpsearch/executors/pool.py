"""``pool``: how many workers a search has, and what each of them holds.

Asked by the executors that have several: on Ray, and processes of this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hpsearch.errors import HpsearchError
from hpsearch.spec.search import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """How many workers there are, of how many devices each, and what each device holds.

    The devices of a worker part its work as ``form`` says, see ``workers.config.parallel``.
    """

    num_workers: int
    gpus: float
    threads: int
    devices: int = 1
    form: str = "data"

    @property
    def num_devices(self) -> int:
        """Of all workers together: each is a process."""
        return self.num_workers * self.devices

    @property
    def sharing(self) -> int:
        """How many devices share a GPU, or the machine where there is none."""
        return max(1, int(1 / self.gpus)) if self.gpus else self.num_devices

    @property
    def gpus_per_worker(self) -> float:
        """What all devices of a worker hold."""
        return self.gpus * self.devices


def pool(num_cpus: int, num_gpus: int, resources: Resources) -> Pool:
    """One worker per GPU (or per ``gpus_per_worker`` of one), else one per CPU core.

    With several devices for a trial a worker has so many GPUs, or cores. Raises HpsearchError if
    there are fewer than a worker is to have.
    """
    gpus = resources.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if num_gpus else 0.0
    if gpus > num_gpus:
        raise HpsearchError(
            f"resources.gpus_per_worker must be at most {num_gpus}, the GPUs that are there, but "
            f"got {gpus:g}: lower it, or say auto"
        )
    devices = resources.devices_per_trial
    there, what = (num_gpus, "GPUs") if gpus else (num_cpus, "CPU cores")
    if devices > there:
        raise HpsearchError(
            f"resources.devices_per_trial must be at most {there}, the {what} that are there, but "
            f"got {devices}: lower it"
        )
    most = (_most(num_gpus, gpus) if gpus else num_cpus) // devices
    wanted = most if resources.workers == "auto" else resources.workers
    num_workers = max(1, min(wanted, most))
    threads = max(1, num_cpus // (num_workers * devices))
    return Pool(
        num_workers=num_workers,
        gpus=gpus,
        threads=threads,
        devices=devices,
        form=resources.parallel,
    )


def _most(num_gpus: int, gpus: float) -> int:
    """How many workers the GPUs have room for; no worker has parts of two."""
    return num_gpus * int(1 / gpus) if gpus < 1 else num_gpus // ceil(gpus)

"""What this machine has for worker processes: the CPU cores and the GPUs that we may use.

Asked by ``crew``; nothing here imports torch, which would take seconds.
"""

from __future__ import annotations

import os
from itertools import takewhile
from math import ceil
from pathlib import Path

from hpsearch.executors.pool import Pool

DRIVER = Path("/proc/driver/nvidia/gpus")  # has an entry a GPU
VISIBLE = "CUDA_VISIBLE_DEVICES"
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processor time, in so many


def num_cpus() -> int:
    """Those that this process may use: taskset limits which, a container how many."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return max(1, min(len(os.sched_getaffinity(0)), _quota()))
    return os.cpu_count() or 1


def _quota() -> int:
    """How many cores' time a container may use; where nothing is said, all that there are."""
    try:
        used, period = QUOTA.read_text().split()
    except (OSError, ValueError):
        used, period = "max", ""
    return (os.cpu_count() or 1) if used == "max" else int(used) // int(period)


def visible_gpus() -> tuple[str, ...]:
    """As CUDA_VISIBLE_DEVICES names them; all that the driver has if it is not set."""
    told = os.environ.get(VISIBLE)
    if told is None:
        return tuple(str(n) for n in range(len(list(DRIVER.glob("*")))))
    names = (name.strip() for name in told.split(","))
    return tuple(takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA reads it


def gpus_of(number: int, pool: Pool, gpus: tuple[str, ...]) -> tuple[str, ...]:
    """Those of worker ``number`` (from 0) of the pool: some of its own, or one that it shares."""
    if not pool.gpus:
        return ()
    if pool.gpus < 1:
        return (gpus[number // pool.sharing],)
    each = ceil(pool.gpus)
    return gpus[number * each : (number + 1) * each]

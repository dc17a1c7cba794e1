"""What this machine has for worker processes: the CPU cores and the GPUs that we may use.

Asked by ``crew``; nothing here imports torch, which would take seconds.
"""

from __future__ import annotations

import ctypes
import os
from itertools import takewhile
from math import ceil
from pathlib import Path

from hpsearch.executors.pool import Pool

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = "libnvidia-ml.so.1"  # comes with NVIDIA's driver
CGROUP = Path("/sys/fs/cgroup")
# Of a container: microseconds of processor time, in so many; by version 2 of cgroups, and by 1.
QUOTAS = ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


def num_cpus() -> int:
    """Those that this process may use: taskset limits which, a container how many."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return max(1, min(len(os.sched_getaffinity(0)), _quota()))
    return os.cpu_count() or 1


def _quota() -> int:
    """How many cores' time a container may use; where nothing is said, all that there are."""
    for files in QUOTAS:
        try:
            used, period = " ".join((CGROUP / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        if used not in ("max", "-1"):
            return int(used) // int(period)
    return os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """As CUDA_VISIBLE_DEVICES names them; all that the driver has if it is not set.

    None where the driver has none, whatever is named.
    """
    told, num_gpus = os.environ.get(VISIBLE), _num_gpus()
    if told is None or not num_gpus:
        return tuple(str(n) for n in range(num_gpus))
    names = (name.strip() for name in told.split(","))
    return tuple(takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA reads it


def _num_gpus() -> int:
    """As NVIDIA's driver counts them."""
    try:
        nvml = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if nvml.nvmlInit_v2() == 0:
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        nvml.nvmlShutdown()
    return count.value


def gpus_of(number: int, pool: Pool, gpus: tuple[str, ...]) -> tuple[str, ...]:
    """Those of worker ``number`` (from 0) of the pool: some of its own, or one that it shares."""
    if not pool.gpus:
        return ()
    if pool.gpus < 1:
        return (gpus[number // pool.sharing],)
    each = ceil(pool.gpus)
    return gpus[number * each : (number + 1) * each]

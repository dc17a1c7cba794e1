"""The device that a worker owns, and the process settings that training on it wants.

Entered by an actor for its life, by the in-process executor for a search, and by benchmarks.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
UNTOLD_BYTES = 8 * 2**30  # of a machine that does not say how much memory it has
_KEEP_BYTES = 32 * 2**20  # the most that glibc admits for M_MMAP_THRESHOLD


@contextmanager
def prepared_device(num_threads: int) -> Iterator[torch.device]:
    """Set the threads, and give the GPU if this process sees one, else the CPU.

    Denormal numbers count as zero within: a dying network is full of them, and each takes the
    processor much longer than another number. Both settings are taken back on leaving, for the
    sake of a notebook that trains in its own process.
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(max(1, num_threads))
    torch.set_flush_denormal(True)
    _keep_freed_memory()
    try:
        yield torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads_before)


def memory_bytes(device: torch.device, num_sharing: int = 1) -> int:
    """The part that one of ``num_sharing`` workers has of a GPU's memory, or of the machine's.

    Of all that is built in, not of what is free now: what follows from it is to be the same when a
    group is trained again.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // num_sharing
    names = getattr(os, "sysconf_names", {})  # not there on Windows
    if "SC_PHYS_PAGES" not in names:
        return UNTOLD_BYTES // num_sharing
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // num_sharing


def held_bytes(device: torch.device) -> int:
    """What this process holds of a GPU's memory, or of the machine's; 0 where none can tell."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    resident = Path("/proc/self/statm")  # Linux has it
    if not resident.exists():
        return 0
    return int(resident.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _keep_freed_memory() -> None:
    """Let glibc reuse the megabytes that each step frees instead of returning them to the system.

    Faulting the pages in again takes a good part of a step (benchmarks/layers.py).
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not there on musl
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
            mallopt(_M_TRIM_THRESHOLD, 16 * _KEEP_BYTES)

"""``free_bytes``: how much memory this machine, or the container that this runs in, has left.

Asked by whoever decides whether examples are held in memory, and by the check of costs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # of a container: what it may use, and what it does


def free_bytes() -> int | None:
    """What can still be taken without taking it from others; None where nothing tells."""
    known = [free for free in (_of_machine(), _of_container()) if free is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    with contextlib.suppress(OSError, StopIteration):  # there on Linux alone
        lines = MEMINFO.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        return 1024 * int(line.split()[1])
    names = getattr(os, "sysconf_names", {})  # not there on Windows
    if "SC_AVPHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_container() -> int | None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: max, which is no limit
        limit = int((CGROUP / "memory.max").read_text())
        return max(0, limit - int((CGROUP / "memory.current").read_text()))
    return None

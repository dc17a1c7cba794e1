"""What a program left running, for the tests of how searches end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

PATIENCE = 100  # looks, a tenth of a second apart: the moments in which it may end


def left_of(session: int) -> list[str]:
    """The names of what is still running of a session, after a few moments."""
    return _left(lambda process: os.getsid(process.pid) == session)


def left_of_pids(pids: list[int]) -> list[str]:
    """The names of those of these processes that are still running, after a few moments."""
    return _left(lambda process: process.pid in pids)


def _left(is_one: Callable[[psutil.Process], bool]) -> list[str]:
    for _ in range(PATIENCE):
        alive = [p.info["name"] for p in psutil.process_iter(["name"]) if _runs(p, is_one)]
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def _runs(process: psutil.Process, is_one: Callable[[psutil.Process], bool]) -> bool:
    try:
        return is_one(process) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False

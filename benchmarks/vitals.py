"""What a service must not have more and more of: files, threads, memory, disk; and how it grows.

Used by ``soak.py``, which looks every half minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from lab import Lab
from sqlalchemy import func, select, text

from hpsearch.storage.database import Database
from hpsearch.storage.tables import EventRow, GroupRow, MetricRow, SearchRow, TrialRow

MIB = 2.0**20
TABLES = SearchRow, TrialRow, GroupRow, MetricRow, EventRow  # where nearly all rows are
PARTS_OF_RAY = {"GCS": ("gcs_server",), "raylets": ("raylet",), "dashboard": ("ashboard",)}
MUCH_AN_HOUR = 0.1  # of the mean
SURE = 4.0  # standard errors

Sample = dict[str, float]


def look(lab: Lab, database: Database) -> Sample:
    """One sample; the server is the one that nobody kills."""
    found = dict(_of("server", [psutil.Process(lab.servers[0].pid)]))
    of_ray = [(process, _command(process)) for process in lab.of_ray()]
    for part, marks in PARTS_OF_RAY.items():
        members = [p for p, command in of_ray if any(mark in command for mark in marks)]
        found |= _of(f"Ray's {part}", members)
    found["Ray's processes"] = len(of_ray)
    if lab.postgresql is not None:
        postmaster = psutil.Process(lab.postgresql.get_pid())
        members = [postmaster, *postmaster.children(recursive=True)]
        found |= {"PostgreSQL: processes": len(members), **dict(_of("PostgreSQL", members))}
    return found | _stored(lab, database)


def _stored(lab: Lab, database: Database) -> Sample:
    with database.read() as connection:
        rows = sum(connection.scalar(select(func.count()).select_from(t)) for t in TABLES)
        searches = connection.scalar(select(func.count()).select_from(SearchRow))
        jobs = connection.scalar(select(func.max(SearchRow.id))) or 1
        if lab.postgresql is None:
            num_bytes = sum(file.stat().st_size for file in lab.folder.glob("soak.db*"))
        else:
            num_bytes = connection.scalar(text("SELECT pg_database_size(current_database())"))
    return {
        "database: rows": rows,
        "database: bytes a row": num_bytes / max(1, rows),
        "checkpoints: KiB a stored search": folder_bytes(lab.checkpoints) / 1024 / max(1, searches),
        "Ray's folder: MiB a search submitted": folder_bytes(lab.ray_folder) / MIB / jobs,
    }


def _of(name: str, processes: Iterable[psutil.Process]) -> Iterator[tuple[str, float]]:
    """Of all of them together; memory is what they share with nobody."""
    files = threads = memory = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            files += process.num_fds()
            threads += process.num_threads()
            memory += process.memory_full_info().uss
    yield f"{name}: open files", files
    yield f"{name}: threads", threads
    yield f"{name}: MiB", memory / MIB


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:3])
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def folder_bytes(folder: Path) -> int:
    """Of all files in it, as far as they are there still."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += 0 if file.is_symlink() or file.is_dir() else file.stat().st_size
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """A figure over the second half of the time: its mean, and what it gains in an hour."""

    mean: float
    an_hour: float
    error: float  # the standard error of ``an_hour``

    def __str__(self) -> str:
        return f"{self.an_hour:+.1f} an hour (standard error {self.error:.1f})"

    @property
    def is_unbounded(self) -> bool:
        """Whether it grows by more than chance makes it, and by much."""
        return self.an_hour > max(SURE * self.error, MUCH_AN_HOUR * self.mean)


def growth(hours: Sequence[float], values: Sequence[float]) -> Growth:
    """The least-squares line through the second half of ``values``."""
    half = len(hours) // 2
    x, y = np.asarray(hours[half:]), np.asarray(values[half:], dtype=float)
    if len(x) < 3:
        return Growth(mean=float(y.mean()), an_hour=0.0, error=0.0)
    slope, start = np.polyfit(x, y, 1)
    residuals = y - start - slope * x
    spread = ((x - x.mean()) ** 2).sum()
    error = np.sqrt((residuals**2).sum() / (len(x) - 2) / spread)
    return Growth(mean=float(y.mean()), an_hour=float(slope), error=float(error))

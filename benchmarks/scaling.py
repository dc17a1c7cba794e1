"""Time and memory against the number of trials: digits, one epoch, 10 to 10,000 trials.

Run as ``python benchmarks/scaling.py``. Each search is a process of its own that calls
``hpsearch.run`` with a local Ray; its time counts from the moment that the first stage is stored,
when data are read and workers are up. Memory is the peak of that process, the coordinator's.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace

import numpy as np
from peers import DIGITS, search_spec
from record import print_head, print_others, verdict

import hpsearch
from hpsearch.coordinator.events import Event, StageOpened

NUM_TRIALS = 10, 100, 1000, 10_000
TIME_TARGET = 1.25  # what a trial more may cost from 1,000 on, over what it costs below
MEMORY_TARGET = 1.25  # peak with most trials over that with the fewest
ONE = "--one"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One search."""

    trials: int
    seconds: float
    mib: float


def main() -> None:
    """Print a line a search, the straight line through them, and the verdicts."""
    print_head("torch", "ray", "optuna", "sqlalchemy")
    print_others()
    points = [_measured(trials) for trials in NUM_TRIALS]
    start_s, each_s, residual = fit(points)
    print(
        f"fit: {start_s:.2f} s + {each_s * 1e3:.2f} ms a trial; "
        f"no point is further from it than {residual:.0%}"
    )
    few, many = slope(*points[1:3]), slope(*points[2:])
    said = verdict(f"{TIME_TARGET:g}", reached=many / few <= TIME_TARGET)
    print(
        f"a trial more takes {few * 1e3:.2f} ms up to 1,000, {many * 1e3:.2f} ms beyond: "
        f"{many / few:.2f} times as long{said}"
    )
    growth = points[-1].mib / points[0].mib
    said = verdict(f"{MEMORY_TARGET:g}", reached=growth <= MEMORY_TARGET)
    print(f"memory with most trials / with fewest: {growth:.2f}{said}")


def _measured(trials: int) -> Point:
    """In a process of its own: a peak of memory never falls."""
    command = [sys.executable, __file__, ONE, str(trials)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{trials} trials failed:\n{ended.stderr[-3000:]}")
    point = Point(**json.loads(ended.stdout))
    print(
        f"{point.trials} trials: {point.seconds:.2f} s after the start, "
        f"{point.mib:.0f} MiB of the coordinator",
        flush=True,
    )
    return point


def _search(trials: int) -> dict[str, float]:
    """Carry one out here."""
    opened: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageOpened):
            opened.append(time.perf_counter())

    spec = search_spec(replace(DIGITS, trials=trials, epochs=1), pruned=False)
    with tempfile.TemporaryDirectory() as folder:
        hpsearch.run(spec, db=f"sqlite:///{folder}/scaling.db", observer=watch)
        seconds = time.perf_counter() - opened[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"trials": trials, "seconds": seconds, "mib": peak / 1024}


def fit(points: list[Point]) -> tuple[float, float, float]:
    """Seconds at 0 trials, seconds a trial, and the largest residual as a share of its point.

    The line has the least squares of these shares, or the last point alone would decide it.
    """
    trials, seconds = np.array([[point.trials, point.seconds] for point in points]).T
    slope_s, start_s = np.polyfit(trials, seconds, 1, w=1 / seconds)
    residuals = (start_s + slope_s * trials - seconds) / seconds
    return float(start_s), float(slope_s), float(np.abs(residuals).max())


def slope(few: Point, many: Point) -> float:
    """Seconds a trial more."""
    return (many.seconds - few.seconds) / (many.trials - few.trials)


if __name__ == "__main__":
    if ONE in sys.argv:
        print(json.dumps(_search(int(sys.argv[-1]))))
    else:
        main()

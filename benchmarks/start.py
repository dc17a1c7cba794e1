"""What a person waits for before and around training: the start, and the coordinator's own work.

Run as ``python benchmarks/start.py``. Each is measured as the command comes, and without Ray.

1. ``hpsearch run digits`` in a process of its own, from its start to the first row in the table
   ``metrics`` of its database, which this process looks at every few milliseconds.
2. Digits, 1,000 trials of 10 epochs (the search of peers.py): processor time of this process, in
   which the coordinator runs, over wall time, from the first stage to the end. Workers are other
   processes, and so are Ray's own.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from peers import DIGITS, WAYS, search_spec
from record import print_head, print_others, verdict

import hpsearch
from hpsearch.coordinator.events import Event, Finished, StageOpened

ROUNDS = 3
START_TARGET_S, AROUND_TARGET = 8.0, 0.05
LOOK_S = 0.02
LONGEST_S = 120.0


def main() -> None:
    """Print the two figures of each way."""
    print_head("torch", "ray", "optuna", "sqlalchemy")
    print_others()
    for way in WAYS:
        _print_start(way)
    for way in WAYS:
        _print_around(way)


def _print_start(way: str) -> None:
    times = [_first_epoch_s(way) for _ in range(ROUNDS)]
    start_s = statistics.median(times)
    said = verdict(f"{START_TARGET_S:g} s", reached=start_s < START_TARGET_S)
    print(
        f"hpsearch run digits --ray {way}: {start_s:.1f} s to the first epoch "
        f"({min(times):.1f} to {max(times):.1f}){said}",
        flush=True,
    )


def _print_around(way: str) -> None:
    share, wall_s = _around(way)
    said = verdict(f"{AROUND_TARGET:.0%}", reached=share < AROUND_TARGET)
    print(
        f"digits, {DIGITS.trials} trials x {DIGITS.epochs} epochs, --ray {way}: the coordinator's "
        f"process works {share:.1%} of {wall_s:.1f} s{said}",
        flush=True,
    )


def _first_epoch_s(way: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "start.db")
        command = [sys.executable, "-m", "hpsearch", "run", "digits", "--ray", way]
        started = time.perf_counter()
        with subprocess.Popen(
            [*command, "--db", f"sqlite:///{file}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            seconds = _until_epoch(file, process, started)
            process.send_signal(signal.SIGINT)  # it stops in order, and takes its Ray with it
            process.communicate()
    return seconds


def _until_epoch(file: Path, process: subprocess.Popen[str], started: float) -> float:
    while not _has_epoch(file):
        waited_s = time.perf_counter() - started
        if process.poll() is not None or waited_s > LONGEST_S:
            process.kill()
            sys.exit(f"no epoch after {waited_s:.0f} s:\n{process.communicate()[1][-3000:]}")
        time.sleep(LOOK_S)
    return time.perf_counter() - started


def _has_epoch(file: Path) -> bool:
    """Whether an epoch is stored; looking creates no file and holds no lock."""
    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM metrics LIMIT 1").fetchone() is not None
    except sqlite3.OperationalError:  # its tables are not there yet
        return False


def _around(way: str) -> tuple[float, float]:
    """The share of the wall time that this process worked, and that time."""
    moments: list[tuple[float, float]] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageOpened | Finished):
            moments.append((time.process_time(), time.perf_counter()))

    with tempfile.TemporaryDirectory() as folder:
        spec = search_spec(DIGITS, pruned=False)
        hpsearch.run(spec, db=f"sqlite:///{folder}/around.db", ray=way, observer=watch)
    (worked, began), (worked_by, ended) = moments[0], moments[-1]
    return (worked_by - worked) / (ended - began), ended - began


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main()

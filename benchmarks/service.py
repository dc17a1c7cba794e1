"""The service: how long submitting takes, and how soon a search starts, and starts again.

Run as ``python benchmarks/service.py``. A Ray cluster of this machine's cores is started for it,
and one server; searches are of digits. Submitting is timed as people have it, the whole command. A
search has started once its job is submitted, and trains once a report is stored; after SIGKILL of
its process it trains again once a later report is stored.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from tempfile import TemporaryDirectory

from record import print_head, verdict

from hpsearch.executors.cluster import connect
from hpsearch.service.jobs import RayJobs
from hpsearch.service.server import Server
from hpsearch.service.serving import environment
from hpsearch.spec import load
from hpsearch.storage.database import Database
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository

SUBMIT_TARGET_S, START_TARGET_S, RECOVERY_TARGET_S = 0.5, 2.0, 10.0
REPEATS = 5
PROCESSES, SUBMISSIONS = 8, 1000
SPEC = {
    "name": "service",
    "data": {"source": "digits"},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1.0]}},
    "stages": [{"name": "only", "trials": 64, "epochs": 100_000}],
    "resources": {"width": 32, "checkpoint_every": 10},
}


def main() -> None:
    """Print a line a number, with its verdict."""
    print_head("torch", "ray", "sqlalchemy")
    with TemporaryDirectory() as folder:
        _submitting(f"sqlite:///{folder}/submitted.db")
        _at_once(f"sqlite:///{folder}/at_once.db")
        _starting(f"sqlite:///{folder}/served.db")


def _submitting(url: str) -> None:
    times = []
    for _ in range(REPEATS + 1):
        started_s = time.perf_counter()
        command = [sys.executable, "-m", "hpsearch", "submit", "digits", "--db", url]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started_s)
    median = statistics.median(times[1:])  # the first makes the database
    said = verdict(f"{SUBMIT_TARGET_S:g} s", reached=median < SUBMIT_TARGET_S)
    print(f"hpsearch submit: {median:.2f} s{said}", flush=True)


def _at_once(url: str) -> None:
    Database(url).upgrade()
    context, each = get_context("spawn"), SUBMISSIONS // PROCESSES
    submitters = [context.Process(target=_submit_many, args=(url, each)) for _ in range(PROCESSES)]
    started_s = time.perf_counter()
    for process in submitters:
        process.start()
    for process in submitters:
        process.join()
    took_s = time.perf_counter() - started_s
    stored = len(Repository(Database(url)).list_searches())
    said = verdict(f"{SUBMISSIONS}", reached=stored == SUBMISSIONS)
    print(f"{PROCESSES} processes at once: {stored} stored in {took_s:.1f} s{said}", flush=True)


def _submit_many(url: str, number: int) -> None:
    queue, spec, provenance = Queue(Database(url)), load(SPEC), Provenance.collect()
    for _ in range(number):
        queue.submit(spec, provenance)


def _starting(url: str) -> None:
    """One server, one search after the other."""
    cluster = connect("local", "benchmark")
    assert cluster.dashboard is not None
    database = Database(url)
    database.upgrade()
    queue, repository = Queue(database), Repository(database)
    server = Server(queue, RayJobs(cluster.dashboard, environment(url)))
    threading.Thread(target=server.run, daemon=True).start()
    begun, trained, again = [], [], []
    for _ in range(REPEATS):
        search_id = queue.submit(load(SPEC), Provenance.collect()).id
        begun.append(_until(lambda: any(search.job for search in queue.running())))
        trained.append(begun[-1] + _until(lambda: _epochs(repository, search_id) > 0))  # noqa: B023
        again.append(_recovery(queue, repository, search_id))
        queue.cancel(search_id)
        _until(lambda: not queue.running())
    for what, times, target_s in (
        ("from submitted to its job", begun, START_TARGET_S),
        ("from submitted to its first report", trained, None),
        ("from SIGKILL of its process to a later report", again, RECOVERY_TARGET_S),
    ):
        median = statistics.median(times)
        said = "" if target_s is None else verdict(f"{target_s:g} s", reached=median < target_s)
        print(f"{what}: {median:.1f} s ({min(times):.1f} to {max(times):.1f}){said}", flush=True)


def _recovery(queue: Queue, repository: Repository, search_id: int) -> float:
    (search,) = queue.running()
    assert search.owner is not None
    os.kill(search.owner.pid, signal.SIGKILL)
    before = _epochs(repository, search_id)
    return _until(lambda: _epochs(repository, search_id) > before)


def _epochs(repository: Repository, search_id: int) -> int:
    return sum(trial.epochs for trial in repository.load(search_id)[1])


def _until(is_so: Callable[[], bool]) -> float:
    """Seconds until it is."""
    started_s = time.perf_counter()
    while not is_so():
        time.sleep(0.05)
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()

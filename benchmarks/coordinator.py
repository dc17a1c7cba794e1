"""What a search costs besides training: 10,000 simulated trials with 5 reports each.

Run as ``python benchmarks/coordinator.py``; the search is sampled, packed, stored and finished as a
real one, on SQLite and PostgreSQL. Prints a record for benchmarks/results.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from record import postgresql, print_head

from hpsearch.coordinator.events import Advanced, Event
from hpsearch.coordinator.loop import Coordinator
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec import load
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.repository import Repository
from workers.messages import Member

TRIALS, EPOCHS = 10_000, 5
SPEC = {
    "name": "overhead",
    "data": {"source": "digits"},
    "space": {
        "optimizer": {"choice": ["sgd", "momentum", "adam", "rmsprop"]},
        "learning_rate": {"log_uniform": [1e-5, 1]},
        "weight_decay": {"log_uniform": [1e-6, 1e-2]},
        "batch_size": {"choice": [32, 64, 128]},
    },
    "stages": [{"name": "only", "trials": TRIALS, "epochs": EPOCHS, "expand": 0}],
}


def main() -> None:
    """Print a line a database."""
    print_head("sqlalchemy", "psycopg", "optuna", "pydantic")
    with tempfile.TemporaryDirectory() as folder:
        _search(f"sqlite:///{folder}/warm-up.db", 200)
        _measure("SQLite", f"sqlite:///{folder}/overhead.db", limit_ms=1)
    with postgresql() as url:
        if url is not None:
            _measure("PostgreSQL", url, limit_ms=2)


def _measure(kind: str, url: str, limit_ms: float) -> None:
    seconds, memory = _search(url, TRIALS)
    each_ms = seconds / TRIALS * 1e3
    verdict = "reached" if each_ms < limit_ms else "MISSED"
    half, end = memory[len(memory) // 2], memory[-1]
    print(
        f"{kind}: {TRIALS} trials x {EPOCHS} reports in {seconds:.1f} s, {each_ms:.2f} ms a trial "
        f"(target {limit_ms:g} ms: {verdict}); memory {half:.0f} MiB half way, {end:.0f} at the end"
    )


def _search(url: str, trials: int) -> tuple[float, list[float]]:
    """Seconds for a whole search, and the peak memory in MiB after each report."""
    database = Database(url)
    database.check_revision()
    repository = Repository(database)
    stages = [{**SPEC["stages"][0], "trials": trials}]
    search = load({**SPEC, "stages": stages})
    memory: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, Advanced):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    started = time.perf_counter()
    record = repository.create_search(search, Provenance.collect())
    lease = repository.acquire(record.id, Owner.current())
    executor = SimulatedExecutor(_curve)
    with tempfile.TemporaryDirectory() as folder:
        Coordinator(repository, lease, record, executor, Path(folder), watch).run()
    repository.release(lease, "complete")
    seconds = time.perf_counter() - started
    database.close()
    return seconds, memory


def _curve(member: Member, epoch: int) -> dict[str, float]:
    accuracy = 1 - 1 / (epoch + 1 + member.seed % 7)
    return {
        "train_loss": 1 - accuracy,
        "train_accuracy": accuracy,
        "val_loss": 1 - accuracy,
        "val_accuracy": accuracy,
        "learning_rate": member.config.learning_rate,
    }


if __name__ == "__main__":
    main()

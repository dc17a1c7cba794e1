"""What Ray costs besides training, here and with Ray Tune: the same 10,000 trials on the same Ray.

Run as ``python benchmarks/overhead.py [--tuned N]``. Training is a formula, so that all time is
overhead; all else is real: actors, streams of Reports, the coordinator, the database. Ray Tune
trains the very trials that we sampled, with ``reuse_actors`` and its own defaults; N of them, if
all would take too long. Both times are those of warm workers.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray
from ray import tune
from record import postgresql, print_head, print_others, verdict

from hpsearch.coordinator.loop import Coordinator
from hpsearch.executors import ray as on_ray
from hpsearch.executors.base import Ended, Reported, Update
from hpsearch.executors.cluster import Cluster, connect
from hpsearch.executors.ray import RayExecutor
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec import load
from hpsearch.spec.search import Resources
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.repository import Repository
from workers.config import TrainConfig
from workers.messages import Member, Report, TrialGroup

TRIALS, WIDTH = 10_000, 64
REPORTS = 1, 5  # of a trial
GROUPS = 1000  # of one trial and one report each, for the cost of a group
GROUP_TARGET_MS, TRIAL_TARGET_MS, TIMES_TARGET = 5.0, 0.5, 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Seconds of all trials, and what identifies each with its best value."""

    seconds: float
    params: list[dict[str, Any]]
    values: list[float]
    parts_s: tuple[float, ...] = ()  # until groups are started, while they run, after that

    @property
    def each_ms(self) -> float:
        """Of a trial."""
        return self.seconds / len(self.values) * 1e3


def main() -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tuned", type=int, default=TRIALS, help="trials that Ray Tune trains")
    given = parser.parse_args()
    print_head("ray", "sqlalchemy", "psycopg", "optuna")
    print_others()
    cluster = connect("local", "benchmark")
    on_ray._REMOTE = ray.remote(max_restarts=0)(SimulatedWorker)
    with tempfile.TemporaryDirectory() as folder:
        _ours(cluster, f"sqlite:///{folder}/warm-up.db", trials=200)
        _print_groups(cluster, f"sqlite:///{folder}/groups.db")
        for reports in REPORTS:
            url = f"sqlite:///{folder}/{reports}.db"
            ours = _print_trials(cluster, "SQLite", url, reports)
            _print_tuned(Path(folder), ours, reports, given.tuned)
    with postgresql() as server:
        if server is not None:
            _print_trials(cluster, "PostgreSQL", server, REPORTS[0])


def _print_groups(cluster: Cluster, url: str) -> None:
    alone_ms = dispatch_s(cluster) / GROUPS * 1e3
    said = verdict(f"{GROUP_TARGET_MS:g} ms", reached=alone_ms < GROUP_TARGET_MS)
    print(f"a group on a warm worker, from start to end: {alone_ms:.2f} ms{said}", flush=True)
    searched = _ours(cluster, url, trials=GROUPS, width=1, workers=1)
    said = verdict(f"{GROUP_TARGET_MS:g} ms", reached=searched.each_ms < GROUP_TARGET_MS)
    print(
        f"a group of a search, sampled and stored, one worker: {searched.each_ms:.2f} ms{said}",
        flush=True,
    )


def _print_trials(cluster: Cluster, kind: str, url: str, reports: int) -> Measured:
    found = _ours(cluster, url, reports=reports)
    said = verdict(f"{TRIAL_TARGET_MS:g} ms", reached=found.each_ms < TRIAL_TARGET_MS)
    before, within, after = (seconds / TRIALS * 1e3 for seconds in found.parts_s)
    print(
        f"{kind}: {TRIALS} trials x {reports} reports in groups of {WIDTH}: {found.seconds:.1f} s, "
        f"{found.each_ms:.2f} ms a trial{said}: {before:.2f} to sample, pack and store it, "
        f"{within:.2f} to have it trained and its reports stored, {after:.2f} to diagnose",
        flush=True,
    )
    return found


def _print_tuned(folder: Path, ours: Measured, reports: int, trials: int) -> None:
    tuned = tuned_trials(folder / f"tuned-{reports}", ours.params[:trials], reports)
    assert sorted(tuned.values) == sorted(ours.values[:trials]), "they trained other trials"
    times = tuned.each_ms / ours.each_ms
    said = verdict(f"{TIMES_TARGET:g}", reached=times >= TIMES_TARGET)
    print(
        f"Ray Tune: {len(tuned.values)} of these trials x {reports} reports: {tuned.seconds:.1f} s,"
        f" {tuned.each_ms:.1f} ms a trial, {times:.0f} times as much{said}",
        flush=True,
    )


def value(learning_rate: float, seed: int, epoch: int) -> float:
    """The learning curve of a trial."""
    return 1 - learning_rate - 1 / (epoch + 1 + seed % 7)


def _metrics(member: Member, epoch: int) -> dict[str, float]:
    accuracy = value(member.config.learning_rate, member.seed, epoch)
    loss = 1 - accuracy
    measured = {"train_loss": loss, "train_accuracy": accuracy, "learning_rate": 0.1}
    return {"val_accuracy": accuracy, "val_loss": loss, **measured}


class SimulatedWorker:
    """Stands for ``workers.actor.TrainingWorker`` where it is made an actor."""

    def __init__(self, *given: object) -> None:
        """Takes what that takes."""

    def train(self, group: TrialGroup) -> Iterator[Report]:
        """Its Reports, at once."""
        executor = SimulatedExecutor(_metrics)
        executor.start(0, group)
        while updates := executor.wait(0):
            yield from (update.report for update in updates if isinstance(update, Reported))

    def device_name(self) -> str:
        """What speeds would be stored by."""
        return "simulated"


def dispatch_s(cluster: Cluster) -> float:
    """Seconds for GROUPS groups of one trial, one after the other on one worker."""
    with closing(RayExecutor(cluster, None, Resources(workers=1), "dispatch")) as executor:
        started_s = _when_warm(executor)
        for number in range(GROUPS):
            executor.start(number, _group(number))
            while not any(isinstance(update, Ended) for update in executor.wait(60)):
                pass
        return time.perf_counter() - started_s


def _group(number: int) -> TrialGroup:
    member = Member(trial=number, seed=number, config=TrainConfig())
    name = f"group {number}"
    return TrialGroup(name=name, members=(member,), order_seed=0, start_epoch=0, end_epoch=1)


class _Watched(RayExecutor):
    """Notes when it was first and when it was last in use."""

    first_s = last_s = None

    def start(self, number: int, group: TrialGroup) -> str:
        self.first_s = self.first_s or time.perf_counter()
        return super().start(number, group)

    def wait(self, timeout_s: float) -> list[Update]:
        updates = super().wait(timeout_s)
        self.last_s = time.perf_counter()
        return updates


def _when_warm(executor: RayExecutor) -> float:
    assert executor.device == "simulated"  # waits for the workers
    return time.perf_counter()


def _ours(
    cluster: Cluster,
    url: str,
    *,
    trials: int = TRIALS,
    reports: int = 1,
    width: int = WIDTH,
    workers: int | str = "auto",
) -> Measured:
    """A whole search on Ray: sampled, packed, trained, stored and finished."""
    database = Database(url)
    database.check_revision()
    repository, search = Repository(database), load(_spec(trials, reports, width, workers))
    record = repository.create_search(search, Provenance.collect())
    lease = repository.acquire(record.id, Owner.current())
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(_Watched(cluster, None, search.resources, record.name)) as executor,
    ):
        started_s = _when_warm(executor)
        Coordinator(repository, lease, record, executor, Path(folder)).run()
        moments = started_s, executor.first_s, executor.last_s, time.perf_counter()
    repository.release(lease, "complete")
    stored = repository.load(record.id)[1]
    database.close()
    params = [{"learning_rate": t.params["learning_rate"], "seed": t.seed} for t in stored]
    return Measured(
        seconds=moments[-1] - started_s,
        params=params,
        values=[trial.value for trial in stored],
        parts_s=tuple(later - earlier for earlier, later in pairwise(moments)),
    )


def _spec(trials: int, reports: int, width: int, workers: int | str) -> dict[str, Any]:
    stage = {"name": "only", "trials": trials, "epochs": reports, "expand": 0, "sampler": "random"}
    return {
        "name": "overhead",
        "data": {"source": "digits"},
        "space": {
            "optimizer": {"choice": ["sgd", "momentum", "adam", "rmsprop"]},
            "learning_rate": {"log_uniform": [1e-5, 1e-2]},
            "weight_decay": {"log_uniform": [1e-6, 1e-2]},
        },
        "stages": [stage],
        "resources": {"width": width, "workers": workers},
    }


class Trainable(tune.Trainable):
    """A trial as users of Ray Tune write it, with what its documentation asks to reuse actors."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._params, self._best = new_config["params"], float("-inf")
        return True

    def step(self) -> dict[str, float]:
        accuracy = value(**self._params, epoch=self.iteration + 1)
        self._best = max(self._best, accuracy)
        return {"val_accuracy": accuracy, "best": self._best}


class _FirstResult(tune.Callback):
    """When the first result came: an actor is warm then."""

    def __init__(self) -> None:
        self.at_s: float | None = None

    def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
        self.at_s = self.at_s or time.perf_counter()


def tuned_trials(folder: Path, params: list[dict[str, Any]], reports: int) -> Measured:
    """Ray Tune trains trials of these ``params``, and writes its results to ``folder``."""
    first, given = _FirstResult(), iter(params)
    tuner = tune.Tuner(
        Trainable,
        # Not ``grid_search``, which copies the whole list for each trial.
        param_space={"params": tune.sample_from(lambda config: next(given))},
        tune_config=tune.TuneConfig(
            metric="val_accuracy", mode="max", reuse_actors=True, num_samples=len(params)
        ),
        run_config=tune.RunConfig(
            stop={"training_iteration": reports},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            storage_path=str(folder),
            callbacks=[first],
            verbose=0,
        ),
    )
    with redirect_stdout(io.StringIO()):  # it talks, though not ``verbose``
        found = tuner.fit()
    assert first.at_s is not None
    seconds = time.perf_counter() - first.at_s
    if found.errors:
        raise found.errors[0]
    values = [found[place].metrics["best"] for place in range(len(found))]
    return Measured(seconds=seconds, params=params, values=values)


if __name__ == "__main__":
    main()

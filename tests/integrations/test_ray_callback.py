"""A Tuner's run in our tables: what the real one calls, and what becomes of each way to end."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import say
from ray import tune

from hpsearch import connect
from hpsearch.errors import HpsearchError
from hpsearch.executors.cluster import Cluster
from hpsearch.integrations.ray_tune import CoarseToFineSearch, DatabaseCallback
from hpsearch.storage.errors import StorageError

SPACE = {"rate": tune.loguniform(1e-4, 1.0), "net": {"kind": tune.choice(["a", "b"])}, "data": 3}


class Run:
    """What Tune's controller calls of a callback, one trial after the other."""

    def __init__(self, url: str, **options: Any) -> None:
        given = {"space": SPACE, "metric": "loss", "mode": "min", "db": url, **options}
        self.callback = DatabaseCallback(given.pop("name", "run"), **given)
        self.trials: list[Any] = []

    def start(self, rate: float, kind: str = "a", stop: dict[str, float] | None = None) -> Any:
        trial = SimpleNamespace(
            trial_id=f"t{len(self.trials)}",
            config={"rate": rate, "net": {"kind": kind}, "data": 3},
            stopping_criterion=stop or {},
            status="RUNNING",
            error_file=None,
        )
        self.trials.append(trial)
        self.callback.on_trial_start(0, self.trials, trial)
        return trial

    def report(self, trial: Any, *losses: float, done: bool = False, first: int = 1) -> None:
        for iteration, loss in enumerate(losses, first):
            result = {
                "loss": loss,
                "val_accuracy": np.float32(0.5),
                "text": "x",
                "training_iteration": iteration,
                "time_this_iter_s": 0.5,
                "time_total_s": 0.5 * iteration,
                "done": done and iteration == first + len(losses) - 1,
            }
            self.callback.on_trial_result(0, self.trials, trial, result)

    def complete(self, trial: Any) -> None:
        self.callback.on_trial_complete(0, self.trials, trial)
        trial.status = "TERMINATED"

    def end(self) -> None:
        self.callback.on_experiment_end(self.trials)


def test_a_run_is_stored_with_its_trials_curves_and_ends(database_url: str, tmp_path: Path) -> None:
    run = Run(database_url)
    whole, raised, cut, lost = (run.start(10.0**-n, "ab"[n % 2]) for n in range(4))
    run.report(whole, 3.0, 1.0, 2.0)
    run.complete(whole)
    run.report(raised, 5.0)
    (tmp_path / "error.txt").write_text("Failure # 1\nTraceback ...\nMemoryError: no memory\n\n")
    raised.error_file = str(tmp_path / "error.txt")
    run.callback.on_trial_error(0, run.trials, raised)
    raised.status = "ERROR"
    run.report(cut, 4.0, 4.5, done=True)
    run.complete(cut)
    run.report(lost, 1.0, float("nan"))
    run.complete(lost)
    run.end()

    db = connect(database_url)
    trials = db.trials("run").set_index("number")
    assert list(trials["state"]) == ["complete", "failed", "pruned", "failed"]
    assert list(trials["failure_kind"].dropna()) == ["error", "diverged"]
    assert trials["failure_message"][1] == "MemoryError: no memory"
    assert list(trials["value"]) == [1.0, 5.0, 4.0, 1.0]
    assert list(trials["best_epoch"]) == [2, 1, 1, 1]
    assert list(trials["epochs"]) == [3, 1, 2, 2]
    assert list(trials["seconds"]) == [1.5, 0.5, 1.0, 1.0]
    assert list(trials["rate"]) == [1.0, 0.1, 0.01, 0.001]
    assert list(trials["net/kind"]) == ["a", "b", "a", "b"]
    curves = db.curves("run")
    assert list(curves.query("number == 0")["value"]) == [3.0, 1.0, 2.0]
    assert set(curves["val_accuracy"]) == {0.5}
    (search,) = db.searches().to_dict("records")
    assert (search["state"], search["metric"], search["mode"], search["best"]) == (
        "complete", "loss", "min", 1.0,
    )  # fmt: skip
    assert list(db.best("run", n=1)["number"]) == [0]


@pytest.mark.parametrize(
    ("options", "stop", "state"),
    [({}, {"training_iteration": 2}, "complete"), ({"max_t": 2}, None, "complete"),
     ({"max_t": 3}, None, "pruned")],
)  # fmt: skip
def test_a_trial_that_was_ended_where_it_should_is_complete(
    options: dict[str, Any], stop: dict[str, float] | None, state: str, sqlite_url: str
) -> None:
    run = Run(sqlite_url, **options)
    trial = run.start(0.1, stop=stop)
    run.report(trial, 2.0, 1.0, done=True)
    run.complete(trial)
    run.end()
    assert list(connect(sqlite_url).trials("run")["state"]) == [state]


def test_it_is_read_while_it_runs_and_is_nobody_elses(sqlite_url: str) -> None:
    run = Run(sqlite_url)
    run.report(run.start(0.1), 2.0)
    db = connect(sqlite_url)
    assert list(db.trials("run")["state"]) == ["running"]
    assert list(db.searches()["state"]) == ["running"]
    with pytest.raises(StorageError, match="is being carried out by process"):
        db.repository.acquire(1, owner=SimpleNamespace())  # type: ignore[arg-type]
    run.end()
    assert list(db.searches()["state"]) == ["stopped"]


def test_a_tuner_that_is_restored_goes_on_with_the_same_search(sqlite_url: str) -> None:
    run = Run(sqlite_url)
    trial = run.start(0.1)
    run.report(trial, 2.0)
    run.callback.on_trial_error(0, run.trials, trial)
    saved = pickle.loads(pickle.dumps(run.callback.get_state()))
    run.end()
    again = Run(sqlite_url)
    again.callback.set_state(saved)
    again.trials = run.trials
    again.callback.on_trial_start(0, again.trials, trial)
    again.report(trial, 1.0, first=2)
    again.complete(trial)
    again.complete(again.start(0.2))
    again.end()
    db = connect(sqlite_url)
    assert len(db.searches()) == 1
    assert list(db.trials("run")["state"]) == ["complete", "complete"]
    assert db.trials("run")["failure_kind"].isna().all()
    assert list(db.curves("run")["value"]) == [2.0, 1.0]


def test_a_metric_of_ours_has_its_own_column(sqlite_url: str) -> None:
    run = Run(sqlite_url, metric="val_accuracy", mode="max")
    run.report(run.start(0.1), 2.0)
    run.end()
    curves = connect(sqlite_url).curves("run")
    assert list(curves["val_accuracy"]) == [0.5]
    assert curves["value"].isna().all()


def test_a_parameter_with_the_name_of_a_column_gets_an_underscore(sqlite_url: str) -> None:
    run = Run(sqlite_url, space={"seed": tune.randint(0, 9)})
    trial = SimpleNamespace(trial_id="t", config={"seed": 7}, status="RUNNING")
    run.callback.on_trial_start(0, [trial], trial)
    run.end()
    trials = connect(sqlite_url).trials("run")
    assert (list(trials["seed"]), list(trials["seed_"])) == ([0], [7])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "up"}, "mode must be min or max, but got 'up'"),
        ({"name": "3"}, "name of a search must be a letter, then .*, but got '3'"),
        ({"metric": "val_accuracy"}, "mode of val_accuracy must be max, but got min"),
        ({"space": {"a": tune.randn()}}, "which have a range to narrow, but a is normal"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_the_run(
    options: dict[str, Any], said: str, sqlite_url: str
) -> None:
    with pytest.raises(HpsearchError, match=said):
        Run(sqlite_url, **options)


def test_a_real_tuner_with_our_search_and_a_scheduler(
    cluster: Cluster, tmp_path: Path, sqlite_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(2):
            if config["rate"] > 0.3:
                raise RuntimeError("too high")
            tune.report({"loss": config["rate"]})

    callback = DatabaseCallback(
        "tuned", space=SPACE, metric="loss", mode="min", db=sqlite_url, max_t=2
    )
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 0.1}),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=6,
            max_concurrent_trials=2,
            reuse_actors=True,
            search_alg=CoarseToFineSearch(stages=(4, 2), seed=2),
            scheduler=tune.schedulers.ASHAScheduler(grace_period=1, max_t=2, reduction_factor=2),
        ),
        run_config=tune.RunConfig(
            name="tuned", storage_path=str(tmp_path / "ray"), callbacks=[callback], verbose=0
        ),
    ).fit()
    trials = connect(sqlite_url).trials("tuned")
    assert sorted(trials["rate"]) == sorted(r.config["rate"] for r in results)
    assert set(trials["state"]) <= {"complete", "pruned", "failed"}
    assert (trials["state"] == "failed").sum() == results.num_errors
    by_rate = {result.config["rate"]: result for result in results}
    for trial in trials.to_dict("records"):
        result = by_rate[trial["rate"]]
        if trial["state"] == "failed":
            assert trial["failure_message"] == "RuntimeError: too high"
        else:
            assert trial["epochs"] == result.metrics["training_iteration"]
            assert trial["state"] == ("complete" if trial["epochs"] == 2 else "pruned")
    code, out, _ = say(capfd, "best", "tuned", "--db", sqlite_url, "-n", "1", "--format", "csv")
    assert code == 0
    assert str(trials["rate"].min())[:8] in out

"""The same search as the users of other tools write it: a plain loop, Ray Tune, Optuna.

``peers.py`` starts this file once a contestant, as ``contestants.py TOOL TASK.json``, and takes the
time of the whole process. A contestant leaves ``values.json`` in the task's folder: the best
validation accuracy of each trial, and how many epochs all of them had together. Packages are
imported within, so that each process loads those of its own tool alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The space of the search, and successive halving, in all tools; its first rung is epoch 1.
LEARNING_RATE, WEIGHT_DECAY = (1e-4, 1e-1), (1e-6, 1e-2)
BATCH_SIZE, OPTIMIZER = (32, 64, 128), ("sgd", "momentum", "adam", "rmsprop")
REDUCTION_FACTOR = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a contestant is to train; ``data`` and ``train`` are sections of a spec.

    ``params`` are those of each trial. With ``pruned`` trials are stopped early.
    """

    data: dict[str, Any]
    train: dict[str, Any]
    params: list[dict[str, Any]]
    epochs: int
    folder: str
    threads: int = 1
    pruned: bool = False

    @property
    def images(self) -> bool:
        """Whether the network sees images."""
        return self.train.get("model") == "cnn"


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """The best validation accuracy of each trial, in no order, and the epochs of all.

    ``seconds`` are those from the first trial's start to the last one's end: what more trials would
    take more of, unlike imports, data and Ray's start.
    """

    values: list[float]
    epochs: int
    seconds: float


def plain_loop(task: Task) -> Values:
    """One trial after the other in one process."""
    import torch
    from plain import epochs, read_examples

    torch.set_num_threads(task.threads)
    examples = read_examples(task.data, images=task.images)
    values, started = [], time.perf_counter()
    for params in task.params:
        training = epochs(params, examples, task.train)
        values.append(max(next(training) for _ in range(task.epochs)))
    seconds = time.perf_counter() - started
    return Values(values=values, epochs=len(values) * task.epochs, seconds=seconds)


def ray_tune(task: Task, *, reuse_actors: bool) -> Values:
    """Ray Tune with its defaults: as many trials at once as there are cores."""
    import ray
    from plain import read_examples
    from ray import tune

    ray.init()  # Ray Tune would do it within ``fit``
    examples = read_examples(task.data, images=task.images)
    scheduler = tune.schedulers.ASHAScheduler(
        max_t=task.epochs, grace_period=1, reduction_factor=REDUCTION_FACTOR
    )
    tuner = tune.Tuner(
        tune.with_parameters(_trainable(), examples=examples, train=task.train),
        param_space={"params": tune.grid_search(task.params)},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            reuse_actors=reuse_actors,
            scheduler=scheduler if task.pruned else None,
        ),
        run_config=tune.RunConfig(
            stop={"training_iteration": task.epochs},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            storage_path=task.folder,
            verbose=0,
        ),
    )
    started = time.perf_counter()
    found = tuner.fit()
    seconds = time.perf_counter() - started
    if found.errors:  # they are only logged, and trials that failed in time would look quick
        raise found.errors[0]
    ended = [found[place].metrics or {} for place in range(len(found))]
    return Values(
        values=[metrics["best"] for metrics in ended],
        epochs=sum(metrics["training_iteration"] for metrics in ended),
        seconds=seconds,
    )


def _trainable() -> type:
    """Ray Tune's class interface, with what its documentation asks for to reuse actors."""
    from ray import tune

    class Training(tune.Trainable):
        def setup(self, config: dict[str, Any], **given: Any) -> None:
            self._examples, self._train = given["examples"], given["train"]
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            from plain import epochs

            self._epochs = epochs(new_config["params"], self._examples, self._train)
            self._best = 0.0
            return True

        def step(self) -> dict[str, float]:
            accuracy = next(self._epochs)
            self._best = max(self._best, accuracy)
            return {"val_accuracy": accuracy, "best": self._best}

    return Training


def optuna_processes(task: Task) -> Values:
    """Optuna with a SQLite database, in as many processes as there are cores.

    Processes are forked, so that packages are imported once; each opens the database by itself.
    """
    import optuna
    import torch
    from plain import read_examples

    torch.set_num_threads(1)
    examples = read_examples(task.data, images=task.images)
    study = optuna.create_study(storage=_storage(task), study_name="peers", direction="maximize")
    count = os.cpu_count() or 1
    shares = [len(task.params[place::count]) for place in range(count)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_optimize, args=(task, n, examples)) for n in shares]
    started = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    curves = [trial.intermediate_values for trial in study.trials]
    return Values(
        values=[max(curve.values()) for curve in curves],
        epochs=sum(len(curve) for curve in curves),
        seconds=seconds,
    )


def _storage(task: Task) -> str:
    return f"sqlite:///{task.folder}/optuna.db"


def _optimize(task: Task, num_trials: int, examples: Any) -> None:
    import optuna
    from plain import epochs

    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=REDUCTION_FACTOR
    )

    def objective(trial: optuna.Trial) -> float:
        params = {
            "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
            "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
            "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZE),
            "optimizer": trial.suggest_categorical("optimizer", OPTIMIZER),
        }
        training = epochs(params, examples, task.train)
        for epoch in range(1, task.epochs + 1):
            accuracy = next(training)
            trial.report(accuracy, epoch)
            if task.pruned and trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    study = optuna.load_study(
        study_name="peers", storage=_storage(task), sampler=_listed(task), pruner=pruner
    )
    study.optimize(objective, n_trials=num_trials)


def _listed(task: Task) -> Any:
    """A sampler that gives each trial the values that it is to have.

    It costs less than any of Optuna's, and ``enqueue_trial``, which would do too, costs a
    transaction a trial and a look through all that wait whenever one is taken.
    """
    import optuna

    class Listed(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, name: str, _: Any) -> Any:
            return task.params[trial.number][name]

    return Listed()


TOOLS: dict[str, Callable[[Task], Values]] = {
    "plain": plain_loop,
    "ray_reused": lambda task: ray_tune(task, reuse_actors=True),
    "ray": lambda task: ray_tune(task, reuse_actors=False),
    "optuna": optuna_processes,
}


def main() -> None:
    """Train the task of argv and leave its values."""
    tool, file = sys.argv[1:]
    task = Task(**json.loads(Path(file).read_text()))
    found = TOOLS[tool](task)
    Path(task.folder, "values.json").write_text(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()

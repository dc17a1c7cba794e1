"""One search in each tool, as its users would write it, from Enter to its end.

Run as ``python benchmarks/peers.py [FOLDER] [--only NAME] [--trials N] [--pruned]``. Digits always;
MNIST if FOLDER holds its official files (mnist/*.gz). Learning rate, weight decay, batch size and
optimizer are searched; each tool trains the same trials for the same epochs, validates after each
and tells its own storage. With --pruned all stop trials early: ASHA, successive halving.

Each contestant is a process of its own, and all of its life is timed: imports, Ray's start, the
data, the end. Ours is the command ``hpsearch run``, as it comes and with ``--ray processes``, each
once before the others and once after them; the slower time counts. What takes too long is measured
on some of the trials; what they took after the start is multiplied, and the line says so. While
others are at work on the machine no time is worth anything, so before each contestant it is seen
how idle the cores are, and there are verdicts on times only if they were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import contestants
import yaml
from contestants import Task, Values
from judging import TOOLS, Contest, Outcome, judge, print_outcome
from record import idle_share, print_head

import hpsearch

SEARCHED = "learning_rate", "weight_decay", "batch_size", "optimizer"
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}


MLP: dict[str, Any] = {"hidden_units": [50]}
CNN: dict[str, Any] = {
    "model": "cnn",
    "channels": [8, 16],
    "kernel_size": 3,
    "hidden_units": [],
}
MNIST: dict[str, Any] = {"source": "mnist", "validation": 0.1, "preprocess": ["zero_center"]}
DIGITS = Contest(
    name="digits",
    data={"source": "digits", "validation": 0.2, "preprocess": ["zero_center"]},
    train=MLP,
    trials=1000,
    epochs=10,
    targets={"optuna": 10, "ray_reused": 10, "ray": 150},
    samples={"plain": 100, "ray": 20},
)
CONTESTS = (
    DIGITS,
    Contest(
        name="mnist_mlp",
        data=MNIST,
        train=MLP,
        trials=64,
        epochs=3,
        better_target=2.5,
        samples={"plain": 16, "ray": 16},
    ),
    Contest(
        name="mnist_cnn",
        data={**MNIST, "limit": 12_000},
        train=CNN,
        trials=24,
        epochs=2,
        better_target=1,
        samples={"plain": 8, "ray": 8},
    ),
)
WAYS = {"local": "", "processes": ", without Ray"}  # to run ours, and what a title ends with


def main() -> None:
    """Print a line a contestant."""
    given = _arguments()
    print_head("torch", "ray", "optuna", "sqlalchemy")
    for contest in CONTESTS:
        if given.only in (None, contest.name) and (given.folder or contest.name == "digits"):
            _compete(_adapted(contest, given), pruned=given.pruned)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, help="holds mnist/*.gz")
    parser.add_argument("--only", choices=[contest.name for contest in CONTESTS])
    parser.add_argument("--trials", type=int)
    parser.add_argument("--pruned", action="store_true", help="all tools stop trials early")
    given = parser.parse_args()
    if given.folder is None and given.only not in (None, "digits"):
        parser.error(f"{given.only} needs FOLDER, which holds mnist/*.gz")
    return given


def _adapted(contest: Contest, given: argparse.Namespace) -> Contest:
    """The contest with what argv says; targets are those of the search in which nobody stops."""
    data = dict(contest.data)
    if data["source"] == "mnist":
        data["path"] = str((given.folder / "mnist").absolute())
    changed = replace(contest, data=data, trials=given.trials or contest.trials)
    is_meant = given.trials is None and not given.pruned
    return changed if is_meant else replace(changed, targets={}, better_target=None)


def _compete(contest: Contest, *, pruned: bool) -> None:
    stopping = ", early stopping" if pruned else ""
    title = f"{contest.name}: {contest.trials} trials x {contest.epochs} epochs{stopping}"
    print(f"{title}, contestants as they end", flush=True)
    before, params = _each_way(contest, pruned=pruned)
    task = Task(
        data=contest.data,
        train=contest.train,
        params=params,
        epochs=contest.epochs,
        folder="",
        pruned=pruned,
    )
    outcomes = {}
    for tool in TOOLS:
        if not (pruned and tool == "plain"):
            outcomes[tool] = _outcome(contest, tool, task)
            print_outcome(TOOLS[tool], outcomes[tool])
    after, _ = _each_way(contest, pruned=pruned)
    for way, ending in WAYS.items():
        print(f"{title}{ending}")
        judge(contest, (before[way], after[way]), outcomes, pruned=pruned)


def _each_way(contest: Contest, *, pruned: bool) -> tuple[dict[str, Outcome], list[dict[str, Any]]]:
    """Ours in each of ``WAYS``, and the parameters of the trials, which are those of all ways."""
    found = {}
    for way, ending in WAYS.items():
        found[way], params = _ours(contest, way, pruned=pruned)
        print_outcome(f"this project{ending}", found[way])
    return found, params


def _outcome(contest: Contest, tool: str, task: Task) -> Outcome:
    if tool == "plain":
        each = [_sampled(tool, replace(task, threads=n), contest.samples[tool]) for n in (1, 2)]
        best = min(each, key=lambda outcome: outcome.seconds)
        return replace(best, how=f" with torch's threads at {each.index(best) + 1}{best.how}")
    return _sampled(tool, task, contest.samples.get(tool, len(task.params)))


def _sampled(tool: str, task: Task, sample: int) -> Outcome:
    """All trials, or ``sample`` of them that stand for all; the start is counted once."""
    num_trials = len(task.params)
    if sample >= num_trials:
        return _timed(tool, task)
    some = _timed(tool, replace(task, params=_spread(task.params, sample)))
    seconds = some.seconds + some.training_s * (num_trials / sample - 1)
    return replace(some, seconds=seconds, is_whole=False, how=f" (from {sample} trials)")


def _spread(params: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """So many of them, evenly over all: trials are in the order of their optimizers."""
    return [params[place * len(params) // count] for place in range(count)]


def _timed(tool: str, task: Task) -> Outcome:
    """Run a contestant in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="hpsearch-peers-") as folder:
        file = Path(folder, "task.json")
        file.write_text(json.dumps(asdict(replace(task, folder=folder))))
        idle = idle_share()
        seconds = _run([sys.executable, contestants.__file__, tool, str(file)])
        found = Values(**json.loads(Path(folder, "values.json").read_text()))
    if len(found.values) != len(task.params):
        sys.exit(f"{tool} trained {len(found.values)} of {len(task.params)} trials")
    return Outcome(
        seconds=seconds,
        training_s=found.seconds,
        values=found.values,
        epochs=found.epochs,
        idle=idle,
    )


def _ours(contest: Contest, way: str, *, pruned: bool) -> tuple[Outcome, list[dict[str, Any]]]:
    """The command ``hpsearch run --ray WAY``, and the parameters of the trials that it trained."""
    with tempfile.TemporaryDirectory(prefix="hpsearch-peers-") as folder:
        spec, url = Path(folder, "peers.yaml"), f"sqlite:///{folder}/peers.db"
        spec.write_text(yaml.safe_dump(search_spec(contest, pruned=pruned), sort_keys=False))
        command = [sys.executable, "-m", "hpsearch", "run", str(spec), "--db", url, "--new"]
        idle = idle_share()
        seconds = _run([*command, "--ray", way])
        trials = hpsearch.connect(url).trials(contest.name)
    if len(trials) != contest.trials:
        sys.exit(f"this project trained {len(trials)} of {contest.trials} trials")
    records = trials[list(SEARCHED)].to_dict("records")
    params = [{str(name): value for name, value in row.items()} for row in records]
    outcome = Outcome(
        seconds=seconds,
        training_s=seconds,
        values=trials["value"].fillna(0).tolist(),  # diverged in its first epoch: there is none
        epochs=int(trials["epochs"].sum()),
        idle=idle,
    )
    return outcome, params


def search_spec(contest: Contest, *, pruned: bool) -> dict[str, Any]:
    """The spec of the contest; biases decay as they do in PyTorch's optimizers."""
    stage: dict[str, Any] = {"name": "only", "sampler": "random", "expand": 0}
    if pruned:
        options = {"min_resource": 1, "reduction_factor": contestants.REDUCTION_FACTOR}
        stage["pruner"] = {"name": "successive_halving", **options}
    return {
        "name": contest.name,
        "data": contest.data,
        "train": {**contest.train, "initialization": "kaiming_normal", "decay_biases": True},
        "space": {
            "learning_rate": {"log_uniform": list(contestants.LEARNING_RATE)},
            "weight_decay": {"log_uniform": list(contestants.WEIGHT_DECAY)},
            "batch_size": {"choice": list(contestants.BATCH_SIZE)},
            "optimizer": {"choice": list(contestants.OPTIMIZER)},
        },
        "stages": [{**stage, "trials": contest.trials, "epochs": contest.epochs}],
    }


def _run(command: list[str]) -> float:
    """Seconds from a process's start to its end; stops here, with what it said, if it fails."""
    started = time.perf_counter()
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, check=False
    )
    seconds = time.perf_counter() - started
    if ended.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stderr[-3000:]}")
    return seconds


if __name__ == "__main__":
    main()

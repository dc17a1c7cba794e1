"""What a trainable costs through us, beside ray.tune.Tuner alone: trivial trials on one cluster.

Run as ``python benchmarks/tune.py [--trials 1000]``. Both draw at random, reuse actors, and train
as many trials at once; the Tuner is as it comes, and, told beside it, without its files of results.
Rounds go in turn, so that what else the machine does falls on all; the medians count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import tune
from record import print_head, print_others, verdict
from tune_trivial import trivial

import hpsearch
from hpsearch.executors.cluster import connect

TARGET = 1.10
LOGGERS = "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"


def main() -> None:
    """Print a line a contestant, and a verdict."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print_head("ray", "sqlalchemy")
    print_others()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    connect("local", "benchmark")
    contestants: dict[str, Callable[[int, Path], None]] = {
        "hpsearch": _ours,
        "Tuner": _tuner,
        "Tuner without its files": _bare_tuner,
    }
    for contestant in contestants.values():  # what the first of all pays for
        _timed(contestant, 8)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(given.rounds):
        for name, contestant in contestants.items():
            times[name].append(_timed(contestant, given.trials))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        each_ms = 1000 * medians[name] / given.trials
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        said = f"{given.trials} trials in {medians[name]:.1f} s ({spread})"
        print(f"{name}: {said}, {each_ms:.1f} ms each")
    ratio = medians["hpsearch"] / medians["Tuner"]
    said = verdict(f"{TARGET:g}", reached=ratio <= TARGET)
    bare = medians["hpsearch"] / medians["Tuner without its files"]
    print(
        f"hpsearch takes {ratio:.2f} times as long as the Tuner{said}, {bare:.2f} without its files"
    )
    ray.shutdown()


def _timed(contestant: Callable[[int, Path], None], trials: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        contestant(trials, Path(folder))
        return time.perf_counter() - started


def _ours(trials: int, folder: Path) -> None:
    spec = {
        "name": "trivial",
        "objective": {"metric": "loss", "mode": "min"},
        "trainable": "tune_trivial:trivial",
        "space": {"rate": {"log_uniform": [1e-4, 1]}},
        "stages": [{"name": "all", "trials": trials, "epochs": 1, "expand": 0}],
    }
    result = hpsearch.run(spec, db=f"sqlite:///{folder}/trivial.db", ray="local")
    assert set(result.trials()["state"]) == {"complete"}


def _tuner(trials: int, folder: Path, without: str = "0") -> None:
    os.environ[LOGGERS] = without
    found = tune.Tuner(
        trivial,
        param_space={"rate": tune.loguniform(1e-4, 1)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    assert len(found) == trials
    del os.environ[LOGGERS]


def _bare_tuner(trials: int, folder: Path) -> None:
    _tuner(trials, folder, "1")


if __name__ == "__main__":
    main()

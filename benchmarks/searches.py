"""Whole searches as a person runs them: how long they take, and how good a network they end with.

Run as ``python benchmarks/searches.py [FOLDER]``. Digits always; MNIST and CIFAR-10 if FOLDER holds
their official files (mnist/*.gz and cifar-10-python.tar.gz). CIFAR-10 is searched a second time
with ranges that may not be extended: the network that it would have stopped at.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from record import print_head

import hpsearch
from hpsearch.coordinator.events import Event, StageOpened

CIFAR = "cifar10_two_layer"


def main() -> None:
    """Print a line a search."""
    print_head("torch", "ray", "optuna", "sqlalchemy")
    _search("digits")
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        _search("mnist_mlp", f"data.path={folder / 'mnist'}")
        archive = f"data.path={folder / 'cifar-10-python.tar.gz'}"
        _search(CIFAR, archive)
        _search(CIFAR, archive, "stages.coarse.expand=0", "stages.fine.expand=0")


def _search(name: str, *overrides: str) -> None:
    started = time.perf_counter()
    opened: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageOpened):
            opened.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        result = hpsearch.run(
            name, db=f"sqlite:///{folder}/searches.db", overrides=overrides, observer=watch
        )
        ended = time.perf_counter()
        trials, best = result.trials(), result.best(1)
        rates = result.db.stages(result.id).query("parameter == 'learning_rate'")
    changes = "".join(f" {override}" for override in overrides if "path" not in override)
    stages = ", ".join(
        f"{stage} {values.max():.4f}"
        for stage, values in trials.groupby("stage", sort=False, observed=True)["value"]
    )
    print(
        f"{name}{changes}: {len(trials)} trials in {ended - opened[0]:.1f} s of search, "
        f"{opened[0] - started:.1f} s before it (data, Ray); best accuracy by stage: {stages}; "
        f"best {best['value'][0]:.4f} at learning rate {best['learning_rate'][0]:.2g}, "
        f"tried from {rates['low'].min():.2g} to {rates['high'].max():.2g}",
        flush=True,
    )


if __name__ == "__main__":
    main()

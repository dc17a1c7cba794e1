"""Coarse to fine in Ray Tune, stored in our tables: ``python examples/ray_tuner.py``.

The function to train is a stand-in that knows its best rate. Afterwards ``hpsearch best tuned`` and
``hpsearch curves tuned`` in the same folder read what was stored.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from hpsearch import connect
from hpsearch.integrations.ray_tune import CoarseToFineSearch, DatabaseCallback

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

STAGES, EPOCHS = (12, 8), 4
SPACE = {"rate": tune.loguniform(1e-6, 1.0), "units": tune.choice([16, 64])}


def train(config: dict) -> None:
    """A loss that falls with epochs, the lower the nearer the rate is to 1e-3."""
    for epoch in range(1, EPOCHS + 1):
        distance = abs(math.log10(config["rate"]) + 3)
        tune.report({"loss": distance + 4 / config["units"] + 1 / epoch})


def main() -> None:
    """Search, and read the best from the database."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        train,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=sum(STAGES),
            search_alg=CoarseToFineSearch(stages=STAGES, seed=0),
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=2),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(Path("ray_results").absolute()),
            callbacks=[
                DatabaseCallback("tuned", space=SPACE, metric="loss", mode="min", max_t=EPOCHS)
            ],
            verbose=0,
        ),
    ).fit()
    print(connect().best("tuned", n=3)[["number", "value", "rate", "units"]])


if __name__ == "__main__":
    main()

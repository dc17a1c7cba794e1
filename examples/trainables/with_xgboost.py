"""Boosted trees under Ray Tune: ``hpsearch run with_xgboost.yaml`` in this folder.

An epoch is a round of boosting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xgboost
from ray import tune
from ray.tune.integration.xgboost import TuneReportCheckpointCallback
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def fit(config: dict[str, Any]) -> None:
    """Boost to ``config["epochs"]`` rounds, from the checkpoint where there is one."""
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.2, random_state=0)
    train, val = xgboost.DMatrix(x_train, y_train), xgboost.DMatrix(x_val, y_val)
    names = ("eta", "max_depth", "reg_lambda")
    params = {name: config[name] for name in names}
    params |= {"objective": "multi:softmax", "num_class": 10, "nthread": 1}
    params |= {"eval_metric": "merror", "seed": config["seed"]}
    found, booster = tune.get_checkpoint(), None
    if found is not None:
        with found.as_directory() as folder:
            booster = xgboost.Booster(model_file=str(Path(folder, "model.ubj")))
    done = 0 if booster is None else booster.num_boosted_rounds()
    xgboost.train(
        params,
        train,
        num_boost_round=config["epochs"] - done,
        evals=[(val, "val")],
        xgb_model=booster,
        verbose_eval=False,
        callbacks=[TuneReportCheckpointCallback({"error": "val-merror"}, frequency=1)],
    )

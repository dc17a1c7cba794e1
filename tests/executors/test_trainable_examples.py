"""The examples of trainables run as they are, where their packages are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

import hpsearch

FOLDER = Path(__file__).parent.parent.parent / "examples" / "trainables"
GOOD = {"with_lightning": 0.8, "with_xgboost": 0.2, "with_ray_train": 0.5}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("name", list(GOOD))
def test_an_example_runs_and_learns(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name.removeprefix("with_").replace("ray_train", "ray.train"))
    monkeypatch.syspath_prepend(str(FOLDER))
    fewer = ["stages.coarse.trials=1"] if name == "with_ray_train" else []  # each starts processes
    db = f"sqlite:///{tmp_path}/e.db"
    result = hpsearch.run(FOLDER / f"{name}.yaml", db=db, ray="local", overrides=fewer)
    trials = result.trials()
    assert set(trials["state"]) <= {"complete", "pruned"}
    value = result.best(1)["value"][0]
    assert value > GOOD[name] if result.mode == "max" else value < GOOD[name]

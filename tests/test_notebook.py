"""Searches written in Python, with models and data as objects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import own_data
import own_losses
import own_nets
import pytest
from torch import nn

import hpsearch
from hpsearch.errors import HpsearchError
from hpsearch.spec import SpecError, load

GIVEN = {
    "name": "own",
    "space": {"width": {"choice": [4, 8]}, "learning_rate": {"log_uniform": [1e-2, 1]}},
    "stages": [{"name": "only", "trials": 4, "epochs": 1}],
}
SCRIPT = """
import numpy as np, torch, hpsearch
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
    def forward(self, x):
        return self.layers(x)

def data():
    y = np.arange(60) % 2
    return np.random.default_rng(0).normal(size=(60, 3)) + y[:, None], y

search = hpsearch.Search(model=Net, data=data, space={"width": {"choice": [2, 4]}},
                         stages=[{"name": "only", "trials": 2, "epochs": 1}])
try:
    hpsearch.run(search)
except Exception as error:
    print(error)
print(len(hpsearch.run(search, ray="none").trials()))
"""


def test_objects_stand_for_their_names() -> None:
    search = hpsearch.Search(
        model=own_nets.Residual,
        data=own_data.arrays,
        **GIVEN | {"space": {} | {"channels": {"int": [2, 4]}}},
    )
    by_name = {"model": "own_nets:Residual", "data": {"source": "own_data:arrays"}}
    assert search == load({**GIVEN, **by_name, "space": {"channels": {"int": [2, 4]}}})


def test_a_search_of_objects_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search = hpsearch.Search(
        model=own_nets.Perceptron, data=own_data.wide, train={"outputs": 3}, **GIVEN
    )
    result = hpsearch.run(search, ray="none")
    assert set(result.trials()["state"]) == {"complete"}


def test_losses_and_metrics_are_given_as_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = {"top2": own_losses.top2, "right": own_losses.Accuracy}
    search = hpsearch.Search(
        model=own_nets.Perceptron,
        data=own_data.wide,
        loss=own_losses.focal,
        metrics=metrics,
        objective={"metric": "right", "mode": "max"},
        train={"outputs": 3},
        **GIVEN,
    )
    assert search.python_names == (
        "own_nets:Perceptron",
        "own_losses:focal",
        "own_data:wide",
        "own_losses:top2",
        "own_losses:Accuracy",
    )
    curves = hpsearch.run(search, ray="none").db.curves("own")
    assert list(curves.columns[-2:]) == ["top2", "right"]
    assert curves["right"].tolist() == curves["val_accuracy"].tolist()
    assert (curves["top2"] >= curves["right"]).all()
    with pytest.raises(SpecError, match="must be a class or function of a module"):
        hpsearch.Search(data=own_data.wide, loss=own_losses.ready, **GIVEN)


def test_a_script_trains_what_it_defines_in_its_own_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.stdout.splitlines() == [
        "workers must be able to import Net, but it is of a notebook or a script; put it into a "
        'file that is imported, or train with ray="none"',
        "2",
    ], run.stderr


def test_what_no_worker_could_find_is_refused() -> None:
    class Local(nn.Linear):
        pass

    with pytest.raises(SpecError, match="must be a class or function of a module, not within"):
        hpsearch.Search(model=Local, data=own_data.arrays, **GIVEN)
    with pytest.raises(SpecError):
        hpsearch.Search(model=own_nets.Perceptron, data=lambda: None, **GIVEN)
    assert issubclass(SpecError, HpsearchError)

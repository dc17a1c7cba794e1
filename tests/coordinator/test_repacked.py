"""Real training over rungs: who goes on learns what it would have learnt undisturbed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coordinated import a_search, coordinate
from training_cases import blobs

from hpsearch.coordinator.view import SearchView
from hpsearch.executors.inprocess import InProcessExecutor
from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository

DATA = blobs(num_train=160)
STAGES = [
    {"name": "coarse", "trials": 24, "epochs": 4, "sampler": "qmc", "expand": 0},
    {"name": "fine", "trials": 20, "epochs": 9, "sampler": "qmc", "continue": 5, "expand": 0},
]
SPACE = {
    "optimizer": {"choice": ["momentum", "adam"]},
    "learning_rate": {"log_uniform": [1e-3, 0.3]},
    "batch_size": {"choice": [16, 32]},
    "dropout": {"uniform": [0.0, 0.4]},
}
TRAIN = {
    **{"hidden_units": [8], "precision": "float64", "normalization": "batch"},
    **{"lr_schedule": "cosine", "ema_decay": 0.9},
}


def _trained(folder: Path, **changes: Any) -> tuple[SearchView, dict[int, list[float]]]:
    """A finished search, and the curve of the loss of each trial by its number."""
    database = Database(f"sqlite:///{folder / 'search.db'}")
    database.check_revision()
    repository = Repository(database)
    given = {"stages": STAGES[:1], "space": SPACE, "train": TRAIN, "resources": {}, **changes}
    search = a_search(objective={"metric": "val_loss", "mode": "min"}, **given)
    with closing(InProcessExecutor(DATA)) as executor:
        view = coordinate(repository, search, executor, folder / "checkpoints")
    curves = repository.curves(view.search.id, "val_loss")
    trials = view.trials.values()
    return view, {t.number: [curves[t.id][e] for e in sorted(curves[t.id])] for t in trials}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[float]]:
    """All trials, each trained to its end at once."""
    return _trained(tmp_path_factory.mktemp("whole"), resources={"width": 128})[1]


@pytest.mark.parametrize("resources", [{}, {"width": 1}, {"width": 5, "checkpoint_every": 2}])
@pytest.mark.parametrize(
    "pruner", ["median", {"name": "hyperband", "reduction_factor": 2}], ids=str
)
def test_a_trial_learns_the_same_however_often_it_is_packed_anew(
    pruner: Any, resources: dict[str, Any], whole: dict[int, list[float]], tmp_path: Path
) -> None:
    view, curves = _trained(tmp_path, pruner=pruner, resources=resources)
    states = {trial.state for trial in view.trials.values()}
    assert states == {"complete", "pruned"}
    assert curves.keys() == whole.keys()
    for number, curve in curves.items():
        np.testing.assert_allclose(curve, whole[number][: len(curve)], rtol=1e-7)


def test_survivors_of_several_rungs_continue_in_the_next_stage(tmp_path: Path) -> None:
    view, curves = _trained(tmp_path, pruner="median", stages=STAGES)
    fine = view.of_stage(view.stages[1])
    continued = [trial for trial in fine if trial.parent_id is not None]
    complete = [t for t in view.of_stage(view.stages[0]) if t.state == "complete"]
    assert len(continued) == min(5, len(complete)) > 0
    assert len(fine) == 20, "new trials take the place of those that were pruned"
    assert {view.trials[t.parent_id].state for t in continued if t.parent_id} == {"complete"}
    for trial in fine:
        assert len(curves[trial.number]) == trial.epochs - trial.start_epoch
    assert any(trial.state == "complete" for trial in fine)

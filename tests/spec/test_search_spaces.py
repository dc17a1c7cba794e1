"""The search spaces that come with the package, and the plan that they make."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpsearch.spec import load
from hpsearch.spec.document import packaged
from hpsearch.spec.preview import PlanRow, plan_summary
from hpsearch.spec.search import Search
from hpsearch.spec.space import Range
from workers.config import TrainConfig


def test_the_packaged_spaces_are_these() -> None:
    assert list(packaged()) == [
        "cifar10_two_layer",
        "digits",
        "digits_pruned",
        "mnist_cnn",
        "mnist_initializations",
        "mnist_mlp",
        "optimizers_digits",
    ]


@pytest.mark.parametrize("name", packaged())
def test_a_packaged_space_loads_and_survives_json(name: str) -> None:
    search = load(name)
    assert Search.from_json(search.to_json()) == search
    assert TrainConfig(**search.train)


def test_the_demo_has_two_hundred_trials_from_coarse_to_fine_and_confirms() -> None:
    search = load("digits")
    assert [stage.name for stage in search.stages] == ["coarse", "fine", "confirm"]
    assert sum(stage.trials for stage in search.stages) >= 200


def test_cifar10_is_the_well_known_exercise() -> None:
    search = load("cifar10_two_layer")
    config = TrainConfig(**search.train)
    assert (config.hidden_units, config.optimizer, config.batch_size) == ((50,), "momentum", 100)
    assert (config.lr_schedule, config.lr_decay) == ("exponential", 0.9)
    assert search.space.parameters == {
        "learning_rate": Range(kind="log_uniform", low=1e-6, high=1e-3),
        "weight_decay": Range(kind="log_uniform", low=1e-5, high=1e5),
    }
    assert (search.data.validation, search.stages[1].epochs) == (1000, 5)


def test_a_plan_counts_trials_epochs_and_branches() -> None:
    search = load(
        {
            "name": "try",
            "data": {"source": "digits"},
            "space": {"optimizer": {"choice": ["sgd", "adam"]}},
            "stages": [
                {"name": "coarse", "trials": 10, "epochs": 2, "sampler": "qmc"},
                {"name": "fine", "trials": 6, "epochs": 5, "continue": 4},
                {"name": "confirm", "top": 2, "seeds": 3},
            ],
        }
    )
    columns = ("stage", "sampler", "trials", "epochs", "trial_epochs", "branches")
    rows = [
        ("coarse", "qmc", 10, 2, 20, 2),
        ("fine", "random", 6, 5, 2 * 5 + 4 * 3, 2),
        ("confirm", None, 6, 5, 30, 2),
    ]
    assert plan_summary(search) == tuple(
        PlanRow(**dict(zip(columns, row, strict=True))) for row in rows
    )


def test_reading_a_spec_imports_no_heavy_library() -> None:
    code = (
        "import sys, hpsearch.spec; hpsearch.spec.load('digits'); "
        "print([m for m in ('torch', 'ray', 'pandas', 'optuna', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Of which kind a trial is: those of one kind can be stacked, and it is said in words."""

from __future__ import annotations

from typing import Any

import pytest
from coordinated import a_search
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.coordinator.widths import kind
from workers.config import DOMAINS, STACKING, TrainConfig

SEARCH = a_search(resources={})
KIND = "mlp 50, batch 32, float32 on digits"
configs = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["mlp", "cnn", "logistic_regression"]),
        "hidden_units": st.sampled_from([50, (50,), (50, 50), (16, 32), ()]),
        "depth": st.integers(0, 2),
        "channels": st.sampled_from([50, (16, 32), (), (16,)]),
        "kernel_size": st.sampled_from([3, 5]),
        "pooling": st.sampled_from(["max", "none"]),
        "global_average_pooling": st.booleans(),
        "activation": st.sampled_from(["relu", "tanh"]),
        "normalization": st.sampled_from(["none", "batch"]),
        "loss": st.sampled_from([None, "hinge"]),
        "precision": st.sampled_from(["float32", "float64"]),
        "batch_size": st.sampled_from([32, 64]),
        "accumulation_steps": st.sampled_from([1, 2]),
        "sampling": st.sampled_from(["shuffled", "balanced"]),
        "optimizer": st.sampled_from(["sgd", "adam", "gradient_descent"]),
        "lr_schedule": st.sampled_from(["constant", "grow_batch"]),
        "lr_decay": st.sampled_from([0.5, 0.1]),
        "lr_step_size": st.sampled_from([1, 2]),
        "learning_rate": st.sampled_from([0.1, 0.01]),
        "dropout": st.sampled_from([0.0, 0.5]),
    },
)


@given(one=configs, other=configs)
def test_kinds_are_equal_exactly_when_trials_can_be_stacked(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    a, b = TrainConfig.of(one), TrainConfig.of(other)
    assert (kind(SEARCH, a) == kind(SEARCH, b)) == (a.stacking_key() == b.stacking_key())


class _Watched(TrainConfig):
    """Notes in ``READ`` which of its fields are looked at."""

    def __getattribute__(self, name: str) -> Any:
        READ.add(name)
        return super().__getattribute__(name)


READ: set[str] = set()


@given(one=configs)
def test_whether_trials_can_be_stacked_is_told_by_the_fields_that_are_named_for_it(
    one: dict[str, Any],
) -> None:
    watched = _Watched.of(one)
    READ.clear()
    watched.stacking_key()
    assert READ & DOMAINS.keys() <= STACKING


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, KIND),
        ({"hidden_units": (64, 32)}, "mlp 64 32, batch 32, float32 on digits"),
        (
            {"model": "cnn", "kernel_size": 5},
            "cnn 16c 32c 50, batch 32, float32, kernel_size 5 on digits",
        ),
        ({"optimizer": "gradient_descent"}, "mlp 50, full batch, float32 on digits"),
        (
            {"lr_schedule": "grow_batch", "lr_decay": 0.5, "lr_step_size": 2},
            "mlp 50, batch 32 over 0.5 every 2 epochs, float32 on digits",
        ),
    ],
)
def test_a_kind_is_said_in_words(changes: dict[str, Any], said: str) -> None:
    assert kind(SEARCH, TrainConfig(**changes)) == said


@pytest.mark.parametrize(
    "data",
    [
        {"source": "csv", "path": "a.csv"},
        {"source": "csv", "path": "b.csv"},
        {"source": "digits", "preprocess": ["pca"]},
        {"source": "digits", "limit": 100},
    ],
)
def test_other_data_are_another_kind(data: dict[str, Any]) -> None:
    search = SEARCH.model_copy(update={"data": SEARCH.data.model_copy(update=data)})
    assert kind(search, TrainConfig()) != KIND

"""The names that a spec may use, and the scale of initial weights."""

from __future__ import annotations

import pytest
import torch
from training_cases import CPU, config

from workers.config import INITIALIZATIONS as INITIALIZATION_NAMES
from workers.config import MODELS as MODEL_NAMES
from workers.messages import Member
from workers.training.initialization import INITIALIZATIONS
from workers.training.models import ACTIVATIONS, MODELS, build_model
from workers.training.stack import Stack


def test_every_name_that_a_spec_may_use_is_implemented_and_the_other_way_round() -> None:
    from workers.config import ACTIVATIONS as ACTIVATION_NAMES

    assert set(INITIALIZATIONS) == set(INITIALIZATION_NAMES)
    assert set(MODELS) == set(MODEL_NAMES)
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)


def test_initial_weights_have_the_scale_of_torch_nn_init() -> None:
    expected = {
        "kaiming_normal": (2 / 400) ** 0.5,
        "kaiming_uniform": (2 / 400) ** 0.5,
        "xavier_normal": (2 / (400 + 300)) ** 0.5,
        "xavier_uniform": (2 / (400 + 300)) ** 0.5,
        "normal": 0.07,
        "zeros": 0.0,
    }
    for name, std in expected.items():
        c = config(initialization=name, init_scale=0.07, hidden_units=(300,))
        stack = Stack(
            build_model(c, 400, 2), [Member(trial=0, seed=3, config=c)], CPU, torch.float64
        )
        stack.initialize()
        leaves = stack.leaves()
        assert leaves["0.weight"].std().item() == pytest.approx(std, rel=0.02), name
        assert not leaves["0.bias"].any()

"""Initial weights against torch.nn.init with the same generator, and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from model_cases import IMAGES
from torch import Tensor, nn
from training_cases import config

from workers.config import TrainConfig
from workers.config.model import INITIALIZATIONS as INITIALIZATION_NAMES
from workers.training.initialization import INITIALIZATIONS, initialize_row
from workers.training.keyed import generator
from workers.training.models import build_model
from workers.training.models.base import ParameterSpec

SCALE = 0.07
TORCH = {
    "kaiming_normal": lambda w, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g),
    "kaiming_uniform": lambda w, g: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=g),
    "xavier_normal": lambda w, g: nn.init.xavier_normal_(w, generator=g),
    "xavier_uniform": lambda w, g: nn.init.xavier_uniform_(w, generator=g),
    "xavier_fan_in_normal": lambda w, g: nn.init.normal_(
        w, std=1 / math.sqrt(w[0].numel()), generator=g
    ),
    "xavier_fan_in_uniform": lambda w, g: nn.init.uniform_(
        w, -math.sqrt(3 / w[0].numel()), math.sqrt(3 / w[0].numel()), generator=g
    ),
    "normal": lambda w, g: nn.init.normal_(w, 0.0, SCALE, generator=g),
    "uniform": lambda w, g: nn.init.uniform_(w, -SCALE, SCALE, generator=g),
    "orthogonal": lambda w, g: nn.init.orthogonal_(w, generator=g),
    "constant": lambda w, _: nn.init.constant_(w, SCALE),
    "zeros": lambda w, _: nn.init.zeros_(w),
}


def variance(name: str, fan_in: int, fan_out: int) -> float:
    """The closed form of each initialization's variance."""
    return {
        "kaiming": 2 / fan_in,
        "xavier": 2 / (fan_in + fan_out),
        "xavier_fan_in": 1 / fan_in,
        "normal": SCALE**2,
        "uniform": SCALE**2 / 3,
        "orthogonal": 1 / max(fan_in, fan_out),
        "constant": 0.0,
        "zeros": 0.0,
    }[
        name
        if name in ("normal", "uniform")
        else name.removesuffix("_normal").removesuffix("_uniform")
    ]


def drawn(
    settings: TrainConfig, seed: int = 3, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """One row of the model of ``settings`` on small images, by name."""
    parameters = build_model(settings, IMAGES).parameters
    tensors = initialize_row(parameters, settings, generator(seed, "initialization"), dtype)
    assert [tensor.shape for tensor in tensors] == [spec.shape for spec in parameters]
    return {spec.name: tensor for spec, tensor in zip(parameters, tensors, strict=True)}


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    spec = ParameterSpec(name="0.weight", shape=shape, layer=0, kind="weight")
    settings = config(initialization=name, init_scale=SCALE)
    return initialize_row([spec], settings, generator(1), torch.float64)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("name", INITIALIZATION_NAMES)
def test_weights_are_torch_nn_inits_drawn_first_to_last_from_the_rows_generator(
    name: str, model: str, dtype: torch.dtype
) -> None:
    settings = config(
        model=model, initialization=name, init_scale=SCALE, hidden_units=(9, 5), channels=(4, 6)
    )
    draw = generator(3, "initialization")
    for key, tensor in drawn(settings, dtype=dtype).items():
        if key.endswith("weight"):
            expected = TORCH[name](torch.empty(tensor.shape, dtype=dtype), draw)
            assert tensor.dtype == dtype
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(300, 400), (300, 16, 5, 5)], ids=["linear", "convolution"])
@pytest.mark.parametrize("name", INITIALIZATION_NAMES)
def test_weights_have_the_variance_of_the_closed_form(name: str, shape: tuple[int, ...]) -> None:
    pixels = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * pixels, shape[0] * pixels
    if name == "orthogonal":
        fan_out = shape[0]  # it takes a convolution for a matrix [out, in * pixels]
    centred = weight(name, shape) - (SCALE if name == "constant" else 0.0)
    assert centred.square().mean().item() == pytest.approx(
        variance(name, fan_in, fan_out), rel=0.02, abs=1e-30
    )
    assert abs(centred.mean().item()) <= 4 * math.sqrt(variance(name, fan_in, fan_out) / 1e5)


@pytest.mark.parametrize("name", [n for n in INITIALIZATION_NAMES if n.endswith("uniform")])
def test_uniform_weights_reach_their_bound_and_not_past_it(name: str) -> None:
    largest = weight(name, (300, 400)).abs().max().item()
    bound = math.sqrt(3 * variance(name, 400, 300))
    assert 0.999 * bound < largest <= bound


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (20, 6, 3, 3)], ids=str)
def test_orthogonal_rows_or_columns_are_orthonormal(shape: tuple[int, ...]) -> None:
    matrix = weight("orthogonal", shape).flatten(1)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(len(matrix)).double())


def test_biases_gains_shifts_and_slopes_start_where_pytorchs_do() -> None:
    row = drawn(config(bias_init=0.3, normalization="batch", activation="prelu"))
    assert set(row) == {
        *("0.weight", "0.bias", "0.gain", "0.shift", "0.slope"),
        *("1.weight", "1.bias"),
    }
    assert torch.all(row["0.bias"] == 0.3)
    assert torch.all(row["1.bias"] == 0.3)
    assert torch.equal(row["0.gain"], nn.BatchNorm1d(9).weight.double())
    assert torch.equal(row["0.shift"], nn.BatchNorm1d(9).bias.double())
    assert torch.equal(row["0.slope"], nn.PReLU(1).weight.double())


@pytest.mark.parametrize("fields", [{"normalization": "batch"}, {"activation": "prelu"}], ids=str)
def test_weights_do_not_depend_on_what_else_a_layer_has(fields: dict[str, str]) -> None:
    plain, other = drawn(config()), drawn(config(**fields))
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert len(other) > len(plain)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_weight_normalization_starts_at_the_weights_themselves(model: str) -> None:
    plain = drawn(config(model=model, channels=4))
    normalized = drawn(config(model=model, channels=4, normalization="weight"))
    hidden = [name for name in normalized if name.endswith("gain")]
    assert hidden
    for name in hidden:
        v = plain[name.replace("gain", "weight")]
        torch.testing.assert_close(normalized[name], v.flatten(1).square().sum(1).sqrt())


def test_weight_normalization_of_zeros_has_gain_zero() -> None:
    row = drawn(config(initialization="zeros", normalization="weight"))
    assert not row["0.gain"].any()


def test_rows_with_other_keys_get_other_weights() -> None:
    first, again, second = (drawn(config(), seed)["0.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.isclose(first, second).any()


def test_every_name_that_a_spec_may_use_is_an_initialization() -> None:
    assert set(INITIALIZATIONS) == set(INITIALIZATION_NAMES) == set(TORCH)

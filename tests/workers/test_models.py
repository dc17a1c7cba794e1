"""Every model, normalization and activation against ordinary networks of torch.nn, row by row."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from model_cases import IMAGES, TORCH_ACTIVATIONS, Reference, Rows, normal
from torch import Tensor
from training_cases import config

from workers.config import TrainConfig
from workers.config.combination import DataShape, check_combination
from workers.config.model import ACTIVATIONS as ACTIVATION_NAMES
from workers.config.model import MODELS as MODEL_NAMES
from workers.config.model import NORMALIZATIONS
from workers.training.models import MODELS, build_model
from workers.training.models.activations import ACTIVATIONS

COMBINATIONS = [
    ("logistic_regression", "none", "relu"),  # it has no hidden layer: all others are the same
    *(
        (model, normalization, activation)
        for model in ("mlp", "cnn")
        for normalization in NORMALIZATIONS
        for activation in ACTIVATION_NAMES
        if model == "cnn" or normalization != "instance"
    ),
]


def three(**fields: object) -> list[TrainConfig]:
    """Rows that differ in every number that a forward pass reads."""
    fields = {"channels": (4, 6), "hidden_units": (8, 6), **fields}
    configs = [
        config(negative_slope=slope, norm_momentum=momentum, **fields)
        for slope, momentum in ((0.01, 0.1), (-0.3, 0.35), (0.8, 1.0))
    ]
    check_combination(configs[0], IMAGES)
    return configs


def beside(configs: list[TrainConfig], data: DataShape = IMAGES) -> tuple[Rows, list[Reference]]:
    """Rows, and an ordinary network with the weights of each."""
    rows = Rows(build_model(configs[0], data), configs)
    references = [Reference(row_config, data) for row_config in configs]
    for row, reference in enumerate(references):
        reference.load(rows.of(row))
    return rows, references


def assert_step_agrees(rows: Rows, references: list[Reference], x_mBF: Tensor) -> None:
    """Outputs, gradients of every parameter, and running statistics of one minibatch."""
    outputs_MBC = rows.forward(x_mBF)
    pull_MBC = torch.linspace(-1, 2, outputs_MBC.numel(), dtype=torch.float64)
    pull_MBC = pull_MBC.view_as(outputs_MBC).cos()
    outputs_MBC.backward(pull_MBC)
    for row, (reference, x_BF) in enumerate(zip(references, x_mBF.expand(3, -1, -1), strict=True)):
        expected_BC = reference(x_BF)
        expected_BC.backward(pull_MBC[row])
        torch.testing.assert_close(outputs_MBC[row], expected_BC, rtol=1e-9, atol=1e-11)
        for name, twin in reference.named_as_ours().items():
            ours = rows.buffers[name] if name in rows.buffers else rows.weights[name].grad
            theirs = twin if name in rows.buffers else twin.grad
            torch.testing.assert_close(
                ours[row], theirs.view_as(ours[row]), rtol=1e-8, atol=1e-10, msg=name
            )
        reference.zero_grad()
    for leaf in rows.weights.values():
        leaf.grad = None


def assert_agree(configs: list[TrainConfig], num_seen: int, data: DataShape = IMAGES) -> None:
    """Three minibatches of training, then a validation; ``num_seen`` is m, 1 or 3."""
    rows, references = beside(configs, data)
    for step in range(3):
        x_mBF = normal(num_seen, 7, data.num_features, seed=step)
        assert_step_agrees(rows, references, x_mBF)
    outputs_MBC = rows.forward(x_mBF, training=False)
    for row, (reference, x_BF) in enumerate(zip(references, x_mBF.expand(3, -1, -1), strict=True)):
        expected_BC = reference.eval()(x_BF)
        torch.testing.assert_close(outputs_MBC[row], expected_BC, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("num_seen", [1, 3], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize(("model", "normalization", "activation"), COMBINATIONS)
def test_rows_train_as_ordinary_networks_do(
    model: str, normalization: str, activation: str, num_seen: int
) -> None:
    assert_agree(three(model=model, normalization=normalization, activation=activation), num_seen)


@pytest.mark.parametrize(
    "fields",
    [
        {"pooling": "average"},
        {"pooling": "none"},
        {"global_average_pooling": True},
        {"convs_per_block": 3, "normalization": "batch"},
        {"kernel_size": 1},
        {"kernel_size": 5, "channels": 5},
        {"hidden_units": 7, "depth": 0},
        {"hidden_units": 7, "depth": 0, "global_average_pooling": True, "pooling": "none"},
        {"channels": (4, 6, 8), "kernel_size": 1, "normalization": "batch"},  # down to 1x1
        {"channels": ()},
    ],
    ids=str,
)
@pytest.mark.parametrize("num_seen", [1, 3], ids=["shared inputs", "own inputs"])
def test_every_shape_of_a_cnn_is_that_of_torch(fields: dict[str, object], num_seen: int) -> None:
    assert_agree(three(model="cnn", activation="tanh", **fields), num_seen)


@pytest.mark.parametrize("num_seen", [1, 3], ids=["shared inputs", "own inputs"])
def test_images_of_one_channel_train_as_ordinary_networks_do(num_seen: int) -> None:
    data = replace(IMAGES, num_features=72, image=(1, 9, 8))
    assert_agree(three(model="cnn"), num_seen, data)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_dropout_follows_each_activation_and_is_observed_before(
    model: str, activation: str
) -> None:
    rows, references = beside(three(model=model, activation=activation, normalization="batch"))
    observed: dict[int, Tensor] = {}
    masks: dict[int, Tensor] = {}

    def drop(h: Tensor, layer: int) -> Tensor:
        masks[layer] = torch.rand(h.shape, generator=torch.Generator().manual_seed(layer)).double()
        return h * masks[layer]

    def observe(h: Tensor, layer: int) -> None:
        observed[layer] = h.detach().clone()

    x_1BF = normal(1, 7, IMAGES.num_features)
    outputs_MBC = rows.forward(x_1BF, dropout=drop, observe=observe)
    assert sorted(observed) == sorted(masks) == list(range(len(references[0].activations)))
    for row, reference in enumerate(references):

        def masked(h: Tensor, layer: int, row: int = row) -> Tensor:
            shown, mask = observed[layer][row], masks[layer][row]
            if h.dim() == 2:
                shown, mask = shown.t(), mask.t()
            torch.testing.assert_close(shown, h, rtol=1e-9, atol=1e-11)
            return h * mask

        reference.after_layer = masked
        torch.testing.assert_close(outputs_MBC[row], reference(x_1BF[0]), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_logits_lie_with_the_examples_innermost(model: str) -> None:
    rows = Rows(build_model(config(model=model, channels=3), IMAGES), three())
    outputs_MBC = rows.forward(torch.zeros(1, 7, IMAGES.num_features, dtype=torch.float64))
    assert outputs_MBC.shape == (3, 7, 4)
    assert outputs_MBC.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("num_seen", [1, 3], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize("channels", [1, 2])
def test_images_keep_their_channels_innermost_in_memory(channels: int, num_seen: int) -> None:
    data = replace(IMAGES, num_features=channels * 72, image=(channels, 9, 8))
    configs = three(model="cnn", normalization="batch", precision="float32")
    rows = Rows(build_model(configs[0], data), configs, dtype=torch.float32)
    strides: list[int] = []
    rows.forward(
        normal(num_seen, 7, data.num_features).float(),
        observe=lambda h, layer: strides.append(h.stride(2)) if h.dim() == 5 else None,
    )
    assert strides == [1, 1]


def test_parameters_are_named_by_their_layer_first_to_last() -> None:
    fields = {"channels": 3, "hidden_units": 5, "normalization": "batch", "activation": "prelu"}
    model = build_model(config(model="cnn", **fields), IMAGES)
    assert {spec.name: spec.shape for spec in model.parameters} == {
        "0.weight": (3, 2, 3, 3),
        "0.bias": (3,),
        "0.gain": (3,),
        "0.shift": (3,),
        "0.slope": (1,),
        "1.weight": (5, 3 * 4 * 4),
        "1.bias": (5,),
        "1.gain": (5,),
        "1.shift": (5,),
        "1.slope": (1,),
        "2.weight": (4, 5),
        "2.bias": (4,),
    }
    assert all(spec.name == f"{spec.layer}.{spec.kind}" for spec in model.parameters)
    assert {spec.name: spec.shape for spec in model.buffers} == {
        "0.running_mean": (3,),
        "0.running_var": (3,),
        "1.running_mean": (5,),
        "1.running_var": (5,),
    }


@pytest.mark.parametrize(
    ("fields", "widest"),
    [
        ({"model": "mlp", "hidden_units": (9, 500)}, 500),
        ({"model": "logistic_regression", "hidden_units": (500,)}, 144),
        ({"model": "cnn", "channels": (3, 20)}, 20 * 4 * 4),
        ({"model": "cnn", "channels": (3, 8)}, 3 * 9 * 8),
        ({"model": "cnn", "channels": (1, 1)}, 144),
        ({"model": "cnn", "channels": (3, 4), "pooling": "none"}, 4 * 9 * 8),
    ],
)
def test_widest_is_the_largest_layer_of_an_example(fields: dict[str, object], widest: int) -> None:
    assert build_model(config(**fields), IMAGES).widest(torch.device("cpu")) == widest


def test_on_a_gpu_the_patches_of_a_convolution_are_the_widest() -> None:
    model = build_model(config(model="cnn", channels=(3, 20)), IMAGES)
    assert model.widest(torch.device("cuda")) == max(2 * 9 * 9 * 8, 3 * 9 * 4 * 4)


@pytest.mark.parametrize(
    ("model", "normalization"), [(m, n) for m, n, a in COMBINATIONS if a == "relu"]
)
def test_bfloat16_is_float32_rounded(model: str, normalization: str) -> None:
    configs = three(model=model, normalization=normalization, precision="bfloat16")
    rows = Rows(build_model(configs[0], IMAGES), configs, dtype=torch.float32)
    x_1BF = normal(1, 40, IMAGES.num_features).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded_MBC = rows.forward(x_1BF)
    kept = {name: buffer.clone() for name, buffer in rows.buffers.items()}
    assert rounded_MBC.dtype == torch.bfloat16
    exact = Rows(rows.model, configs, dtype=torch.float32)
    exact_MBC = exact.forward(x_1BF)
    assert (rounded_MBC.float() - exact_MBC).norm() < 0.03 * exact_MBC.norm()
    for name, buffer in kept.items():
        assert buffer.dtype == torch.float32
        torch.testing.assert_close(buffer, exact.buffers[name], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("activation", ["leaky_relu", "prelu", "arctan"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_gradients_agree_with_finite_differences(model: str, activation: str) -> None:
    configs = three(model=model, activation=activation, channels=2, hidden_units=3)
    rows = Rows(build_model(configs[0], replace(IMAGES, num_features=8, image=(1, 4, 2))), configs)
    x_1BF = normal(1, 2, 8)

    def outputs(*leaves: Tensor) -> Tensor:
        rows.weights = dict(zip(rows.weights, leaves, strict=True))
        return rows.forward(x_1BF)

    assert torch.autograd.gradcheck(outputs, list(rows.weights.values()))


def test_the_step_passes_gradients_straight_through_its_window() -> None:
    h = torch.tensor([-3.0, -1.01, -1.0, -0.2, 0.0, 0.3, 1.0, 1.01], requires_grad=True)
    outputs = ACTIVATIONS["step"].apply(h, None)
    outputs.backward(torch.arange(1.0, 9.0))
    assert outputs.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert h.grad is not None
    assert h.grad.tolist() == [0, 0, 3, 4, 5, 6, 7, 0]


@pytest.mark.parametrize("name", [name for name in ACTIVATION_NAMES if name != "step"])
def test_dead_outputs_are_those_without_a_gradient(name: str) -> None:
    h = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
    outputs = ACTIVATIONS[name].apply(h * 1, torch.tensor(0.1, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(outputs.sum(), h)
    dead = ACTIVATIONS[name].dead
    marked = dead(outputs) if dead else torch.zeros_like(outputs, dtype=torch.bool)
    assert torch.equal(marked, gradient == 0)


@pytest.mark.parametrize(
    ("name", "flat", "steep"),
    [
        ("tanh", [-2.65, 2.65], [-2.64, 0.0, 2.64]),
        ("sigmoid", [-4.6, 4.6], [-4.59, 0.0, 4.59]),
        ("arctan", [-7.01, 7.01], [-6.99, 0.0, 6.99]),
        ("elu", [-4.61], [-4.6, 0.0, 90.0]),
    ],
)
def test_saturated_outputs_lie_where_the_function_is_flat(
    name: str, flat: list[float], steep: list[float]
) -> None:
    inputs = torch.tensor([*flat, *steep], dtype=torch.float64)
    expected = [True] * len(flat) + [False] * len(steep)
    saturated = ACTIVATIONS[name].saturated
    assert saturated is not None
    assert saturated(ACTIVATIONS[name].apply(inputs, None)).tolist() == expected


def test_only_bounded_activations_saturate_and_only_relu_dies() -> None:
    assert {n for n, a in ACTIVATIONS.items() if a.saturated} == {
        "tanh",
        "sigmoid",
        "arctan",
        "elu",
    }
    assert {n for n, a in ACTIVATIONS.items() if a.dead} == {"relu"}
    assert ACTIVATIONS["arctan"].apply(torch.tensor(math.inf), None).item() == pytest.approx(
        math.pi / 2
    )


def test_every_name_that_a_spec_may_use_is_a_model_or_an_activation() -> None:
    assert set(MODELS) == set(MODEL_NAMES)
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES) == set(TORCH_ACTIVATIONS)

"""What normalization does beside its formula, which test_models.py holds to PyTorch's modules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_cases import IMAGES, Reference, Rows, normal
from torch import Tensor
from training_cases import config

from workers.config.model import NORMALIZATIONS
from workers.training.models import build_model
from workers.training.models.normalization import Normalization

SMALL = replace(IMAGES, num_features=8, image=(1, 4, 2))


def rows_of(model: str, normalization: str, **fields: object) -> Rows:
    """Three rows with running statistics' momenta of 0, 0.25 and 1."""
    fields = {"channels": 4, "hidden_units": 6, "activation": "tanh", **fields}
    configs = [
        config(model=model, normalization=normalization, norm_momentum=momentum, **fields)
        for momentum in (0.0, 0.25, 1.0)
    ]
    return Rows(build_model(configs[0], SMALL), configs)


def kept(rows: Rows) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in rows.buffers.items()}


def test_running_statistics_move_by_each_rows_own_momentum() -> None:
    rows, x_1BF = rows_of("mlp", "batch"), normal(1, 5, 8)
    rows.forward(x_1BF)
    for row, momentum in enumerate((0.0, 0.25, 1.0)):
        h_BH = torch.nn.functional.linear(
            x_1BF[0], rows.weights["0.weight"][row], rows.weights["0.bias"][row]
        )
        mean, var = momentum * h_BH.mean(0), 1 - momentum + momentum * h_BH.var(0)
        torch.testing.assert_close(rows.buffers["0.running_mean"][row], mean)
        torch.testing.assert_close(rows.buffers["0.running_var"][row], var)


def test_a_single_example_is_normalized_by_the_running_statistics_and_leaves_them() -> None:
    rows = rows_of("mlp", "batch")
    rows.forward(normal(1, 5, 8))
    before, x_1BF = kept(rows), normal(1, 1, 8, seed=1)
    torch.testing.assert_close(rows.forward(x_1BF), rows.forward(x_1BF, training=False))
    assert all(torch.equal(rows.buffers[name], before[name]) for name in before)


def test_the_pixels_of_a_single_image_are_a_minibatch_as_in_torch() -> None:
    rows = rows_of("cnn", "batch", hidden_units=3, depth=0)
    reference, x_1BF = Reference(rows.columns.configs[1], SMALL), normal(1, 1, 8)
    reference.load(rows.of(1))
    torch.testing.assert_close(rows.forward(x_1BF)[1], reference(x_1BF[0]))
    assert not torch.equal(rows.buffers["0.running_var"][1], torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_validation_leaves_the_running_statistics(model: str) -> None:
    rows = rows_of(model, "batch")
    rows.forward(normal(1, 5, 8))
    before = kept(rows)
    rows.forward(normal(1, 5, 8, seed=1), training=False)
    assert before
    assert all(torch.equal(rows.buffers[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("model", "normalization"),
    [(m, n) for m in ("mlp", "cnn") for n in NORMALIZATIONS if (m, n) != ("mlp", "instance")],
)
def test_gradients_agree_with_finite_differences(model: str, normalization: str) -> None:
    rows, x_1BF = rows_of(model, normalization), normal(1, 4, 8)

    def outputs(*leaves: Tensor) -> Tensor:
        rows.weights = dict(zip(rows.weights, leaves, strict=True))
        return rows.forward(x_1BF)

    assert torch.autograd.gradcheck(outputs, list(rows.weights.values()))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_weights_of_norm_zero_give_no_output_and_no_gradient_that_is_not_finite(model: str) -> None:
    rows = rows_of(model, "weight")
    with torch.no_grad():
        rows.weights["0.weight"][1] = 0
        rows.weights["0.gain"][1] = 0
        rows.weights["0.weight"][2, 0] = 0  # one unit of another row, whose gain is not 0
    rows.forward(normal(1, 5, 8)).square().sum().backward()
    effective = Normalization(name="weight").weight(rows.given(), 0)
    assert not effective[1].any()
    assert not effective[2, 0].any()
    assert effective[2, 1:].abs().min() > 0
    assert all(leaf.grad.isfinite().all() for leaf in rows.weights.values())


def test_effective_weights_have_the_norm_of_their_gain() -> None:
    rows = rows_of("cnn", "weight")
    norm_MO = Normalization(name="weight").weight(rows.given(), 0).flatten(2).norm(dim=2)
    torch.testing.assert_close(norm_MO, rows.weights["0.gain"].abs())


def test_the_linear_layers_of_a_cnn_go_without_instance_normalization() -> None:
    names = {spec.name for spec in rows_of("cnn", "instance").model.parameters}
    assert {"0.gain", "0.shift"} < names
    assert not {"1.gain", "1.shift"} & names


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("model", ["mlp", "cnn", "logistic_regression"])
def test_the_head_is_not_normalized(model: str, normalization: str) -> None:
    specs = rows_of(model, normalization).model.parameters
    last = max(spec.layer for spec in specs)
    assert [spec.kind for spec in specs if spec.layer == last] == ["weight", "bias"]


@pytest.mark.parametrize("name", ["batch", "layer", "group"])
def test_statistics_of_bfloat16_units_are_those_of_float32(name: str) -> None:
    configs = [config(normalization=name, norm_momentum=1.0, hidden_units=512)] * 3
    rows = Rows(build_model(configs[0], SMALL), configs, dtype=torch.float32)
    h_MHB = (normal(3, 512, 600) + 3).bfloat16()  # sums of 300 are rounded to 2 in bfloat16
    normalization = Normalization(name=name, groups=2)
    ours = normalization.of_units(h_MHB, rows.given(), 0).float()
    statistics = kept(rows)
    exact = normalization.of_units(h_MHB.float(), rows.given(), 0)
    torch.testing.assert_close(ours, exact, rtol=2**-8, atol=2**-8)
    for name, buffer in statistics.items():
        assert buffer.dtype == torch.float32
        torch.testing.assert_close(buffer, rows.buffers[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_statistics_of_bfloat16_images_are_those_of_float32(name: str) -> None:
    configs = [config(model="cnn", normalization=name, norm_momentum=1.0, channels=4)] * 3
    rows = Rows(build_model(configs[0], SMALL), configs, dtype=torch.float32)
    h_BKYX = (normal(3, 12, 24, 24) + 3).bfloat16().to(memory_format=torch.channels_last)
    normalization = Normalization(name=name, groups=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = normalization.of_images(h_BKYX, rows.given(), 0).float()
    statistics = kept(rows)
    exact = normalization.of_images(h_BKYX.float(), rows.given(), 0)
    torch.testing.assert_close(ours, exact, rtol=2**-8, atol=2**-8)
    for name, buffer in statistics.items():
        assert buffer.dtype == torch.float32
        torch.testing.assert_close(buffer, rows.buffers[name], rtol=1e-5, atol=1e-5)

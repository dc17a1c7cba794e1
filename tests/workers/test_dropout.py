"""Dropout of inputs and hidden units: moments, keys, and rows that do not disturb one another."""

from __future__ import annotations

import pytest
import torch
from training_cases import CPU, config

from workers.training.columns import Columns
from workers.training.dropout import drop_inputs, hidden_dropout


def _columns(field: str, rates: list[float], seeds: list[int] | None = None) -> Columns:
    configs = [config(**{field: rate}) for rate in rates]
    return Columns(configs, seeds or list(range(len(rates))), [0] * len(rates), CPU, torch.float64)


@pytest.mark.parametrize("shape", [(50, 300), (30, 5, 10, 10)], ids=["linear", "convolution"])
def test_units_are_kept_with_their_chance_and_scaled_to_the_same_mean(
    shape: tuple[int, ...],
) -> None:
    rates = [0.0, 0.2, 0.7]
    drop = hidden_dropout(_columns("dropout", rates), 0, 0)
    dropped = drop(torch.ones(3, *shape, dtype=torch.float64), 0)
    assert torch.equal(dropped[0], torch.ones(shape, dtype=torch.float64))
    for row, rate in enumerate(rates[1:], 1):
        kept = dropped[row] != 0
        assert kept.double().mean().item() == pytest.approx(1 - rate, abs=0.02)
        assert torch.allclose(dropped[row][kept], torch.tensor(1 / (1 - rate)).double())


def test_masks_differ_by_trial_epoch_step_and_layer_and_by_nothing_else() -> None:
    columns, ones = _columns("dropout", [0.5, 0.5]), torch.ones(2, 20, 30, dtype=torch.float64)
    first = hidden_dropout(columns, 1, 2)(ones, 3)
    assert torch.equal(first, hidden_dropout(columns, 1, 2)(ones, 3))
    assert not torch.equal(first[0], first[1])
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(first, hidden_dropout(columns, *other[:2])(ones, other[2]))


def test_a_row_is_dropped_alone_as_in_company() -> None:
    ones = torch.ones(3, 4, 5, dtype=torch.float64)
    together = hidden_dropout(_columns("dropout", [0.1, 0.5, 0.9], [7, 8, 9]), 0, 0)(ones, 0)
    alone = hidden_dropout(_columns("dropout", [0.5], [8]), 0, 0)(ones[:1], 0)
    assert torch.equal(together[1], alone[0])


def test_inputs_get_a_row_axis_only_where_some_are_dropped() -> None:
    x_1BF = torch.ones(1, 40, 50, dtype=torch.float64)
    assert drop_inputs(x_1BF, _columns("input_dropout", [0.0, 0.0]), 0, 0) is x_1BF
    x_MBF = drop_inputs(x_1BF, _columns("input_dropout", [0.0, 0.5]), 0, 0)
    assert torch.equal(x_MBF[0], x_1BF[0])
    assert (x_MBF[1] == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert x_MBF[1].mean().item() == pytest.approx(1, abs=0.1)


def test_no_row_with_dropout_is_no_dropout() -> None:
    assert hidden_dropout(_columns("dropout", [0.0, 0.0]), 0, 0) is None


def test_a_layers_gradients_are_dropped_as_its_units() -> None:
    drop = hidden_dropout(_columns("dropout", [0.2, 0.7]), 0, 0)
    h = torch.rand(2, 6, 5, dtype=torch.float64, requires_grad=True)
    outputs, gradient = drop(h, 1), torch.rand(2, 6, 5, dtype=torch.float64)
    (expected,) = torch.autograd.grad(outputs, h, gradient)
    assert torch.equal(drop(gradient, 1), expected)

"""Scores by row against sklearn.metrics, over minibatches of different sizes."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor
from training_cases import CPU, of_outputs

from workers.metrics import CLASS_OBJECTIVES, REGRESSION_OBJECTIVES
from workers.training.scores import Scores

M = 3


def _scored(
    outputs_MNC: Tensor,
    y_mN: Tensor,
    loss_MN: Tensor,
    *,
    chunk: int = 7,
    detailed: bool = True,
    scale_M: Tensor | None = None,
) -> dict[str, Tensor]:
    scores = Scores(len(outputs_MNC), of_outputs(outputs_MNC.shape[2]), CPU, detailed)
    parts = zip(*(torch.split(t, chunk, 1) for t in (outputs_MNC, y_mN, loss_MN)), strict=True)
    for outputs_MBC, y_mB, loss_MB in parts:
        outputs_MBC = outputs_MBC.transpose(1, 2).contiguous().transpose(1, 2)  # as a model's lie
        scores.add(outputs_MBC, y_mB, loss_MB)
    return scores.metrics("val", scale_M)


def _balanced_accuracy(y: np.ndarray, guess: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur, and where only one does
        return float(sklearn_metrics.balanced_accuracy_score(y, guess))


@settings(max_examples=40, deadline=None)
@given(
    num_classes=st.integers(2, 6),
    num_examples=st.integers(1, 40),
    own_targets=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_scores_of_classes_equal_sklearns(
    num_classes: int, num_examples: int, own_targets: bool, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(M, num_examples, num_classes, generator=draw)
    shown = int(torch.randint(1, num_classes + 1, (), generator=draw))  # some classes are absent
    y_mN = torch.randint(0, shown, (M if own_targets else 1, num_examples), generator=draw)
    loss_MN = torch.rand(M, num_examples, generator=draw)
    found = _scored(outputs, y_mN, loss_MN)
    y_MN, guess_MN = y_mN.expand(M, -1).numpy(), outputs.argmax(2).numpy()
    for row in range(M):
        y, guess = y_MN[row], guess_MN[row]
        expected = {
            "val_loss": loss_MN[row].double().mean().item(),
            "val_accuracy": sklearn_metrics.accuracy_score(y, guess),
            "val_balanced_accuracy": _balanced_accuracy(y, guess),
            "val_f1": sklearn_metrics.f1_score(y, guess, average="macro", zero_division=0),
        }
        assert {name: value[row].item() for name, value in found.items()} == pytest.approx(
            expected, rel=1e-12
        )


def test_a_class_that_is_guessed_but_never_there_counts_0_in_f1_as_sklearn_has_it() -> None:
    outputs = torch.eye(3)[[0, 1, 2, 0]][None]
    found = _scored(outputs, torch.tensor([[0, 1, 1, 0]]), torch.zeros(1, 4))
    assert found["val_f1"].item() == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["val_balanced_accuracy"].item() == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("own_targets", [False, True])
def test_scores_of_numbers_equal_sklearns(own_targets: bool) -> None:
    draw = torch.Generator().manual_seed(2)
    y_mN = torch.randn(M if own_targets else 1, 50, generator=draw) * 3 + 1
    outputs = y_mN.expand(M, -1) + torch.randn(M, 50, generator=draw)
    loss_MN = (outputs - y_mN).square()
    scale_M = torch.tensor([1.0, 20.0, 0.5], dtype=torch.float64)
    found = _scored(outputs[..., None], y_mN, loss_MN, scale_M=scale_M)
    for row in range(M):
        y, x = y_mN.expand(M, -1)[row].double().numpy(), outputs[row].double().numpy()
        expected = {
            "val_loss": loss_MN[row].double().mean().item(),
            "val_r2": sklearn_metrics.r2_score(y, x),
            "val_mae": sklearn_metrics.mean_absolute_error(y, x) * scale_M[row].item(),
        }
        assert {name: value[row].item() for name, value in found.items()} == pytest.approx(
            expected, rel=1e-10
        )


def test_r2_of_equal_targets_is_1_or_0_as_sklearn_has_it() -> None:
    y_mN = torch.full((1, 9), 0.1)
    outputs = torch.stack([y_mN[0], y_mN[0] + 1.0])[..., None]
    found = _scored(outputs, y_mN, torch.zeros(2, 9), chunk=4)["val_r2"].tolist()
    expected = [sklearn_metrics.r2_score(y_mN[0], x) for x in outputs[..., 0]]
    assert found == expected == [1.0, 0.0]


def test_r2_keeps_its_digits_when_targets_lie_far_from_zero() -> None:
    draw = torch.Generator().manual_seed(4)
    y = torch.randn(1, 200, generator=draw, dtype=torch.float64) + 1e7
    x = y + 0.5 * torch.randn(1, 200, generator=draw, dtype=torch.float64)
    found = _scored(x[..., None], y, torch.zeros(1, 200))["val_r2"].item()
    assert found == pytest.approx(sklearn_metrics.r2_score(y[0], x[0]), rel=1e-8)


def test_losses_may_come_as_sums_of_minibatches() -> None:
    draw = torch.Generator().manual_seed(6)
    loss_MN = torch.rand(M, 20, generator=draw)
    scores = Scores(M, of_outputs(4), CPU, detailed=False)
    for loss_MB in torch.split(loss_MN, 6, 1):
        size = loss_MB.shape[1]
        scores.add(torch.zeros(M, size, 4), torch.zeros(1, size, dtype=torch.int64), loss_MB.sum(1))
    torch.testing.assert_close(scores.metrics("train")["train_loss"], loss_MN.double().mean(1))


def test_the_names_are_those_of_the_objectives() -> None:
    one = torch.zeros(1, 4, dtype=torch.int64)
    for num_outputs, objectives in ((3, CLASS_OBJECTIVES), (1, REGRESSION_OBJECTIVES)):
        outputs, y = torch.zeros(1, 4, num_outputs), one if num_outputs > 1 else one.float()
        for prefix, detailed in (("val", True), ("train", False)):
            scores = Scores(1, of_outputs(num_outputs), CPU, detailed)
            scores.add(outputs, y, torch.zeros(1, 4))
            expected = {name for name in objectives if name.startswith(prefix)}
            found = scores.metrics(prefix)
            assert set(found) == expected
            assert all(value.dtype == torch.float64 for value in found.values())


def test_a_loss_that_is_not_finite_stays_in_its_row() -> None:
    loss = torch.tensor([[1.0, math.nan], [1.0, 3.0], [math.inf, 1.0]])
    found = _scored(torch.zeros(M, 2, 2), torch.zeros(1, 2, dtype=torch.int64), loss)["val_loss"]
    assert math.isnan(found[0].item())
    assert found[1:].tolist() == [2.0, math.inf]


def test_many_classes_take_memory_in_proportion_to_their_number() -> None:
    num_classes = 100_000  # a confusion matrix would hold 10^10 counts
    y_mN = torch.arange(5)[None]
    outputs = torch.nn.functional.one_hot(y_mN, num_classes).float()
    outputs[0, 0] = 0.0
    outputs[0, 0, 99_999] = 1.0
    found = _scored(outputs, y_mN, torch.zeros(1, 5))
    assert found["val_balanced_accuracy"].item() == pytest.approx(4 / 5)
    assert found["val_f1"].item() == pytest.approx(4 / 6)

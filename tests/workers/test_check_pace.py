"""Rates and cost, checked: the range test, memory, and the seconds of an epoch."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from check_cases import a_subject, look
from training_cases import device_data, line

from workers.training.checks import CHECKS
from workers.training.checks.cost import counted_row_bytes, seconds_per_epoch
from workers.training.checks.rate_range import suggest


def test_the_range_test_finds_the_stability_edge_of_a_quadratic() -> None:
    # Least squares without hidden layer: gradient descent is stable below 2 / the largest
    # eigenvalue of the Hessian 2 (x, 1)'(x, 1) / N.
    dataset = line()
    subject = a_subject(
        device_data(dataset), model="logistic_regression", optimizer="gradient_descent"
    )
    x = np.c_[dataset.x_train, np.ones(len(dataset.x_train))].astype(np.float64)
    edge = 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()
    found = CHECKS["rate_range"].look(subject)
    assert edge / 3 < found.evidence["high"] < 3 * edge
    assert found.evidence["low"] < edge / 10


def test_a_range_outside_of_the_suggestion_warns() -> None:
    assert look("rate_range", rates=(1e-3, 1.0)).verdict == "pass"
    below = look("rate_range", rates=(1e-7, 1e-5))
    assert below.verdict == "warn"
    assert "lies below" in below.text
    above = look("rate_range", rates=(10.0, 1e3))
    assert above.verdict == "warn"
    assert "lies above" in above.text


def test_a_fixed_rate_is_held_against_the_suggestion() -> None:
    assert look("rate_range", rates=None, learning_rate=0.1).verdict == "pass"
    assert look("rate_range", rates=None, learning_rate=1e-6).verdict == "warn"


def test_the_suggestion_is_for_the_rate_before_it_is_scaled_to_the_batch() -> None:
    plain = look("rate_range").evidence
    scaled = look("rate_range", lr_scaling="linear", reference_batch_size=160).evidence
    assert scaled["high"] == pytest.approx(10 * plain["high"])


def test_a_loss_that_never_falls_warns() -> None:
    assert (
        look(
            "rate_range", activation="identity", frozen_layers=1, lr_multipliers=(1.0, 0.0)
        ).verdict
        == "warn"
    )
    assert look("rate_range", optimizer="rprop").verdict == "skip"


def test_a_suggestion_reaches_from_the_fall_to_half_a_decade_below_the_blow_up() -> None:
    rates = np.geomspace(1e-6, 1e2, 100)
    losses = np.where(rates < 1e-3, 2.0, np.where(rates < 1.0, 1.0, 50.0))
    low, high = suggest(rates, losses)  # type: ignore[misc]
    assert low == pytest.approx(1e-3, rel=0.3)
    assert high == pytest.approx(1 / math.sqrt(10), rel=0.3)
    noise = np.random.default_rng(0).normal(size=100)
    assert suggest(rates, 2 + 0.1 * noise) is None


# Cost


def test_memory_is_counted_by_weights_state_and_activations() -> None:
    num_weights, per_example = 12 * 9 + 9 + 9 * 4 + 4, 9 + 4
    for optimizer, slots in (("sgd", 0), ("momentum", 1), ("adam", 2), ("amsgrad", 3)):
        counted = counted_row_bytes(a_subject(optimizer=optimizer))
        assert counted == 8 * ((3 + slots) * num_weights + 16 * 3 * per_example)


def test_a_group_that_does_not_fit_is_made_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = importlib.import_module("workers.training.checks.cost")
    bytes_per_trial = counted_row_bytes(a_subject())
    for trials, verdict in ((3, "warn"), (0, "fail"), (4, "pass")):
        free = (cost.EVALUATION_BYTES + (trials + 0.5) * bytes_per_trial) / cost.USABLE
        monkeypatch.setattr(cost, "free_bytes", lambda device, free=free: int(free))
        found = look("cost")
        assert (found.verdict, found.evidence["largest"]) == (verdict, trials)
    assert "seconds_per_epoch" in found.evidence


def test_the_seconds_of_an_epoch_are_those_of_all_its_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cost = importlib.import_module("workers.training.checks.cost")
    # Of one of 70 / 16 steps, the first disturbed; of 10 of 40 validation examples, the second.
    seconds = iter([9.0, 0.1, 0.02, 7.0])
    monkeypatch.setattr(cost, "_timed", lambda what, device: next(seconds))
    monkeypatch.setattr(cost, "SLOW_S", 0.0)
    monkeypatch.setattr(cost, "FEW_EXAMPLES", 10)
    found = seconds_per_epoch(a_subject(), width=2)
    assert found == pytest.approx(0.1 * 70 / 16 + 0.02 * 4)


def test_quick_steps_are_timed_more_often_and_the_least_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cost = importlib.import_module("workers.training.checks.cost")
    once = [3e-2, 2e-2, 1e-2, 5e-1, 4e-2]
    seconds = iter(once * 4)  # updates and validation, of one step and of sixteen
    monkeypatch.setattr(cost, "_timed", lambda what, device: next(seconds))
    # Sixteen steps of 16 are all 70 examples, and more.
    assert seconds_per_epoch(a_subject(), width=2) == pytest.approx(1e-2 + 1e-2)
    assert next(seconds, None) is None

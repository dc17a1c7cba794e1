"""Each check both ways: a healthy network passes it, and one made to fail it does."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import blobs, config, device_data, folded, images, line

from workers.config import TrainConfig
from workers.config.learning import OPTIMIZERS
from workers.config.model import ACTIVATIONS, NORMALIZATIONS
from workers.data import Dataset
from workers.messages import CheckPlan, CheckResult, Probe
from workers.training.checks import CHECKS, check
from workers.training.checks.cost import counted_row_bytes, seconds_per_epoch
from workers.training.checks.fit_twenty import twenty
from workers.training.checks.rate_range import suggest
from workers.training.checks.subject import Subject
from workers.training.feed import DeviceData
from workers.training.models import activations

RATES = (1e-3, 1.0)


def _plan(*configs: TrainConfig, rates: tuple[float, float] | None = RATES) -> CheckPlan:
    probes = tuple(Probe(label=f"p{i}", config=c, rates=rates) for i, c in enumerate(configs))
    return CheckPlan(probes=probes, seed=0, order_seed=1, width=4)


def _subject(data: DeviceData | None = None, **fields: object) -> Subject:
    rates = fields.pop("rates", RATES)
    plan = _plan(config(**fields), rates=rates)  # type: ignore[arg-type]
    return Subject(probe=plan.probes[0], plan=plan, data=data or device_data())


def _look(name: str, data: DeviceData | None = None, **fields: object) -> CheckResult:
    return CHECKS[name].look(_subject(data, **fields))


def _with_inputs(change: Callable[[np.ndarray], np.ndarray]) -> DeviceData:
    dataset = blobs()
    return device_data(replace(dataset, x_train=change(dataset.x_train).astype(np.float32)))


def _numbers(value: Any) -> list[float]:
    value = list(value.values()) if isinstance(value, dict) else value
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(item)]
    return [] if value is None else [value]


@pytest.mark.parametrize("dataset", [blobs, images, line, folded])
def test_a_healthy_network_fails_no_check(dataset: Callable[[], Dataset]) -> None:
    found = list(check(_plan(config()), device_data(dataset())))
    assert {result.verdict for result in found} <= {"pass", "skip"}, found
    names = {"targets" if name == "classes" else name for name in (r.name for r in found)}
    assert names == set(CHECKS)


def test_evidence_is_plain_and_finite() -> None:
    wild = config(initialization="normal", init_scale=1e3)
    for result in check(_plan(config(), wild), device_data()):
        for value in result.evidence.values():
            numbers = _numbers(value)
            assert all(type(number) in (int, float) for number in numbers), result
            assert all(math.isfinite(number) for number in numbers), result


def test_checks_are_the_same_each_time_but_for_the_seconds() -> None:
    plan = _plan(config(), config(optimizer="adam", weight_decay=1e-3, dropout=0.3))
    once, again = ([r for r in check(plan, device_data()) if r.name != "cost"] for _ in range(2))
    assert once == again


def test_checks_leave_data_and_random_generators_alone() -> None:
    data = device_data()
    before, state = data.train.x_RF.clone(), torch.get_rng_state()
    list(check(_plan(config()), data))
    assert torch.equal(before, data.train.x_RF)
    assert torch.equal(state, torch.get_rng_state())
    assert len(data.train) == 70


def test_probes_with_one_network_share_what_does_not_depend_on_the_optimizer() -> None:
    found = list(check(_plan(config(), config(optimizer="adam"), config(depth=2)), device_data()))
    shared = [r.probe for r in found if r.name == "gradients"]
    own = [r.probe for r in found if r.name == "rate_range"]
    assert shared == ["p0", "p2"] or shared == ["p0"]  # hidden_units is a list: depth is no shape
    assert own == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("fields", "verdict", "sentence"),
    [({"model": "cnn"}, "warn", "needs images"), ({"precision": "tf32"}, "fail", "needs a GPU")],
)
def test_a_configuration_that_cannot_be_trained_is_looked_at_no_further(
    fields: dict[str, object], verdict: str, sentence: str
) -> None:
    if torch.cuda.is_available() and "precision" in fields:
        pytest.skip("this GPU may have it")
    found = list(check(_plan(config(**fields)), device_data()))
    assert [(r.name, r.verdict) for r in found] == [("configuration", verdict)]
    assert sentence in found[0].text


EVERY_PART: list[dict[str, object]] = [
    *({"optimizer": name} for name in OPTIMIZERS),
    {"precision": "bfloat16"},
    {"precision": "float32", "normalization": "batch", "batch_size": 8},
    {"lr_schedule": "grow_batch", "lr_decay": 0.5, "lr_step_size": 1},
    {"lr_schedule": "one_cycle", "warmup_epochs": 2.0, "lr_scaling": "sqrt"},
    {"accumulation_steps": 3, "ema_decay": 0.9, "gradient_noise": 0.01, "max_norm": 2.0},
    {"sampling": "hard"},
    {"sampling": "balanced", "class_weights": "balanced", "label_smoothing": 0.1, "mixup": 0.2},
    {"dropout": 0.5, "input_dropout": 0.2, "input_noise": 0.1, "corruption": 0.1},
    {"frozen_layers": 1, "gradient_clip_norm": 1.0, "lr_multipliers": (0.5, 1.0)},
    {"patience": 1, "warm_start": "digits/3", "batch_size": 70},
]


@pytest.mark.parametrize("fields", EVERY_PART, ids=str)
def test_whatever_is_on_can_be_checked(fields: dict[str, object]) -> None:
    found = list(check(_plan(config(**fields)), device_data()))
    assert {result.name for result in found} == {*CHECKS, "classes"} - {"targets"}
    assert not [r.text for r in found if r.verdict == "fail"]


def test_every_check_is_in_the_docs_with_its_limits() -> None:
    text = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert set(rows) == {*CHECKS, "classes", "configuration"}
    module = {name: importlib.import_module(f"workers.training.checks.{name}") for name in FILES}
    assert f"at most {module['inputs'].UNEVEN:g} times the median" in rows["inputs"]
    assert f"at most {module['inputs'].UNBALANCED:g} times the smallest" in rows["classes"]
    assert f"more than {module['initial'].FAR:g} times guessing" in rows["initial_loss"]
    assert f"{module['gradients'].PER_TENSOR} parameters" in rows["gradients"]
    assert f"a factor of {module['signals'].DECADE:g}" in rows["signal"]
    assert f"{module['fit_twenty'].MOST_UPDATES} updates" in rows["fit_twenty"]
    assert f"{module['rate_range'].NUM_STEPS} steps" in rows["rate_range"]


FILES = ("inputs", "initial", "gradients", "signals", "fit_twenty", "rate_range")


# Inputs and targets


@pytest.mark.parametrize(
    ("change", "verdict", "sentence"),
    [
        (lambda x: x, "pass", "finite"),
        (lambda x: x + 3, "warn", "zero_center"),
        (lambda x: x + 1000, "fail", "zero_center"),
        (lambda x: x * np.r_[30, np.ones(11)], "warn", "standardize"),
        (lambda x: x * np.r_[1e5, np.ones(11)], "fail", "standardize"),
        (lambda x: np.where(np.arange(70)[:, None] == 3, np.nan, x), "fail", "1 of 70 examples"),
        (lambda x: x * 0, "fail", "constant"),
    ],
)
def test_inputs_are_finite_centred_and_on_one_scale(
    change: Callable[[np.ndarray], np.ndarray], verdict: str, sentence: str
) -> None:
    found = _look("inputs", _with_inputs(change))
    assert found.verdict == verdict
    assert sentence in found.text


def test_unbalanced_classes_are_told_with_their_shares() -> None:
    dataset = blobs()
    few = np.r_[np.flatnonzero(dataset.y_train == 0), np.flatnonzero(dataset.y_train == 1)[:4]]
    unbalanced = replace(dataset, x_train=dataset.x_train[few], y_train=dataset.y_train[few])
    found = _look("targets", device_data(replace(unbalanced, class_names=("0", "1"))))
    assert (found.verdict, found.evidence["counts"]) == ("warn", [18, 4])
    assert "4.5 times" in found.text
    found = _look("targets", device_data(unbalanced))
    assert "2 classes have no training example" in found.text
    assert _look("targets").verdict == "pass"


def test_a_target_far_from_the_others_is_told() -> None:
    dataset = line(num_train=400)
    wild = dataset.y_train.copy()
    wild[7] += 1e5
    found = _look("targets", device_data(replace(dataset, y_train=wild)))
    assert found.verdict == "warn"
    assert "huber" in found.text
    assert _look("targets", device_data(dataset)).verdict == "pass"


# The loss at the start


def test_the_initial_loss_of_zeros_is_that_of_guessing() -> None:
    found = _look("initial_loss", initialization="zeros")
    assert found.verdict == "pass"
    assert found.evidence["loss"] == pytest.approx(math.log(4))
    assert "(ln 4)" in found.text


@pytest.mark.parametrize(("scale", "verdict"), [(0.01, "pass"), (1.0, "warn"), (10.0, "fail")])
def test_a_large_initialization_shows_in_the_initial_loss(scale: float, verdict: str) -> None:
    found = _look("initial_loss", initialization="normal", init_scale=scale)
    assert found.verdict == verdict


def test_regularization_has_no_part_in_the_initial_loss() -> None:
    plain = _look("initial_loss")
    much = _look("initial_loss", dropout=0.9, weight_decay=1e5, label_smoothing=0.9, mixup=1.0)
    assert plain.evidence == much.evidence


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "mse", "huber"])
def test_every_loss_starts_near_guessing(loss: str) -> None:
    dataset = line() if loss in ("mse", "huber") else blobs()
    assert _look("initial_loss", device_data(dataset), loss=loss).verdict == "pass"


def test_the_loss_rises_by_half_the_decay_times_the_squared_weights() -> None:
    fields = {"initialization": "constant", "init_scale": 0.5, "weight_decay": 0.1, "l1": 0.01}
    found = _look("regularized_loss", **fields)
    num_weights = 12 * 9 + 9 * 4
    assert found.verdict == "pass"
    assert found.evidence["penalty"] == pytest.approx(num_weights * (0.1 / 2 * 0.25 + 0.01 * 0.5))


def test_a_penalty_that_adds_nothing_fails_and_one_that_outweighs_the_data_warns() -> None:
    assert _look("regularized_loss", initialization="zeros", weight_decay=1.0).verdict == "fail"
    assert _look("regularized_loss", weight_decay=1e3).verdict == "warn"


def test_without_a_penalty_in_the_loss_there_is_nothing_to_check() -> None:
    assert _look("regularized_loss").verdict == "skip"
    apart = _look("regularized_loss", optimizer="adamw", weight_decay=0.1)
    assert apart.verdict == "skip"
    assert "beside the loss" in apart.text


# Twenty examples


@pytest.mark.parametrize("dataset", [blobs, images, line, folded])
def test_twenty_examples_are_learned_by_heart(dataset: Callable[[], Dataset]) -> None:
    found = _look("fit_twenty", device_data(dataset()), dropout=0.5, weight_decay=1.0)
    assert found.verdict == "pass"
    assert max(found.evidence["updates"]) > 0
    assert found.evidence["examples"] == 20


def test_a_dead_start_learns_nothing_by_heart() -> None:
    found = _look("fit_twenty", hidden_units=(9, 9, 9), initialization="zeros")
    assert found.verdict == "fail"
    assert found.evidence["updates"] == [0] * 16
    assert "cannot be learned by heart" in found.text


def test_a_network_without_capacity_learns_nothing_by_heart() -> None:
    found = _look("fit_twenty", device_data(blobs(num_features=1)))
    assert found.verdict == "fail"
    assert 0.5 <= max(found.evidence["best"]) < 1.0
    assert f"the best accuracy is {max(found.evidence['best']):.3g}" in found.text


def test_the_twenty_are_of_as_many_classes_as_can_be() -> None:
    subject = _subject(device_data(folded()))
    targets_kN = subject.data.targets_on_host_kN
    places_kN = twenty(targets_kN, subject)
    assert places_kN.shape == (3, 20)
    for targets_N, places_N in zip(targets_kN, places_kN, strict=True):
        assert targets_N[places_N].bincount().tolist() == [5, 5, 5, 5]
        assert len(places_N.unique()) == 20


# Gradients


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("model", ["mlp", "cnn", "logistic_regression"])
def test_gradients_agree_for_every_model_and_normalization(model: str, normalization: str) -> None:
    if normalization == "instance" and model != "cnn":
        pytest.skip("instance normalization is for images")
    fields = {"hidden_units": (6,), "channels": (4,), "dropout": 0.5, "mixup": 0.4}
    data = device_data(images())
    found = _look("gradients", data, model=model, normalization=normalization, **fields)
    assert found.verdict == "pass", found.text
    assert found.evidence["worst"] < 1e-5
    assert found.evidence["checked"] > 20


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "step"])
def test_gradients_agree_for_every_activation(activation: str) -> None:
    assert _look("gradients", activation=activation).verdict == "pass"


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "mse", "huber"])
def test_gradients_agree_for_every_loss(loss: str) -> None:
    dataset = line() if loss in ("mse", "huber") else blobs()
    fields = {"label_smoothing": 0.2, "class_weights": "balanced"}
    assert _look("gradients", device_data(dataset), loss=loss, **fields).verdict == "pass"


def test_kinks_at_the_zeros_of_the_inputs_are_no_wrong_gradients() -> None:
    # Biases start at 0, so that a convolution of an empty border lies on relu's kink everywhere.
    dataset = images()
    bordered = dataset.x_train.copy()
    bordered[..., :3], bordered[..., -3:] = 0.0, 0.0
    data = device_data(replace(dataset, x_train=bordered))
    found = _look("gradients", data, model="cnn", channels=(8,), hidden_units=(6,))
    assert found.verdict == "pass", found.text


def test_steps_across_kinks_are_no_wrong_gradients() -> None:
    # A bias moves all pixels of its channel, of which some cross relu's kink with the larger step.
    data = device_data(images(side=32, channels=1))
    found = _look("gradients", data, model="cnn", channels=(16, 16))
    assert (found.verdict, found.evidence["outliers"]) == ("pass", 0)


class _WrongTanh(torch.autograd.Function):
    """tanh with a slope that is a tenth too large."""

    @staticmethod
    def forward(ctx: Any, h: torch.Tensor) -> torch.Tensor:
        y = h.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return 1.1 * gradient * (1 - y.square())


def test_a_wrong_backward_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = activations.Activation(apply=lambda h, _: _WrongTanh.apply(h))
    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", wrong)
    found = _look("gradients", activation="tanh")
    assert found.verdict == "fail"
    assert found.evidence["worst"] == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert "in 0." in found.text


def test_a_step_is_said_not_to_be_checkable() -> None:
    assert _look("gradients", activation="step").verdict == "skip"


# Signals


def test_ten_sigmoid_layers_lose_the_signal() -> None:
    found = _look("signal", hidden_units=(20,) * 10, activation="sigmoid")
    assert found.verdict == "fail"
    assert found.evidence["forward"] < 1e-3
    assert found.evidence["backward"] < 1e-3
    assert "vanish" in found.text


@pytest.mark.parametrize(("scale", "word"), [(1.0, "explode"), (1e-3, "vanish")])
def test_a_wrong_scale_shows_in_ten_relu_layers(scale: float, word: str) -> None:
    fields = {"hidden_units": (50,) * 10, "initialization": "normal", "init_scale": scale}
    found = _look("signal", **fields)
    assert found.verdict == "fail"
    assert f"activations {word}" in found.text
    assert f"gradients {word}" in found.text


def test_kaiming_keeps_the_signal_through_ten_relu_layers() -> None:
    assert _look("signal", hidden_units=(100,) * 10).verdict == "pass"


def test_identity_layers_pass_on_what_their_weights_do() -> None:
    # A product of orthogonal square matrices changes no norm; the gradient's neither.
    fields = {"hidden_units": (12,) * 5, "activation": "identity", "initialization": "orthogonal"}
    found = _look("signal", **fields)
    assert found.evidence["forward"] == pytest.approx(1, rel=1e-9)
    assert found.evidence["backward"] == pytest.approx(1, rel=1e-9)


def test_zeros_and_no_hidden_layers_are_told_apart() -> None:
    assert _look("signal", initialization="zeros").verdict == "fail"
    assert _look("signal", model="logistic_regression").verdict == "skip"


# Rates


def test_the_range_test_finds_the_stability_edge_of_a_quadratic() -> None:
    # Least squares without hidden layer: gradient descent is stable below 2 / the largest
    # eigenvalue of the Hessian 2 (x, 1)'(x, 1) / N.
    dataset = line()
    subject = _subject(
        device_data(dataset), model="logistic_regression", optimizer="gradient_descent"
    )
    x = np.c_[dataset.x_train, np.ones(len(dataset.x_train))].astype(np.float64)
    edge = 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()
    found = CHECKS["rate_range"].look(subject)
    assert edge / 3 < found.evidence["high"] < 3 * edge
    assert found.evidence["low"] < edge / 10


def test_a_range_outside_of_the_suggestion_warns() -> None:
    assert _look("rate_range", rates=(1e-3, 1.0)).verdict == "pass"
    below = _look("rate_range", rates=(1e-7, 1e-5))
    assert below.verdict == "warn"
    assert "lies below" in below.text
    above = _look("rate_range", rates=(10.0, 1e3))
    assert above.verdict == "warn"
    assert "lies above" in above.text


def test_a_fixed_rate_is_held_against_the_suggestion() -> None:
    assert _look("rate_range", rates=None, learning_rate=0.1).verdict == "pass"
    assert _look("rate_range", rates=None, learning_rate=1e-6).verdict == "warn"


def test_the_suggestion_is_for_the_rate_before_it_is_scaled_to_the_batch() -> None:
    plain = _look("rate_range").evidence
    scaled = _look("rate_range", lr_scaling="linear", reference_batch_size=160).evidence
    assert scaled["high"] == pytest.approx(10 * plain["high"])


def test_a_loss_that_never_falls_warns() -> None:
    assert (
        _look(
            "rate_range", activation="identity", frozen_layers=1, lr_multipliers=(1.0, 0.0)
        ).verdict
        == "warn"
    )
    assert _look("rate_range", optimizer="rprop").verdict == "skip"


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
        counted = counted_row_bytes(_subject(optimizer=optimizer))
        assert counted == 8 * ((3 + slots) * num_weights + 16 * 3 * per_example)


def test_a_group_that_does_not_fit_is_made_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = importlib.import_module("workers.training.checks.cost")
    bytes_per_trial = counted_row_bytes(_subject())
    for trials, verdict in ((3, "warn"), (0, "fail"), (4, "pass")):
        free = (cost.EVALUATION_BYTES + (trials + 0.5) * bytes_per_trial) / cost.USABLE
        monkeypatch.setattr(cost, "free_bytes", lambda device, free=free: int(free))
        found = _look("cost")
        assert (found.verdict, found.evidence["largest"]) == (verdict, trials)
    assert "seconds_per_epoch" in found.evidence


def test_the_seconds_of_an_epoch_are_those_of_all_its_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cost = importlib.import_module("workers.training.checks.cost")
    seconds = iter([0.1, 0.02])  # of one of 70 / 16 steps; of 10 of 40 validation examples
    monkeypatch.setattr(cost, "_timed", lambda what, device: next(seconds))
    monkeypatch.setattr(cost, "SLOW_S", 0.0)
    monkeypatch.setattr(cost, "FEW_EXAMPLES", 10)
    found = seconds_per_epoch(_subject(), width=2)
    assert found == pytest.approx(0.1 * 70 / 16 + 0.02 * 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dataset", [blobs, images, line, folded])
def test_checks_on_a_gpu_see_what_they_see_on_the_cpu(dataset: Callable[[], Dataset]) -> None:
    plan = _plan(config(), config(optimizer="adam", dropout=0.2))
    on_gpu, on_cpu = (
        list(check(plan, DeviceData(dataset(), torch.device(name)))) for name in ("cuda", "cpu")
    )
    assert [(r.name, r.verdict) for r in on_gpu] == [(r.name, r.verdict) for r in on_cpu]
    for one, other in zip(on_gpu, on_cpu, strict=True):
        if one.name in ("initial_loss", "regularized_loss"):
            assert one.evidence["loss"] == pytest.approx(other.evidence["loss"], rel=1e-7)
    assert all(r.evidence["bytes_per_trial"] > 0 for r in on_gpu if r.name == "cost")

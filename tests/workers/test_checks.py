"""The checks together: what a healthy network passes, whatever is on, evidence, docs, devices."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from check_cases import a_plan
from training_cases import blobs, config, device_data, folded, images, line

from workers.config.learning import OPTIMIZERS
from workers.data import Dataset
from workers.training.checks import CHECKS, check
from workers.training.feed import DeviceData


def _numbers(value: Any) -> list[float]:
    value = list(value.values()) if isinstance(value, dict) else value
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(item)]
    return [] if value is None else [value]


@pytest.mark.parametrize("dataset", [blobs, images, line, folded])
def test_a_healthy_network_fails_no_check(dataset: Callable[[], Dataset]) -> None:
    found = list(check(a_plan(config()), device_data(dataset())))
    assert {result.verdict for result in found} <= {"pass", "skip"}, found
    names = {"targets" if name == "classes" else name for name in (r.name for r in found)}
    assert names == set(CHECKS)


def test_evidence_is_plain_and_finite() -> None:
    wild = config(initialization="normal", init_scale=1e3)
    for result in check(a_plan(config(), wild), device_data()):
        for value in result.evidence.values():
            numbers = _numbers(value)
            assert all(type(number) in (int, float) for number in numbers), result
            assert all(math.isfinite(number) for number in numbers), result


def test_checks_are_the_same_each_time_but_for_the_seconds() -> None:
    plan = a_plan(config(), config(optimizer="adam", weight_decay=1e-3, dropout=0.3))
    once, again = ([r for r in check(plan, device_data()) if r.name != "cost"] for _ in range(2))
    assert once == again


def test_checks_leave_data_and_random_generators_alone() -> None:
    data = device_data()
    before, state = data.train.x_RF.clone(), torch.get_rng_state()
    list(check(a_plan(config()), data))
    assert torch.equal(before, data.train.x_RF)
    assert torch.equal(state, torch.get_rng_state())
    assert len(data.train) == 70


def test_probes_with_one_network_share_what_does_not_depend_on_the_optimizer() -> None:
    found = list(
        check(
            a_plan(config(), config(optimizer="adam"), config(hidden_units=(9, 9))), device_data()
        )
    )
    shared = [r.probe for r in found if r.name == "gradients"]
    own = [r.probe for r in found if r.name == "rate_range"]
    assert shared == ["p0", "p2"]
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
    found = list(check(a_plan(config(**fields)), device_data()))
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
    found = list(check(a_plan(config(**fields)), device_data()))
    assert {result.name for result in found} == {*CHECKS, "classes"} - {"targets"}
    assert not [r.text for r in found if r.verdict == "fail"]


FILES = ("inputs", "initial", "gradients", "signals", "fit_twenty", "rate_range")


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dataset", [blobs, images, line, folded])
def test_checks_on_a_gpu_see_what_they_see_on_the_cpu(dataset: Callable[[], Dataset]) -> None:
    plan = a_plan(config(), config(optimizer="adam", dropout=0.2))
    on_gpu, on_cpu = (
        list(check(plan, DeviceData(dataset(), torch.device(name)))) for name in ("cuda", "cpu")
    )
    assert [(r.name, r.verdict) for r in on_gpu] == [(r.name, r.verdict) for r in on_cpu]
    for one, other in zip(on_gpu, on_cpu, strict=True):
        if "loss" in other.evidence:
            assert one.evidence["loss"] == pytest.approx(other.evidence["loss"], rel=1e-7)
    assert all(r.evidence["bytes_per_trial"] > 0 for r in on_gpu if r.name == "cost")


def test_a_network_that_no_memory_holds_fails_without_taking_the_others_along() -> None:
    huge = config(hidden_units=(10**6, 10**6))
    found = list(check(a_plan(huge, config()), device_data()))
    failed = [result for result in found if result.verdict == "fail"]
    assert [(result.probe, result.name) for result in failed] == [("p0", "configuration")]
    assert "PyTorch cannot do it" in failed[0].text
    assert {result.name for result in found if result.verdict == "pass"} >= {"signal", "cost"}

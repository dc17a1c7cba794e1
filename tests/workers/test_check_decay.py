"""Decay and pace, checked: what one update takes off the weights, and what fits the stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from check_cases import RATES, a_subject
from training_cases import config

from workers.messages import CheckResult
from workers.training.checks import CHECKS
from workers.training.checks.decay import edge

SGD: dict[str, Callable[[float], dict[str, Any]]] = {
    "sgd": lambda mu: {},
    "momentum": lambda mu: {"momentum": mu},
    "averaged_momentum": lambda mu: {"momentum": mu, "dampening": mu},
    "nesterov": lambda mu: {"momentum": mu, "nesterov": True},
}


def _after(product: float, **options: Any) -> float:
    """The size of a weight of 1 after 1000 updates of torch.optim by decay alone."""
    w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    kind = torch.optim.AdamW if options.pop("adamw", False) else torch.optim.SGD
    optimizer = kind([w], lr=0.5, weight_decay=2 * product, **options)
    for _ in range(1000):
        w.grad = torch.zeros_like(w)
        optimizer.step()
    return abs(w.item())


@pytest.mark.parametrize("mu", [0.3, 0.9])
@pytest.mark.parametrize("name", SGD)
def test_the_edge_is_where_decay_alone_makes_weights_of_torch_grow(name: str, mu: float) -> None:
    found = edge(config(optimizer=name, momentum=mu))
    assert found is not None
    assert _after(0.98 * found, **SGD[name](mu)) < 1e-3
    assert _after(1.02 * found, **SGD[name](mu)) > 1e3


def test_dampening_moves_the_edge_of_momentum_and_decoupled_decay_has_that_of_sgd() -> None:
    found = edge(config(optimizer="momentum", momentum=0.8, dampening=0.5))
    assert found is not None
    assert _after(0.98 * found, momentum=0.8, dampening=0.5) < 1e-3
    assert _after(1.02 * found, momentum=0.8, dampening=0.5) > 1e3
    assert edge(config(optimizer="lion")) == edge(config(optimizer="adamw")) == 2.0
    assert _after(1.98, adamw=True) < 1e-3
    assert _after(2.02, adamw=True) > 1e3
    assert edge(config(optimizer="adam")) is None


def _decay(decays: tuple[float, float] | None = None, **fields: Any) -> CheckResult:
    subject = a_subject(**fields)
    return CHECKS["decay"].look(replace(subject, probe=replace(subject.probe, decays=decays)))


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "sgd"])
@pytest.mark.parametrize(
    ("weight_decay", "verdict"), [(1e-2, "pass"), (0.9, "pass"), (1.5, "warn"), (50.0, "fail")]
)
def test_a_decay_that_takes_much_off_at_each_update_is_told(
    optimizer: str, weight_decay: float, verdict: str
) -> None:
    found = _decay(
        optimizer=optimizer, learning_rate=0.1, rates=(1e-2, 0.1), weight_decay=weight_decay
    )
    assert found.verdict == verdict
    assert found.evidence["highest"] == pytest.approx(0.1 * weight_decay)


def test_a_corner_beyond_the_edge_warns_and_the_middle_beyond_it_fails() -> None:
    middle = {"optimizer": "adamw", "learning_rate": 1e-2, "weight_decay": 1.0}
    found = _decay(decays=(1e-2, 1e2), rates=RATES, **middle)
    assert (found.verdict, found.evidence["highest"]) == ("warn", 100.0)
    assert "trials above 2 diverge" in found.text
    assert _decay(decays=(1e-4, 1e-2), rates=RATES, **middle | {"weight_decay": 1e-3}).verdict == (
        "pass"
    )
    found = _decay(rates=None, **middle | {"weight_decay": 500.0})
    assert found.verdict == "fail"
    assert "lower weight_decay" in found.text


def test_the_rate_that_decays_is_the_scaled_one_of_the_quickest_layer() -> None:
    fields = {"optimizer": "sgd", "learning_rate": 0.1, "rates": None, "weight_decay": 0.1}
    scaled = {"lr_scaling": "linear", "reference_batch_size": 4, "batch_size": 16}
    found = _decay(**fields, **scaled, lr_multipliers=(0.5, 3.0))
    assert found.evidence["highest"] == pytest.approx(0.1 * 0.1 * 4 * 3)


def test_without_decay_or_an_edge_there_is_nothing_to_check() -> None:
    assert _decay().verdict == "skip"
    assert _decay(optimizer="adam", weight_decay=1e3).verdict == "skip"
    first_of_choice_is_0 = _decay(decays=(0.0, 9.0), optimizer="adamw")
    assert first_of_choice_is_0.verdict == "warn"


# Pace

STAGES = (("coarse", 4), ("fine", 20))


def _pace(stages: tuple[tuple[str, int], ...] = STAGES, **fields: Any) -> CheckResult:
    subject = a_subject(**fields)
    return CHECKS["pace"].look(replace(subject, plan=replace(subject.plan, stages=stages)))


# 70 examples in batches of 16 make 5 updates an epoch: 20 in stage coarse.
@pytest.mark.parametrize(
    ("fields", "verdict", "sentence"),
    [
        ({}, "pass", "4 to 20 epochs"),
        ({"warmup_epochs": 4.0}, "pass", "fit"),
        ({"warmup_epochs": 4.5}, "warn", "warmup_epochs 4.5 is more than the 4 epochs"),
        ({"ema_decay": 0.95}, "pass", "fit"),
        ({"ema_decay": 0.96}, "warn", "25 updates, more than the 20 of stage coarse"),
        ({"ema_decay": 0.9, "accumulation_steps": 3}, "warn", "10 updates, more than the 8"),
        ({"lr_schedule": "step", "lr_milestones": (5, 19)}, "pass", "fit"),
        ({"lr_schedule": "step", "lr_milestones": (5, 20, 30)}, "warn", "lr_milestones 20, 30"),
        ({"lr_milestones": (30,)}, "pass", "fit"),
        ({"lr_schedule": "cosine", "schedule_epochs": 20}, "pass", "fit"),
        ({"lr_schedule": "cosine", "schedule_epochs": 19}, "warn", "less than the 20 epochs"),
        ({"lr_schedule": "cyclic", "schedule_epochs": 5}, "pass", "fit"),
        (
            {"lr_schedule": "cosine", "schedule_epochs": 5, "lr_cycle_epochs": 5},
            "pass",
            "fit",
        ),
    ],
    ids=str,
)
def test_a_pace_that_does_not_fit_the_stages_is_told(
    fields: dict[str, Any], verdict: str, sentence: str
) -> None:
    found = _pace(**fields)
    assert found.verdict == verdict, found.text
    assert sentence in found.text


def test_all_that_does_not_fit_is_told_at_once_and_without_stages_nothing() -> None:
    found = _pace((("only", 3),), warmup_epochs=5.0, lr_schedule="one_cycle", schedule_epochs=2)
    assert "warmup_epochs 5" in found.text
    assert "schedule_epochs 2" in found.text
    assert _pace(()).verdict == "skip"

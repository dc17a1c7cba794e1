"""Every schedule against torch.optim.lr_scheduler stepped by minibatch, or a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler
from training_cases import config

from workers.config import TrainConfig
from workers.config.pace import SCHEDULES as SCHEDULE_NAMES
from workers.training.schedules import SCHEDULES, rates

EPOCHS, STEPS, NUM_TRAIN, BASE = 30, 7, 100, 0.3
Make = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def _ours(c: TrainConfig, epochs: int = EPOCHS) -> np.ndarray:
    """The rate at each step of ``epochs`` epochs, the trial being EPOCHS long."""
    tables = [rates([c], epoch, STEPS, NUM_TRAIN, EPOCHS) for epoch in range(epochs)]
    return np.concatenate([np.broadcast_to(table, (STEPS, 1))[:, 0] for table in tables])


def _torchs(make: Make, epochs: int = EPOCHS, *, by_step: bool) -> np.ndarray:
    """The same by a scheduler of torch that is stepped after each step, or after each epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=BASE)
    scheduler, found = make(optimizer), []
    for step in range(1, epochs * STEPS + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (by_step or step % STEPS == 0) and step < epochs * STEPS:
            scheduler.step()
    return np.array(found)


ALL = EPOCHS * STEPS
BY_EPOCH = [
    ({"lr_schedule": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    (
        {"lr_schedule": "step", "lr_decay": 0.8, "lr_step_size": 7},
        lambda o: lr_scheduler.StepLR(o, 7, gamma=0.8),
    ),
    (
        {"lr_schedule": "step", "lr_decay": 0.2, "lr_milestones": (4, 9, 25)},
        lambda o: lr_scheduler.MultiStepLR(o, [4, 9, 25], gamma=0.2),
    ),
    (
        {"lr_schedule": "step", "lr_decay": 0.2, "lr_milestones": 11},
        lambda o: lr_scheduler.MultiStepLR(o, [11], gamma=0.2),
    ),
    (
        {"lr_schedule": "halving", "lr_step_size": 4},
        lambda o: lr_scheduler.StepLR(o, 4, gamma=0.5),
    ),
    (
        {"lr_schedule": "exponential", "lr_decay": 0.8},
        lambda o: lr_scheduler.ExponentialLR(o, gamma=0.8),
    ),
]
BY_STEP = [
    (
        {"lr_schedule": "polynomial", "lr_power": 2.5},
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=ALL, power=2.5),
    ),
    (
        {"lr_schedule": "polynomial", "lr_power": 1.0, "schedule_epochs": 20},
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=20 * STEPS, power=1.0),
    ),
    (
        {"lr_schedule": "cosine", "lr_min": 0.05},
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=ALL, eta_min=0.05 * BASE),
    ),
    ({"lr_schedule": "one_cycle"}, lambda o: _one_cycle(o, ALL)),
    (
        {"lr_schedule": "cyclic", "lr_min": 0.1, "lr_cycle_epochs": 4},
        lambda o: lr_scheduler.CyclicLR(
            o, base_lr=0.1 * BASE, max_lr=BASE, step_size_up=2 * STEPS, cycle_momentum=False
        ),
    ),
    (
        {"lr_schedule": "constant", "warmup_epochs": 3.0},
        lambda o: lr_scheduler.LinearLR(o, start_factor=1 / (3 * STEPS), total_iters=3 * STEPS - 1),
    ),
    (
        {"lr_schedule": "cosine", "warmup_epochs": 2.0},
        lambda o: lr_scheduler.ChainedScheduler(
            [
                lr_scheduler.CosineAnnealingLR(o, T_max=ALL),
                lr_scheduler.LinearLR(o, 1 / (2 * STEPS), total_iters=2 * STEPS - 1),
            ]
        ),
    ),
]


def _one_cycle(optimizer: torch.optim.Optimizer, num_steps: int) -> lr_scheduler.LRScheduler:
    return lr_scheduler.OneCycleLR(
        optimizer, max_lr=BASE, total_steps=num_steps, cycle_momentum=False
    )


@pytest.mark.parametrize(("settings", "make"), BY_EPOCH)
def test_a_schedule_by_epoch_equals_torchs(settings: dict[str, object], make: Make) -> None:
    c = config(learning_rate=BASE, **settings)
    np.testing.assert_allclose(_ours(c), _torchs(make, by_step=False), rtol=1e-10)
    assert rates([c], 3, STEPS, NUM_TRAIN, EPOCHS).shape == (1, 1)


@pytest.mark.parametrize(("settings", "make"), BY_STEP)
def test_a_schedule_by_step_equals_torchs(settings: dict[str, object], make: Make) -> None:
    c = config(learning_rate=BASE, **settings)
    np.testing.assert_allclose(_ours(c), _torchs(make, by_step=True), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("first", [1, 3, 5])
def test_cosine_restarts_equal_torchs(first: int, factor: int) -> None:
    c = config(
        learning_rate=BASE,
        lr_schedule="cosine",
        lr_cycle_epochs=first,
        lr_cycle_factor=factor,
        lr_min=0.1,
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=BASE)
    optimizer.step()
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=first, T_mult=factor, eta_min=0.1 * BASE
    )
    expected = []
    for epoch in range(100):
        for step in range(STEPS):
            scheduler.step(epoch + step / STEPS)
            expected.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(_ours(c, epochs=100), expected, rtol=1e-9)


def test_cosine_cycles_begin_anew_at_their_first_step_however_late() -> None:
    c = config(lr_schedule="cosine", learning_rate=1.0, lr_cycle_epochs=3, lr_cycle_factor=3)
    for cycle in range(1, 12):
        start = 3 * (3**cycle - 1) // 2
        before = rates([c], start - 1, STEPS, NUM_TRAIN, EPOCHS)
        after = rates([c], start, STEPS, NUM_TRAIN, EPOCHS)
        assert before[-1, 0] < 0.2, cycle
        assert after[0, 0] == pytest.approx(1.0, rel=1e-9), cycle


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({"lr_schedule": "natural_exponential", "lr_decay": 0.2}, lambda t: math.exp(-0.2 * t)),
        ({"lr_schedule": "inverse_time", "lr_decay": 0.2}, lambda t: 1 / (1 + 0.2 * t)),
        ({"lr_schedule": "power", "lr_power": 0.7}, lambda t: (t + 1) ** -0.7),
        ({"lr_schedule": "plateau"}, lambda t: 1.0),
        ({"lr_schedule": "grow_batch"}, lambda t: 1.0),
    ],
)
def test_a_schedule_without_a_twin_equals_its_closed_form(
    settings: dict[str, object], factor: Callable[[int], float]
) -> None:
    c = config(learning_rate=BASE, **settings)
    expected = np.repeat([BASE * factor(epoch) for epoch in range(EPOCHS)], STEPS)
    np.testing.assert_allclose(_ours(c), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["polynomial", "cosine", "one_cycle"])
def test_a_schedule_with_an_end_stays_there_when_the_trial_goes_on(name: str) -> None:
    c = config(lr_schedule=name, learning_rate=1.0, lr_min=1 / 25e4, schedule_epochs=10)
    late = _ours(c)[10 * STEPS :]
    np.testing.assert_allclose(late, 1 / 25e4, rtol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("name", [*SCHEDULE_NAMES])
def test_the_shortest_trials_have_finite_rates_up_to_the_base_rate(
    name: str, num_steps: int
) -> None:
    c = config(lr_schedule=name, learning_rate=2.0, warmup_epochs=0.5)
    table = rates([c], 0, num_steps, NUM_TRAIN, 1)
    assert np.isfinite(table).all()
    assert (table >= 0).all()
    assert (table <= 2.0).all()


def test_polynomial_ends_at_its_share_of_the_rate() -> None:
    c = config(lr_schedule="polynomial", learning_rate=2.0, lr_min=0.25, lr_power=2.0)
    t = np.arange(ALL) / ALL
    np.testing.assert_allclose(_ours(c), 2.0 * (0.25 + 0.75 * (1 - t) ** 2), rtol=1e-12)


def test_a_warm_up_may_end_within_an_epoch() -> None:
    c = config(learning_rate=1.0, warmup_epochs=10 / STEPS)
    expected = [min(1.0, (step + 1) / 10) for step in range(2 * STEPS)]
    np.testing.assert_allclose(_ours(c, epochs=2), expected, rtol=1e-12)
    assert rates([c], 2, STEPS, NUM_TRAIN, EPOCHS).shape == (1, 1)


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({"lr_scaling": "none"}, 1.0),
        ({"lr_scaling": "linear"}, 16 / 64),
        ({"lr_scaling": "sqrt"}, 0.5),
        ({"lr_scaling": "linear", "accumulation_steps": 3}, 48 / 64),
        ({"lr_scaling": "linear", "accumulation_steps": 30}, NUM_TRAIN / 64),
        ({"lr_scaling": "linear", "batch_size": 500}, NUM_TRAIN / 64),
        ({"lr_scaling": "linear", "optimizer": "gradient_descent"}, NUM_TRAIN / 64),
        ({"lr_scaling": "linear", "lr_schedule": "grow_batch", "lr_decay": 0.5}, 16 / 64),
    ],
)
def test_the_rate_is_scaled_by_the_examples_of_an_update(
    settings: dict[str, object], factor: float
) -> None:
    c = config(**{"learning_rate": BASE, "reference_batch_size": 64, "batch_size": 16, **settings})
    for epoch in (0, 15):
        assert rates([c], epoch, STEPS, NUM_TRAIN, EPOCHS).item() == pytest.approx(BASE * factor)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(SCHEDULE_NAMES), min_size=1, max_size=6),
    warm_ups=st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=6, max_size=6),
    epoch=st.integers(0, 40),
)
def test_a_row_has_the_rates_that_it_has_alone(
    names: list[str], warm_ups: list[float], epoch: int
) -> None:
    configs = [
        config(lr_schedule=name, learning_rate=0.1 * (row + 1), warmup_epochs=warm_ups[row])
        for row, name in enumerate(names)
    ]
    together = rates(configs, epoch, STEPS, NUM_TRAIN, EPOCHS)
    for row, c in enumerate(configs):
        alone = rates([c], epoch, STEPS, NUM_TRAIN, EPOCHS)
        np.testing.assert_array_equal(together[:, row], np.broadcast_to(alone[:, 0], len(together)))


def test_a_rate_beyond_all_numbers_is_infinite_and_harms_no_other() -> None:
    wild = config(lr_schedule="exponential", lr_decay=1e300)
    table = rates([wild, config(learning_rate=BASE)], 5, STEPS, NUM_TRAIN, EPOCHS)
    assert table.tolist() == [[math.inf, BASE]]


def test_every_name_of_a_schedule_is_implemented_with_a_formula_and_fields_that_exist() -> None:
    assert set(SCHEDULES) == set(SCHEDULE_NAMES)
    names = {field.name for field in fields(TrainConfig)}
    for name, schedule in SCHEDULES.items():
        assert set(schedule.reads) <= names, name
        assert schedule.factor.__doc__, name


@pytest.mark.parametrize("name", SCHEDULE_NAMES)
def test_a_schedule_moves_with_the_fields_that_it_reads_and_with_no_other(name: str) -> None:
    given = {"lr_schedule": name, "learning_rate": BASE, "lr_cycle_epochs": None}
    other = {
        "lr_decay": 0.37,
        "lr_step_size": 3,
        "lr_milestones": (2, 5),
        "lr_power": 2.2,
        "lr_min": 0.3,
        "lr_cycle_epochs": 4,
        "schedule_epochs": 17,
    }
    plain = _ours(config(**given))
    moved = {
        key
        for key, value in other.items()
        if (_ours(config(**{**given, key: value})) != plain).any()
    }
    reads = set(SCHEDULES[name].reads) & set(other)
    assert moved == (set() if name in ("plateau", "grow_batch") else reads)

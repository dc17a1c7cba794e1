"""The table of who reads a field, held against the parts' own tables and against training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from training_cases import CPU, config, group, images, line

from workers.config import DOMAINS, TrainConfig
from workers.config.combination import ConfigError, check_combination
from workers.config.learning import CLASS_LOSSES
from workers.config.reads import READS
from workers.data import Dataset
from workers.messages import CheckpointSlice, TrialGroup
from workers.training.feed import DeviceData
from workers.training.loop import train
from workers.training.optimizers import OPTIMIZERS
from workers.training.schedules import SCHEDULES

UNITS, EPOCHS = 4, 5


def read_under(governor: str, name: str) -> set[str]:
    """The fields that the table says are read with one value of a governing field."""
    return {
        field
        for field, reading in READS.items()
        if any(governor in way and way[governor].admits(name) for way in reading)
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_reads_the_fields_that_the_table_gives_it(name: str) -> None:
    minibatches = {"batch_size", "accumulation_steps"}  # the feed's, which the optimizer decides
    assert read_under("optimizer", name) - minibatches == set(OPTIMIZERS[name].reads)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_reads_the_fields_that_the_table_gives_it(name: str) -> None:
    assert read_under("lr_schedule", name) == set(SCHEDULES[name].reads)


def test_the_table_names_fields_and_values_that_exist() -> None:
    assert set(READS) <= set(DOMAINS)
    for field, reading in READS.items():
        for governor, values in ((g, v) for way in reading for g, v in way.items()):
            names = DOMAINS[governor].names
            said = values.words.replace(" or ", ", ").split(", ")
            assert not names or set(said) <= {*names, "not gradient_descent"}, (field, governor)
            assert any(map(values.admits, candidates(governor))), (field, governor)


# Against training: two values of a field make a difference exactly where the table says so.

PAIRS: dict[str, tuple[Any, Any]] = {
    "hidden_units": (UNITS, 6),
    "activation": ("relu", "tanh"),
    "normalization": ("none", "layer"),
    "dropout": (0.0, 0.5),
    "depth": (1, 2),
    "channels": ((4,), (6,)),
    "kernel_size": (1, 3),
    "convs_per_block": (1, 2),
    "pooling": ("max", "average"),
    "global_average_pooling": (False, True),
    "negative_slope": (0.01, 0.5),
    "norm_groups": (1, 2),
    "norm_momentum": (0.1, 0.9),
    "initialization": ("kaiming_normal", "xavier_uniform"),
    "bias_init": (0.0, 0.3),
    "init_scale": (0.1, 0.3),
    "warm_start_layers": ("all", "all_but_head"),
    "label_smoothing": (0.0, 0.3),
    "hinge_margin": (1.0, 2.0),
    "huber_delta": (1.0, 0.2),
    "class_weights": ("none", "balanced"),
    "decay_biases": (False, True),
    "min_delta": (0.0, 10.0),
    "momentum": (0.9, 0.5),
    "dampening": (0.0, 0.5),
    "beta1": (0.9, 0.5),
    "beta2": (None, 0.5),
    "eps": (None, 1e-2),
    "alpha": (0.99, 0.5),
    "centered": (False, True),
    "rmsprop_momentum": (0.0, 0.5),
    "rho": (0.9, 0.5),
    "momentum_decay": (4e-3, 1.0),
    "eta_minus": (0.5, 0.2),
    "eta_plus": (1.2, 2.0),
    "gain_step": (0.05, 0.5),
    "swats_tolerance": (1e-9, 1e3),
    "batch_size": (8, 16),
    "accumulation_steps": (1, 3),
    "reference_batch_size": (256, 8),
    "lr_decay": (0.5, 0.8),
    "lr_step_size": (1, 2),
    "lr_milestones": ((1,), (2,)),
    "lr_power": (1.0, 2.0),
    "lr_min": (0.0, 0.9),
    "lr_cycle_epochs": (2, 3),
    "lr_cycle_factor": (1, 2),
    "lr_patience": (1, 3),
    "schedule_epochs": (6, 9),
    "hard_emphasis": (1.0, 3.0),
}
# Values of the fields that govern others but have no names to try in turn.
TRIED: dict[str, tuple[Any, ...]] = {
    "hidden_units": (UNITS, (UNITS,)),
    "warm_start": (None, "net.safetensors"),
    "weight_decay": (0.0, 0.1),
    "l1": (0.0, 0.1),
    "patience": (None, 1),
    "momentum": (0.0, 0.9),
    "lr_milestones": ((), (2,)),
    "lr_cycle_epochs": (None, 2),
}
# With a min_delta that nothing reaches, every plateau is one.
BASE = {"hidden_units": UNITS, "channels": (4,), "batch_size": 8, "lr_decay": 0.5}
BASE |= {"lr_step_size": 1, "lr_patience": 1, "min_delta": 10.0, "norm_groups": 1}


def candidates(governor: str) -> tuple[Any, ...]:
    return TRIED.get(governor) or DOMAINS[governor].names


def under_all_governors(field: str) -> Iterator[TrainConfig]:
    """A configuration for each combination of what governs ``field``."""
    governors = sorted({governor for way in READS[field] for governor in way})
    # A regression, for what starts a head alike for all classes changes no loss of classes.
    base = {**BASE, "loss": "mse"} if "warm_start" in governors else BASE
    for values in product(*map(candidates, governors)):
        yield config(**{**base, **dict(zip(governors, values, strict=True))})


def is_read(field: str, one: TrainConfig) -> bool:
    return any(
        all(values.admits(getattr(one, governor)) for governor, values in way.items())
        for way in READS[field]
    )


def data_for(one: TrainConfig) -> Dataset:
    """Images of classes of unequal size, or numbers for the losses of a regression."""
    return line() if one.loss not in (None, *CLASS_LOSSES) else images(num_train=58)


@pytest.fixture
def weights(tmp_path: Path) -> CheckpointSlice:
    """A network for the regression to start warm from."""
    shape = line().shape()
    widths = ((UNITS, shape.num_features), (shape.num_outputs, UNITS))
    tensors = {f"{layer}.weight": torch.full(w, 0.3) for layer, w in enumerate(widths)}
    tensors |= {f"{layer}.bias": torch.zeros(w[0]) for layer, w in enumerate(widths)}
    save_file(tensors, tmp_path / "net.safetensors")
    return CheckpointSlice(file=str(tmp_path / "net.safetensors"), row=0)


def curves(configs: list[TrainConfig], weights: CheckpointSlice) -> list[list[float]]:
    """The losses of each trial, epoch by epoch; what can be stacked is."""
    stacks: dict[Any, list[int]] = defaultdict(list)
    for i, one in enumerate(configs):
        stacks[one.stacking_key()].append(i)
    found: list[list[float]] = [[] for _ in configs]
    for places in stacks.values():
        members = [configs[i] for i in places]
        data = DeviceData(data_for(members[0]), CPU)
        for report in train(_alike(members, weights), data):
            assert not report.refused
            assert not report.diverged
            for row, trial in enumerate(report.trials):
                losses = (report.metrics[name][row] for name in ("train_loss", "val_loss"))
                found[places[trial]] += losses
    return found


def _alike(configs: list[TrainConfig], weights: CheckpointSlice) -> TrialGroup:
    """A group whose members have one seed, so that only their configurations part them."""
    one = group(*configs, epochs=EPOCHS)
    members = tuple(
        replace(m, seed=5, warm_start=weights if m.config.warm_start else None) for m in one.members
    )
    return replace(one, members=members)


def can_be_trained(one: TrainConfig) -> bool:
    try:
        check_combination(one, data_for(one).shape())
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("field", READS)
def test_a_field_makes_a_difference_exactly_where_the_table_says(
    field: str, weights: CheckpointSlice
) -> None:
    pairs = [
        (replace(one, **{field: PAIRS[field][0]}), replace(one, **{field: PAIRS[field][1]}))
        for one in under_all_governors(field)
    ]
    pairs = [pair for pair in pairs if all(map(can_be_trained, pair))]
    found = curves([one for pair in pairs for one in pair], weights)
    told = [is_read(field, one) for one, _ in pairs]
    seen = [
        first != pytest.approx(second, rel=1e-9)
        for first, second in zip(found[::2], found[1::2], strict=True)
    ]
    assert seen == told
    assert any(told)

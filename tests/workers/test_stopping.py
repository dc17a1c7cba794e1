"""Early stopping against a plain loop in Keras's words, plateaus against ReduceLROnPlateau."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_cases import CPU, config

from workers.training import stopping
from workers.training.columns import Columns

EPOCHS = 60


def _columns(*rows: dict[str, object]) -> Columns:
    configs = [config(**row) for row in rows]
    return Columns(configs, range(len(rows)), [0] * len(rows), CPU, torch.float32)


def _noisy(seed: int, mode: str) -> list[float]:
    """A metric that improves ever more slowly, with noise: it stalls often and late."""
    noise = torch.randn(EPOCHS, generator=torch.Generator().manual_seed(seed)).tolist()
    losses = [2 * 0.9**epoch + 0.1 * noise[epoch] for epoch in range(EPOCHS)]
    return losses if mode == "min" else [-loss for loss in losses]


def _advance(columns: Columns, values: list[list[float]], mode: str) -> tuple[list, list]:
    """Stops and factors after each epoch, each by row; ``values[epoch][row]``."""
    rows, stops, factors = stopping.blank_rows(columns), [], []
    for at_epoch in values:
        value_M = torch.tensor(at_epoch, dtype=torch.float64)
        stops.append(stopping.advance(rows, columns, value_M, mode).tolist())
        factors.append(rows["lr_factor"].tolist())
    return stops, factors


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateaus_equal_reduce_lr_on_plateau(mode: str) -> None:
    rates = (0.3, 0.01, 5.0)
    settings = [
        {"lr_decay": 0.5, "lr_patience": 1, "min_delta": 0.0, "lr_min": 0.0},
        {"lr_decay": 0.1, "lr_patience": 3, "min_delta": 0.05, "lr_min": 0.02},
        {"lr_decay": 0.9, "lr_patience": 5, "min_delta": 0.3, "lr_min": 0.5},
    ]
    columns = _columns(*({"lr_schedule": "plateau", **setting} for setting in settings))
    curves = [_noisy(seed, mode) for seed in range(3)]
    _, factors = _advance(columns, [list(row) for row in zip(*curves, strict=True)], mode)
    for row, setting in enumerate(settings):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=rates[row])
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode=mode,
            factor=setting["lr_decay"],
            patience=setting["lr_patience"],
            threshold=setting["min_delta"],
            threshold_mode="abs",
            min_lr=setting["lr_min"] * rates[row],
            eps=0,
        )
        for epoch, value in enumerate(curves[row]):
            scheduler.step(value)
            rate = optimizer.param_groups[0]["lr"]
            assert rates[row] * factors[epoch][row] == pytest.approx(rate, rel=1e-12), epoch
        assert factors[-1][row] < 1


def _keras_stop(values: list[float], patience: int, min_delta: float, mode: str) -> int | None:
    """The epoch after which Keras's EarlyStopping ends."""
    best, wait = None, 0
    for epoch, value in enumerate(values):
        goodness = value if mode == "max" else -value
        wait += 1
        if best is None or goodness > best + min_delta:
            best, wait = goodness, 0
        if wait >= patience:
            return epoch
    return None


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=25),
    patiences=st.lists(st.integers(1, 6), min_size=2, max_size=2),
    min_delta=st.sampled_from([0.0, 1.0, 2.0]),
    mode=st.sampled_from(["min", "max"]),
)
def test_a_row_stops_where_keras_would(
    values: list[float], patiences: list[int], min_delta: float, mode: str
) -> None:
    columns = _columns(*({"patience": p, "min_delta": min_delta} for p in patiences))
    stops, factors = _advance(columns, [[v, v] for v in values], mode)
    for row, patience in enumerate(patiences):
        expected = _keras_stop(values, patience, min_delta, mode)
        first = next((epoch for epoch, at in enumerate(stops) if at[row]), None)
        assert first == expected
    assert all(factor == [1.0, 1.0] for factor in factors)


def test_nan_is_no_improvement_and_does_not_become_the_best() -> None:
    columns = _columns({"patience": 2, "lr_schedule": "plateau", "lr_patience": 1})
    values = [1.0, math.nan, 0.5, math.nan, math.nan]
    stops, factors = _advance(columns, [[value] for value in values], "min")
    assert [at[0] for at in stops] == [False, False, False, False, True]
    assert [at[0] for at in factors] == [1.0, 1.0, 1.0, 1.0, 0.9]


def test_rows_without_either_are_left_alone_by_those_with() -> None:
    columns = _columns(
        {}, {"patience": 1}, {"lr_schedule": "plateau", "lr_patience": 1, "lr_decay": 0.5}
    )
    stops, factors = _advance(columns, [[1.0] * 3] * 5, "max")
    assert stops == [[False, False, False]] + [[False, True, False]] * 4
    assert [at[2] for at in factors] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert all(at[:2] == [1.0, 1.0] for at in factors)


def test_a_plateau_never_raises_the_rate() -> None:
    columns = _columns({"lr_schedule": "plateau", "lr_patience": 1, "lr_decay": 3.0})
    _, factors = _advance(columns, [[1.0]] * 6, "max")
    assert factors == [[1.0]] * 6


def test_a_stack_that_uses_neither_has_no_state_and_never_stops() -> None:
    columns = _columns({}, {"lr_schedule": "cosine"})
    rows = stopping.blank_rows(columns)
    assert rows == {}
    assert stopping.advance(rows, columns, torch.zeros(2), "max").tolist() == [False, False]
    assert rows == {}


def test_rows_that_were_selected_go_on_where_they_were() -> None:
    settings = [{"patience": p, "lr_schedule": "plateau", "lr_patience": 2} for p in (9, 3, 5)]
    curves = [_noisy(seed, "min") for seed in range(3)]
    columns = _columns(*settings)
    whole_stops, whole_factors = _advance(
        columns, [list(row) for row in zip(*curves, strict=True)], "min"
    )
    rows = stopping.blank_rows(columns)
    for epoch in range(20):
        stopping.advance(rows, columns, torch.tensor([c[epoch] for c in curves]).double(), "min")
    rows, kept = {name: tensor[[0, 2]] for name, tensor in rows.items()}, _columns(*settings[::2])
    for epoch in range(20, EPOCHS):
        value_M = torch.tensor([curves[0][epoch], curves[2][epoch]], dtype=torch.float64)
        stops = stopping.advance(rows, kept, value_M, "min").tolist()
        assert stops == whole_stops[epoch][::2]
        assert rows["lr_factor"].tolist() == whole_factors[epoch][::2]

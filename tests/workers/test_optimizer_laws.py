"""What holds for every optimizer: it descends, rows are independent, what is off costs nothing."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import CPU, FIELDS, differing, noise, starts, updated
from training_cases import shape

from workers.config import TrainConfig
from workers.config.learning import OptimizerFields
from workers.messages import Member
from workers.training.columns import Columns
from workers.training.models import build_model
from workers.training.optimizers import OPTIMIZERS, VARIANTS, Hyper, variant
from workers.training.shares import Shares
from workers.training.stack import Stack

# Where the curvatures of a parabola are between 0.1 and 1.
SENSIBLE_RATES = {
    "sgd": 0.5,
    "gradient_descent": 0.5,
    "momentum": 0.1,
    "momentum dampened": 0.1,
    "averaged_momentum": 0.5,
    "nesterov": 0.1,
    "adagrad": 0.5,
    "adadelta": 2.0,
    "delta_bar_delta": 0.1,
    "lion": 0.01,
    "swats": 0.02,
}


@pytest.mark.parametrize("name", VARIANTS)
@given(
    curvatures=st.lists(st.floats(0.1, 1), min_size=5, max_size=5),
    weights=st.lists(st.floats(0.1, 1) | st.floats(-1, -0.1), min_size=5, max_size=5),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_a_parabola_is_descended(name: str, curvatures: list[float], weights: list[float]) -> None:
    config = TrainConfig(**FIELDS[name], learning_rate=SENSIBLE_RATES.get(name, 0.02))
    a_P = torch.tensor(curvatures, dtype=torch.float64)
    start_1P = torch.tensor([weights], dtype=torch.float64)
    end_1P = updated([config], start_1P, lambda w_1P: a_P * w_1P, [1.0] * 300)
    assert (a_P * end_1P**2).sum() < 0.05 * (a_P * start_1P**2).sum()


def _varied(num_rows: int, num_weights: int) -> torch.Tensor:
    """Gradients [90, M, P]: noise, then rest, each row from its own step, then noise.

    Rest is what swats switches on.
    """
    gradients = noise(90, num_rows, num_weights)
    for row in range(num_rows):
        gradients[5 * row : 80, row] = gradients[5 * row, row]
    return gradients


# Alone, and among rows with the same numbers, these take one pass by PyTorch's kernel, which rounds
# otherwise: their rows agree to some last bits.
FUSED = ("adam", "adamw", "amsgrad", "rmsprop")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUSED)
def test_a_row_moves_in_one_pass_as_it_does_written_out(name: str, dtype: torch.dtype) -> None:
    configs = [replace(config, weight_decay=0.01) for config in differing(name, num_rows=9)]
    gradients, w_MP = _varied(9, 203), starts(9, 203, dtype)
    gradients[:, :, 7] = 0
    written_out = updated(configs, w_MP, gradients)
    for row, config in enumerate(configs):
        in_one_pass = updated([config], w_MP[row, None], gradients[:, row, None])
        moved = (written_out[row] - w_MP[row]).abs().max().item()
        allowed = 100 * torch.finfo(dtype).eps * max(1.0, moved)
        assert (written_out[row] - in_one_pass[0]).abs().max().item() < allowed, row


@pytest.mark.parametrize("name", FUSED)
def test_rows_that_differ_in_their_rates_alone_take_one_pass(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, kernel = [], torch._fused_adam_
    monkeypatch.setattr(torch, "_fused_adam_", lambda *a, **k: (taken.append(1), kernel(*a, **k)))
    configs = [TrainConfig(**FIELDS[name], learning_rate=rate) for rate in (0.1, 0.01)]
    updated(configs, starts(2), noise(3, 2))
    assert len(taken) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(set(VARIANTS) - set(FUSED)))
def test_a_row_moves_alone_as_in_company_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    configs = [replace(config, weight_decay=0.01) for config in differing(name, num_rows=9)]
    gradients, w_MP = _varied(9, 203), starts(9, 203, dtype)
    together = updated(configs, w_MP, gradients)
    assert together.isfinite().all()
    for row, config in enumerate(configs):
        alone = updated([config], w_MP[row, None], gradients[:, row, None])
        assert torch.equal(together[row], alone[0]), row


def test_a_mixed_stack_updates_each_row_by_its_own_optimizer() -> None:
    fields = [{**FIELDS[name], "hidden_units": (9,)} for name in reversed(VARIANTS)]
    members = [
        Member(trial=i, seed=5, config=TrainConfig(**given)) for i, given in enumerate(fields)
    ]
    model = build_model(members[0].config, shape())
    mixed = Stack(model, members, CPU, torch.float64)
    alone = [Stack(model, [member], CPU, torch.float64) for member in mixed.members]
    for stack in (mixed, *alone):
        stack.initialize()
        draw = torch.Generator().manual_seed(2)
        for _ in range(5):
            drawn = [torch.randn(spec.shape, generator=draw).double() for spec in model.parameters]
            stack.accumulate([g.expand(len(stack), *g.shape) for g in drawn], 16)
            stack.update()
    for row, stack in enumerate(alone):
        assert torch.equal(mixed.weights_MP[row], stack.weights_MP[0]), stack.members[0].config


@pytest.mark.parametrize("name", VARIANTS)
def test_a_gradient_that_is_zero_from_the_start_moves_nothing(name: str) -> None:
    w_MP = starts(3)
    w_MP[:, 0] = 0
    assert torch.equal(updated(differing(name), w_MP, [torch.zeros(3, 23)] * 5), w_MP)


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"rprop"}))
def test_a_rate_of_zero_moves_nothing_but_in_rprop_whose_steps_have_a_floor(name: str) -> None:
    w_MP = starts(3)
    assert torch.equal(updated(differing(name), w_MP, noise(5, 3), [0.0] * 5), w_MP)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_decoupled_decay_shrinks_weights_without_a_gradient(name: str) -> None:
    config = TrainConfig(optimizer=name, learning_rate=0.1, weight_decay=0.5)
    shrunk = updated([config], starts(1), [torch.zeros(1, 23)] * 3)
    assert torch.allclose(shrunk, starts(1) * 0.95**3, rtol=1e-14)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_update_reads_nothing_back_from_the_device(name: str) -> None:
    meta = torch.device("meta")  # tensors without numbers: reading one raises
    updated(differing(name), starts(3).to(meta), noise(3, 3).to(meta))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_rule_follows_exactly_the_fields_that_it_says_it_reads(name: str) -> None:
    base = TrainConfig(**FIELDS[name], learning_rate=0.01)
    others = {
        "beta2": 0.9,
        "eps": 0.1,
        "eta_plus": 1.5,
        "centered": not base.centered,
        "dampening": 0.6,
        "rmsprop_momentum": 0.5,
        "momentum_decay": 1.0,
    }
    numbers = {
        field.name: others.get(field.name, 0.3)
        for field in fields(OptimizerFields)
        if field.name not in ("optimizer", "lr_multipliers")
    }
    w_MP = updated([base], starts(1), noise(9, 1))
    follows = {
        field
        for field, number in numbers.items()
        if not torch.equal(
            updated([replace(base, **{field: number})], starts(1), noise(9, 1)), w_MP
        )
    }
    assert follows == {"learning_rate", *VARIANTS[name].reads}


def test_what_is_off_takes_no_memory() -> None:
    state = {name: len(optimizer.state) for name, optimizer in VARIANTS.items()}
    plain = TrainConfig(optimizer="rmsprop")
    assert state[variant(plain)] == 1
    assert state[variant(replace(plain, centered=True))] == 2
    assert state[variant(replace(plain, rmsprop_momentum=0.5))] == 2
    assert state[variant(replace(plain, rmsprop_momentum=0.5, centered=True))] == 3
    assert state["sgd"] == state["gradient_descent"] == 0
    assert all(state[variant(TrainConfig(optimizer=name))] == state[name] for name in OPTIMIZERS)


def test_dampening_without_momentum_is_none_as_in_pytorch() -> None:
    config = TrainConfig(optimizer="momentum", momentum=0.0, dampening=0.5)
    plain = replace(config, dampening=0.0)
    rows = starts(1), noise(5, 1)
    assert torch.equal(updated([config], *rows), updated([plain], *rows))


def test_a_centred_rmsprop_stays_finite_where_rounding_makes_the_variance_negative() -> None:
    config = TrainConfig(optimizer="rmsprop", centered=True, alpha=0.5, learning_rate=1e-3)
    resting = noise(1, 1, 500).expand(200, -1, -1)
    assert updated([config], starts(1, 500, torch.float32), resting).isfinite().all()


def test_the_rate_is_a_view_that_the_caller_changes() -> None:
    columns = Columns([TrainConfig()] * 3, range(3), [0] * 3, CPU, torch.float32)
    rates_M1 = torch.ones(3, 1)
    hyper = Hyper.of(columns, slice(1, 3), OPTIMIZERS["sgd"], rates_M1, Shares(()).sums)
    rates_M1.fill_(0.25)
    assert hyper.lr.tolist() == [[0.25], [0.25]]

"""Every optimizer against torch.optim, row by row, or against a plain loop from its paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from optimizer_cases import FIELDS, differing, noise, starts, updated
from torch import Tensor

from workers.config import TrainConfig
from workers.config.learning import OPTIMIZERS as OPTIMIZER_NAMES
from workers.training.optimizers import OPTIMIZERS, VARIANTS
from workers.training.optimizers.base import root_plus

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
optim = torch.optim


def _betas(c: TrainConfig) -> dict[str, object]:
    return {"betas": (c.beta1, 0.999 if c.beta2 is None else c.beta2), **_eps(c)}


def _eps(c: TrainConfig) -> dict[str, float]:
    """None is PyTorch's own default."""
    return {} if c.eps is None else {"eps": c.eps}


def _sgd(p: list[Tensor], c: TrainConfig, **fields: object) -> optim.Optimizer:
    return optim.SGD(p, lr=c.learning_rate, momentum=c.momentum, **fields)


def _rmsprop(p: list[Tensor], c: TrainConfig) -> optim.Optimizer:
    numbers = {"alpha": c.alpha, "centered": c.centered, "momentum": c.rmsprop_momentum}
    return optim.RMSprop(p, lr=c.learning_rate, **numbers, **_eps(c))


def _rprop(p: list[Tensor], c: TrainConfig) -> optim.Optimizer:
    return optim.Rprop(p, lr=c.learning_rate, etas=(c.eta_minus, c.eta_plus))


def _nadam(p: list[Tensor], c: TrainConfig) -> optim.Optimizer:
    return optim.NAdam(p, lr=c.learning_rate, momentum_decay=c.momentum_decay, **_betas(c))


TORCH: dict[str, Callable[[list[Tensor], TrainConfig], optim.Optimizer]] = {
    "sgd": lambda p, c: optim.SGD(p, lr=c.learning_rate),
    "gradient_descent": lambda p, c: optim.SGD(p, lr=c.learning_rate),
    "momentum": _sgd,
    "momentum dampened": lambda p, c: _sgd(p, c, dampening=c.dampening),
    "nesterov": lambda p, c: _sgd(p, c, nesterov=True),
    "adagrad": lambda p, c: optim.Adagrad(p, lr=c.learning_rate, **_eps(c)),
    "adadelta": lambda p, c: optim.Adadelta(p, lr=c.learning_rate, rho=c.rho, **_eps(c)),
    "rmsprop": _rmsprop,
    "rmsprop centered": _rmsprop,
    "rmsprop with momentum": _rmsprop,
    "rmsprop centered with momentum": _rmsprop,
    "adam": lambda p, c: optim.Adam(p, lr=c.learning_rate, **_betas(c)),
    "adamw": lambda p, c: optim.AdamW(p, lr=c.learning_rate, **_betas(c)),
    "amsgrad": lambda p, c: optim.Adam(p, lr=c.learning_rate, amsgrad=True, **_betas(c)),
    "adamax": lambda p, c: optim.Adamax(p, lr=c.learning_rate, **_betas(c)),
    "nadam": _nadam,
    "rprop": _rprop,
}


@pytest.fixture
def scalars_of_torch_are_precise() -> Iterator[None]:
    """torch.optim keeps nadam's product of mu in the default type: float32 knows 7 digits of it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("scalars_of_torch_are_precise")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TORCH)
def test_eighty_steps_equal_torch_optim_row_by_row(name: str, dtype: torch.dtype) -> None:
    decay = 0.0 if name == "rprop" else 0.02  # torch's Rprop has no weight decay
    configs = [replace(c, weight_decay=decay * row) for row, c in enumerate(differing(name))]
    gradients, factors = noise(80, 3), [1.0] * 40 + [0.3] * 40
    w_MP = updated(configs, starts(3, dtype=dtype), gradients, factors)
    for row, config in enumerate(configs):
        twin = starts(3, dtype=dtype)[row].clone().requires_grad_()
        optimizer = TORCH[name]([twin], config)
        optimizer.param_groups[0]["weight_decay"] = config.weight_decay
        for gradient, factor in zip(gradients, factors, strict=True):
            optimizer.param_groups[0]["lr"] = config.learning_rate * factor
            twin.grad = gradient[row].to(dtype)
            optimizer.step()
        _assert_close(w_MP[row], twin.detach())


@pytest.mark.parametrize("name", TORCH)
def test_an_eps_left_open_is_torchs_default(name: str) -> None:
    defaults = TORCH[name]([torch.zeros(1)], TrainConfig(**FIELDS[name])).defaults
    assert VARIANTS[name].eps == defaults.get("eps", 1e-8)


def _assert_close(w_P: Tensor, expected_P: Tensor) -> None:
    expected_P = expected_P.to(w_P.dtype)
    assert (w_P - expected_P).norm() < TOLERANCE[w_P.dtype] * expected_P.norm()
    assert not torch.equal(w_P, torch.zeros_like(w_P))


# Rules that torch.optim lacks: one weight at a time, with Python's floats, as the papers write
# them. Each gives the function (w, g, lr) -> w of a new weight.
Rule = Callable[[float, float, float], float]


def averaged_momentum(c: TrainConfig) -> Rule:
    v = 0.0

    def step(w: float, g: float, lr: float) -> float:
        nonlocal v
        v = c.momentum * v + (1 - c.momentum) * g
        return w - lr * v

    return step


def delta_bar_delta(c: TrainConfig) -> Rule:
    gain, last = 1.0, 0.0

    def step(w: float, g: float, lr: float) -> float:
        nonlocal gain, last
        if g * last > 0:
            gain = min(100.0, gain + c.gain_step)
        if g * last < 0:
            gain = max(0.01, gain * (1 - c.gain_step))
        last = g
        return w - lr * gain * g

    return step


def lion(c: TrainConfig) -> Rule:
    """Chen et al. 2023, algorithm 2; beta2 is 0.99 there."""
    m, beta2 = 0.0, 0.99 if c.beta2 is None else c.beta2

    def step(w: float, g: float, lr: float) -> float:
        nonlocal m
        mixed = c.beta1 * m + (1 - c.beta1) * g
        sign = (mixed > 0) - (mixed < 0)
        m = beta2 * m + (1 - beta2) * g
        return w - lr * (sign + c.weight_decay * w)

    return step


RULES = {
    "averaged_momentum": averaged_momentum,
    "delta_bar_delta": delta_bar_delta,
    "lion": lion,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RULES)
def test_eighty_steps_equal_the_papers_rule_weight_by_weight(name: str, dtype: torch.dtype) -> None:
    configs = differing(name, weight_decay=0.02 if name == "lion" else 0.0)
    gradients, factors = noise(80, 3), [1.0] * 40 + [0.3] * 40
    w_MP = updated(configs, starts(3, dtype=dtype), gradients, factors)
    for row, config in enumerate(configs):
        expected = []
        for place, w in enumerate(starts(3)[row].tolist()):
            step = RULES[name](config)
            for g, factor in zip(gradients[:, row, place].tolist(), factors, strict=True):
                w = step(w, g, config.learning_rate * factor)
            expected.append(w)
        _assert_close(w_MP[row], torch.tensor(expected, dtype=torch.float64))


def swats(
    c: TrainConfig, w: list[float], gradients: list[list[float]], rates: list[float]
) -> tuple[list[float], int | None]:
    """Keskar and Socher 2017, algorithm 1, with Adam as PyTorch has it and a rate that may vary.

    Gives the last weights, and the step of the switch, if there was one.
    """
    b1, b2 = c.beta1, c.beta2
    m, v = [0.0] * len(w), [0.0] * len(w)
    average, big_lambda, lr_at_switch, switched = 0.0, 0.0, 0.0, None
    for k, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        if switched is not None:
            v = [b1 * v_i + g_i for v_i, g_i in zip(v, g, strict=True)]
            rate = (1 - b1) * big_lambda * lr / lr_at_switch
            w = [w_i - rate * v_i for w_i, v_i in zip(w, v, strict=True)]
            continue
        m = [b1 * m_i + (1 - b1) * g_i for m_i, g_i in zip(m, g, strict=True)]
        v = [b2 * v_i + (1 - b2) * g_i**2 for v_i, g_i in zip(v, g, strict=True)]
        p = [
            -lr * (m_i / (1 - b1**k)) / ((v_i / (1 - b2**k)) ** 0.5 + 1e-8)
            for m_i, v_i in zip(m, v, strict=True)
        ]
        w = [w_i + p_i for w_i, p_i in zip(w, p, strict=True)]
        across = -sum(p_i * g_i for p_i, g_i in zip(p, g, strict=True))
        if across == 0:
            continue
        gamma = sum(p_i**2 for p_i in p) / across
        average = b2 * average + (1 - b2) * gamma
        big_lambda = average / (1 - b2**k)
        if k > 1 and abs(big_lambda - gamma) < 1e-9 and big_lambda > 0:
            switched, lr_at_switch, v = k, lr, [0.0] * len(w)
    return w, switched


def settling(num_rows: int) -> Tensor:
    """Gradients [140, M, P] that are noise at first and at the end, and rest between the two.

    Row r rests from step 10 r on, so its projected rate settles later than the row before; the
    last row never rests.
    """
    gradients = noise(140, num_rows)
    for row in range(num_rows - 1):
        gradients[10 * row : 100, row] = gradients[10 * row, row]
    return gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swats_switches_each_row_at_the_step_of_the_paper(dtype: torch.dtype) -> None:
    configs = [
        TrainConfig(optimizer="swats", learning_rate=2e-4 * (row + 1), beta1=0.6, beta2=beta2)
        for row, beta2 in enumerate((0.7, 0.6, 0.65, 0.7))
    ]
    gradients, factors = settling(4), [1.0] * 120 + [0.3] * 20
    w_MP = updated(configs, starts(4, dtype=dtype), gradients, factors)
    switches = []
    for row, config in enumerate(configs):
        rates = [config.learning_rate * factor for factor in factors]
        w, switched = swats(config, starts(4)[row].tolist(), gradients[:, row].tolist(), rates)
        switches.append(switched)
        _assert_close(w_MP[row], torch.tensor(w, dtype=torch.float64))
    assert switches[0] == 2  # a gradient that rests from the first step settles at once
    assert 2 < switches[1] < switches[2] < 100
    assert switches[3] is None


def test_swats_that_never_settles_is_adam() -> None:
    rows = starts(3), noise(60, 3)
    as_adam = [replace(c, optimizer="adam") for c in differing("swats")]
    error = updated(differing("swats"), *rows) - updated(as_adam, *rows)
    assert error.abs().max() < 1e-12


def test_swats_does_not_switch_while_its_average_says_to_climb() -> None:
    """A rate this small is always settled; the first step's momentum points uphill ever after."""
    config = TrainConfig(optimizer="swats", learning_rate=1e-12, beta2=0.5)
    gradients = [torch.full((1, 1), g, dtype=torch.float64) for g in (-1, 0.1, 0.1, 0.1)]
    origin = torch.zeros(1, 1, dtype=torch.float64)
    w_MP = updated([config], origin, gradients)
    assert w_MP > 1e-12
    as_adam = updated([replace(config, optimizer="adam")], origin, gradients)
    assert w_MP.item() == pytest.approx(as_adam.item(), rel=1e-10)


def test_swats_learns_nothing_from_a_warm_up_that_holds_the_rate_at_zero() -> None:
    config = TrainConfig(optimizer="swats", learning_rate=1e-3, beta1=0.5, beta2=0.5)
    gradients = noise(60, 1)
    gradients[:50] = gradients[0]
    factors = [0.0] * 10 + [1.0] * 50
    rates = [1e-3 * factor for factor in factors]
    expected, switched = swats(config, starts(1)[0].tolist(), gradients[:, 0].tolist(), rates)
    assert switched is not None
    assert 20 < switched < 50
    w_MP = updated([config], starts(1), gradients, factors)
    _assert_close(w_MP[0], torch.tensor(expected, dtype=torch.float64))


def test_a_gain_grows_by_its_step_up_to_a_hundred() -> None:
    config = TrainConfig(optimizer="delta_bar_delta", learning_rate=1e-3, gain_step=0.9)
    w_MP = updated([config], torch.zeros(1, 1, dtype=torch.float64), torch.ones(150, 1, 1))
    gains = [min(100.0, 1 + 0.9 * step) for step in range(150)]
    assert gains[-1] == 100
    assert w_MP.item() == pytest.approx(-1e-3 * sum(gains), rel=1e-12)


def test_a_gain_shrinks_down_to_a_hundredth_and_rests_where_the_gradient_is_zero() -> None:
    config = TrainConfig(optimizer="delta_bar_delta", learning_rate=1.0, gain_step=0.5)
    turning = [(-1.0) ** step for step in range(12)]
    signs = [*turning, 0.0, 0.0, 1.0]
    w_MP = updated([config], torch.zeros(1, 1), [torch.tensor([[sign]]) for sign in signs])
    gains = [max(0.01, 0.5**step) for step in range(12)]
    moved = sum(gain * sign for gain, sign in zip(gains, turning, strict=True))
    assert w_MP.item() == pytest.approx(-moved - 0.01, rel=1e-5)


def test_every_name_that_a_spec_may_use_is_implemented_and_held_to_an_oracle() -> None:
    assert set(OPTIMIZERS) == set(OPTIMIZER_NAMES)
    assert {*TORCH, *RULES, "swats"} == set(VARIANTS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_root_and_a_shift_are_right_at_zero_and_at_the_ends_of_the_numbers(
    dtype: torch.dtype,
) -> None:
    numbers = torch.finfo(dtype)
    ends = [0.0, numbers.tiny, 1e-20, 0.25, 2.0, numbers.max, torch.inf, torch.nan]
    squares_2P = torch.tensor([ends, ends[::-1]], dtype=dtype)
    shift_21 = torch.tensor([[0.0], [0.5]], dtype=dtype)
    kept_2P = squares_2P.clone()
    found_2P = root_plus(squares_2P, shift_21)
    expected_2P = squares_2P.sqrt() + shift_21
    torch.testing.assert_close(found_2P, expected_2P, rtol=4 * numbers.eps, atol=0, equal_nan=True)
    torch.testing.assert_close(squares_2P, kept_2P, rtol=0, atol=0, equal_nan=True)

"""Every optimizer and schedule against PyTorch's own, member by member."""

from __future__ import annotations

import pytest
import torch
from training_cases import CPU, config

from workers.config import INITIALIZATIONS as INITIALIZATION_NAMES
from workers.config import MODELS as MODEL_NAMES
from workers.config import OPTIMIZERS as OPTIMIZER_NAMES
from workers.config import SCHEDULES as SCHEDULE_NAMES
from workers.config import TrainConfig
from workers.messages import Member
from workers.training.initialization import INITIALIZATIONS
from workers.training.models import ACTIVATIONS, MODELS, build_model
from workers.training.optimizers import OPTIMIZERS
from workers.training.schedules import SCHEDULES, learning_rate
from workers.training.stack import Stack

TORCH = {
    "sgd": lambda p, c: torch.optim.SGD(p, lr=c.learning_rate),
    "momentum": lambda p, c: torch.optim.SGD(p, lr=c.learning_rate, momentum=c.momentum),
    "nesterov": lambda p, c: torch.optim.SGD(
        p, lr=c.learning_rate, momentum=c.momentum, nesterov=True
    ),
    "adagrad": lambda p, c: torch.optim.Adagrad(p, lr=c.learning_rate),
    "rmsprop": lambda p, c: torch.optim.RMSprop(p, lr=c.learning_rate, alpha=c.alpha),
    "adadelta": lambda p, c: torch.optim.Adadelta(p, lr=c.learning_rate, rho=c.rho),
    "adam": lambda p, c: torch.optim.Adam(p, lr=c.learning_rate, betas=(c.beta1, c.beta2)),
    "adamw": lambda p, c: torch.optim.AdamW(p, lr=c.learning_rate, betas=(c.beta1, c.beta2)),
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def _members(optimizer: str, precision: str) -> list[Member]:
    """Three members that differ in every number that an optimizer reads."""
    return [
        Member(
            trial=i,
            seed=i,
            config=config(
                optimizer=optimizer,
                precision=precision,
                learning_rate=0.003 * (i + 1),
                momentum=0.8 + 0.05 * i,
                beta1=0.85 + 0.05 * i,
                beta2=0.99 + 0.003 * i,
                alpha=0.9 + 0.03 * i,
                rho=0.85 + 0.05 * i,
                weight_decay=0.02 * i,
            ),
        )
        for i in range(3)
    ]


def _torch_optimizer(
    parameters: dict[str, torch.Tensor], config: TrainConfig
) -> torch.optim.Optimizer:
    weights = [p for name, p in parameters.items() if name.endswith("weight")]
    biases = [p for name, p in parameters.items() if name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    return TORCH[config.optimizer](groups, config)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_fifty_steps_equal_torch_optim(name: str, precision: str) -> None:
    dtype = getattr(torch, precision)
    members = _members(name, precision)
    stack = Stack(build_model(members[0].config, 12, 4), members, CPU, dtype)
    stack.initialize()
    leaves = stack.leaves()
    twins = [
        {key: leaf[row].detach().clone().requires_grad_() for key, leaf in leaves.items()}
        for row in range(3)
    ]
    optimizers = [_torch_optimizer(twins[m.trial], m.config) for m in stack.members]
    stack.set_learning_rates(0)
    draw = torch.Generator().manual_seed(1)
    for _ in range(50):
        gradients = {
            key: torch.randn(leaf.shape, generator=draw, dtype=dtype)
            for key, leaf in leaves.items()
        }
        stack.update(gradients.values())
        for row, optimizer in enumerate(optimizers):
            for key, twin in twins[row].items():
                twin.grad = gradients[key][row].clone()
            optimizer.step()
    for row in range(3):
        for key, twin in twins[row].items():
            error = (leaves[key][row] - twin).norm() / twin.norm()
            assert error < TOLERANCE[precision], (key, row)


def test_a_mixed_stack_updates_each_member_by_its_own_optimizer() -> None:
    members = [
        Member(trial=i, seed=5, config=config(optimizer=name))
        for i, name in enumerate(reversed(OPTIMIZER_NAMES))
    ]
    model = build_model(members[0].config, 12, 4)
    mixed = Stack(model, members, CPU, torch.float64)
    alone = [Stack(model, [member], CPU, torch.float64) for member in mixed.members]
    draw = torch.Generator().manual_seed(2)
    gradient = [torch.randn(spec.shape, generator=draw).double() for spec in model.parameters]
    for stack in (mixed, *alone):
        stack.initialize()
        for _ in range(3):
            stack.update([g.expand(len(stack.members), *g.shape) for g in gradient])
    for row, stack in enumerate(alone):
        assert torch.equal(mixed.weights_MP[row], stack.weights_MP[0]), stack.members[0]


def test_l1_adds_the_sign_of_the_weights_and_spares_biases() -> None:
    member = Member(trial=0, seed=1, config=config(optimizer="sgd", l1=0.5, learning_rate=0.1))
    model = build_model(member.config, 12, 4)
    stack = Stack(model, [member], CPU, torch.float64)
    stack.initialize()
    before = {name: leaf.detach().clone() for name, leaf in stack.leaves().items()}
    stack.update([torch.zeros(1, *spec.shape, dtype=torch.float64) for spec in model.parameters])
    for name, leaf in stack.leaves().items():
        moved = 0.0 if name.endswith("bias") else 0.1 * 0.5 * before[name].sign()
        assert torch.allclose(leaf, before[name] - moved, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("constant", lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1.0)),
        ("step", lambda o: torch.optim.lr_scheduler.StepLR(o, 7, gamma=0.8)),
        ("exponential", lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.8)),
        (
            "inverse_time",
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + 0.8 * epoch)),
        ),
    ],
)
def test_fifty_epochs_of_a_schedule_equal_torch(name: str, make: object) -> None:
    c = config(lr_schedule=name, lr_decay=0.8, lr_step_size=7, learning_rate=0.3)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = make(optimizer)
    for epoch in range(50):
        assert learning_rate(c, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-10)
        optimizer.step()
        scheduler.step()


def test_every_name_that_a_spec_may_use_is_implemented_and_the_other_way_round() -> None:
    from workers.config import ACTIVATIONS as ACTIVATION_NAMES

    assert set(OPTIMIZERS) == set(OPTIMIZER_NAMES)
    assert set(OPTIMIZERS) == set(TORCH)
    assert set(SCHEDULES) == set(SCHEDULE_NAMES)
    assert set(INITIALIZATIONS) == set(INITIALIZATION_NAMES)
    assert set(MODELS) == set(MODEL_NAMES)
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)


def test_initial_weights_have_the_scale_of_torch_nn_init() -> None:
    expected = {
        "kaiming_normal": (2 / 400) ** 0.5,
        "kaiming_uniform": (2 / 400) ** 0.5,
        "xavier_normal": (2 / (400 + 300)) ** 0.5,
        "xavier_uniform": (2 / (400 + 300)) ** 0.5,
        "normal": 0.07,
        "zeros": 0.0,
    }
    for name, std in expected.items():
        c = config(initialization=name, init_scale=0.07, hidden_units=(300,))
        stack = Stack(
            build_model(c, 400, 2), [Member(trial=0, seed=3, config=c)], CPU, torch.float64
        )
        stack.initialize()
        leaves = stack.leaves()
        assert leaves["0.weight"].std().item() == pytest.approx(std, rel=0.02), name
        assert not leaves["0.bias"].any()

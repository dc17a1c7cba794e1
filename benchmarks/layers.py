"""Why the training loop is written as it is: its steps against the plainer ways to write them.

Run as ``python benchmarks/layers.py``: digits MLP 64-50-10, batch 32, 128 members, one thread. Each
line is a ratio of medians, measured in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from record import print_head
from torch import Tensor, nn
from torch.func import functional_call, vmap

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.training.columns import Columns
from workers.training.device import prepared_device
from workers.training.feed import Batch
from workers.training.gradients import value_and_grad
from workers.training.loss import Criterion
from workers.training.models import build_model
from workers.training.models.base import Pass
from workers.training.models.products import products
from workers.training.optimizers.base import root_plus

MEMBERS, BATCH, ROUNDS, STEPS = 128, 32, 9, 50
STEP_ALONE = "--step-without-kept-memory"


def main() -> None:
    """Print a line a decision."""
    print_head("torch")
    x_BF, y_B = torch.randn(BATCH, 64), torch.randint(0, 10, (BATCH,))
    with prepared_device(num_threads=1):
        built_in, stacked = _built_in(x_BF, y_B), _vmap(x_BF, y_B)
        by_autograd = _built_in(x_BF, y_B, by_hand=False)
        _compare("vmap over ordinary modules / layers with a member axis", stacked, by_autograd)
        _compare("gradients by autograd / written out", by_autograd, built_in)
        for members in (1, 8, 32):
            _compare(
                f"the same, {members} members",
                _built_in(x_BF, y_B, members=members, by_hand=False),
                _built_in(x_BF, y_B, members=members),
            )
        _compare("a layer's products by MKL / by the faster of MKL and oneDNN", *_products(x_BF))
        root, shift_M1 = torch.rand(MEMBERS, 3760).round(decimals=1), torch.zeros(MEMBERS, 1)
        _compare(
            "sqrt of numbers with zeros / root_plus",
            root.sqrt,
            lambda: root_plus(root, shift_M1),
        )
        inner, outer = torch.randn(MEMBERS, BATCH, 10), torch.randn(MEMBERS, 10, BATCH)
        _compare(
            "softmax over the last axis / over the middle one",
            lambda: torch.log_softmax(inner, 2),
            lambda: torch.log_softmax(outer, 1),
        )
        _compare("argmax / max().indices", lambda: outer.argmax(1), lambda: outer.max(1).indices)
    _compare_memory()


def _built_in(
    x_BF: Tensor, y_B: Tensor, *, members: int = MEMBERS, by_hand: bool = True
) -> Callable[[], object]:
    """Losses and gradients of a minibatch as the loop takes them, or by autograd."""
    shape = DataShape(
        num_features=64, image=None, num_outputs=10, is_regression=False, num_train=BATCH
    )
    config, model = TrainConfig(), build_model(TrainConfig(), shape)
    zeros = [0] * members
    columns = Columns([config] * members, zeros, zeros, x_BF.device, x_BF.dtype)
    criterion = Criterion("cross_entropy", columns, None)
    batch = Batch(x_mBF=x_BF[None], y_mB=y_B[None], index_mB=torch.arange(BATCH)[None])
    leaves = {
        spec.name: torch.randn(members, *spec.shape).mul_(0.1).requires_grad_()
        for spec in model.parameters
    }
    given = Pass(weights=leaves, buffers={}, columns=columns, training=True)

    def by_autograd() -> object:
        loss_M = criterion.training(model.forward(given, batch.x_mBF), batch)
        return torch.autograd.grad(loss_M.sum(), list(leaves.values()))

    def step() -> object:
        return value_and_grad(model, given, batch.x_mBF, batch, criterion, config.precision)

    return step if by_hand else by_autograd


def _products(x_BF: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """The first layer's products of all members, by MKL and as the loop takes them."""
    weights_MHF, x_1FB = torch.randn(MEMBERS, 50, 64), x_BF.t()[None]

    @torch.no_grad()
    def chosen() -> object:
        return products(weights_MHF, x_1FB)

    return lambda: torch.bmm(weights_MHF, x_1FB.expand(MEMBERS, -1, -1)), chosen


def _vmap(x_BF: Tensor, y_B: Tensor) -> Callable[[], object]:
    net = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
    leaves = {
        name: torch.randn(MEMBERS, *value.shape).mul_(0.1).requires_grad_()
        for name, value in net.named_parameters()
    }
    losses = vmap(
        lambda weights: nn.functional.cross_entropy(functional_call(net, weights, (x_BF,)), y_B)
    )
    return lambda: torch.autograd.grad(losses(leaves).sum(), list(leaves.values()))


def _compare(what: str, plain: Callable[[], object], ours: Callable[[], object]) -> None:
    pairs = [(_time_s(plain), _time_s(ours)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in pairs]
    print(f"{what}: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


def _compare_memory() -> None:
    """A process a measurement: glibc's settings cannot be taken back."""
    ratios = [_in_process(keep=False) / _in_process(keep=True) for _ in range(5)]
    print(
        f"freed memory given back / kept: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


def _in_process(keep: bool) -> float:
    command = [sys.executable, __file__, STEP_ALONE, str(int(keep))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)


def _step_alone(keep: bool) -> float:
    step = _built_in(torch.randn(BATCH, 64), torch.randint(0, 10, (BATCH,)))
    if not keep:
        return _time_s(step)
    with prepared_device(num_threads=1):
        return _time_s(step)


def _time_s(call: Callable[[], object]) -> float:
    for _ in range(5):
        call()
    started = time.perf_counter()
    for _ in range(STEPS):
        call()
    return (time.perf_counter() - started) / STEPS


if __name__ == "__main__":
    if STEP_ALONE in sys.argv:
        print(_step_alone(keep=sys.argv[-1] == "1"))
    else:
        main()

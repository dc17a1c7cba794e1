"""What each part of the training stack costs: when it is off, when it is on, and stacked.

Run as ``python benchmarks/parts.py``. Digits, MLP 64-50-10, batch 32, one thread; alternatives are
measured in turn within one process, so that ratios hold on a noisy machine. Three questions, with
the targets of docs/design.md:

1. Off: the loop with every part off, against a bare loop that has none of them in its code.
2. Stacked: 64 trials as one stack against the same trials one at a time, trials per second.
3. Watched: an epoch with monitoring against one without.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from unittest import mock

import torch
from record import print_head
from torch import Tensor

from workers.config import TrainConfig
from workers.data import DataConfig, load
from workers.messages import Member, TrialGroup
from workers.training import group_training
from workers.training.device import prepared_device
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.keyed import generator
from workers.training.loop import train

WIDTH, BATCH, ROUNDS = 64, 32, 15
STACKED_TARGET, WATCHED_TARGET = 5.0, 0.03
PARTS: dict[str, dict[str, object]] = {
    "nothing": {},
    "batch normalization": {"normalization": "batch"},
    "layer normalization": {"normalization": "layer"},
    "group normalization": {"normalization": "group"},
    "weight normalization": {"normalization": "weight"},
    "dropout": {"dropout": 0.5},
    "input dropout": {"input_dropout": 0.2},
    "clipping by norm": {"gradient_clip_norm": 1.0},
    "clipping by value": {"gradient_clip_value": 0.1},
    "gradient noise": {"gradient_noise": 0.01},
    "L2": {"weight_decay": 1e-4},
    "L1": {"l1": 1e-5},
    "max-norm": {"max_norm": 3.0},
    "moving average": {"ema_decay": 0.99},
    "layer multipliers": {"lr_multipliers": (0.5, 1.0)},
    "label smoothing": {"label_smoothing": 0.1},
    "class weights": {"class_weights": "balanced"},
    "hinge loss": {"loss": "hinge"},
    "one-cycle schedule": {"lr_schedule": "one_cycle"},
    "input noise": {"input_noise": 0.1},
    "mixup": {"mixup": 0.2},
    "rotation": {"rotation": 10.0},
    "hard examples": {"sampling": "hard"},
    "adam": {"optimizer": "adam"},
    "swats": {"optimizer": "swats"},
}
STACKED = ("nothing", "batch normalization", "dropout", "clipping by norm")


def main() -> None:
    """Print the three comparisons and the verdicts on the targets."""
    print_head("torch", "numpy")
    with prepared_device(num_threads=1) as device:
        data = DeviceData(load(DataConfig(source="digits"), seed=0), device)
        _off(data)
        _stacked(data)
        _watched(data)
        _on(data)


def _off(data: DeviceData) -> None:
    bare, loop = _in_turn(_BareLoop(data).epoch, _epochs(data, {}, watched=False))
    print(f"all parts off / a loop without them: {_ratio(loop, bare)} of the time, M = {WIDTH}")


def _stacked(data: DeviceData) -> None:
    for name in STACKED:
        stacked, alone = _in_turn(
            lambda name=name: _train(data, PARTS[name], WIDTH),
            lambda name=name: _train(data, PARTS[name], 1),
            rounds=5,
        )
        ratios = [WIDTH * one / many for one, many in zip(alone, stacked, strict=True)]
        median = statistics.median(ratios)
        verdict = "reached" if median >= STACKED_TARGET else "MISSED"
        print(
            f"{name}, M = {WIDTH}: {median:.1f} times the trials per second of one at a time "
            f"({min(ratios):.1f} to {max(ratios):.1f}); target {STACKED_TARGET:g}: {verdict}"
        )


def _watched(data: DeviceData) -> None:
    watched, plain = _in_turn(_epochs(data, {}), _epochs(data, {}, watched=False), rounds=41)
    ratios = [a / b - 1 for a, b in zip(watched, plain, strict=True)]
    cost = statistics.median(ratios)
    verdict = "reached" if cost < WATCHED_TARGET else "MISSED"
    print(f"monitoring costs {cost:.1%} of an epoch; target {WATCHED_TARGET:.0%}: {verdict}")


def _on(data: DeviceData) -> None:
    for name, fields in PARTS.items():
        on, off = _in_turn(_epochs(data, fields), _epochs(data, {}), rounds=5)
        print(f"{name}: {_ratio(on, off)} of the time without")


def _epochs(
    data: DeviceData, fields: Mapping[str, object], *, watched: bool = True
) -> Callable[[], object]:
    """A function that trains and evaluates one epoch more of a stack."""
    training = GroupTraining(_group(fields, WIDTH, epochs=1), data)

    def epoch() -> None:
        metrics = training.train_epoch(0) | training.evaluate()
        torch.stack([m for m in metrics.values() if m.dim() == 1]).tolist()

    def unwatched() -> None:
        with (
            mock.patch.object(group_training, "watched_step", return_value=-1),
            mock.patch.object(group_training.UnitWatch, "observe", return_value=None),
        ):
            epoch()

    return epoch if watched else unwatched


def _train(data: DeviceData, fields: Mapping[str, object], width: int) -> None:
    for _ in train(_group(fields, width, epochs=2), data):
        pass


def _group(fields: Mapping[str, object], width: int, epochs: int) -> TrialGroup:
    config = TrainConfig(**{"learning_rate": 0.01, "batch_size": BATCH, **fields})
    members = tuple(Member(trial=i, seed=i, config=config) for i in range(width))
    return TrialGroup(
        name="benchmark", members=members, order_seed=0, start_epoch=0, end_epoch=epochs
    )


class _BareLoop:
    """The same arithmetic on the same layout, and nothing else: M networks with momentum."""

    def __init__(self, data: DeviceData) -> None:
        self._data = data
        draw = generator(0, "bare")
        shapes = {"w0": (50, 64), "b0": (50,), "w1": (10, 50), "b1": (10,)}
        sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
        self._weights_MP = torch.randn(WIDTH, sum(sizes.values()), generator=draw) * 0.1
        self._momentum_MP = torch.zeros_like(self._weights_MP)
        self._gradient_MP = torch.zeros_like(self._weights_MP)
        self._shapes, self._sizes = shapes, list(sizes.values())
        self._rates_M1 = torch.full((WIDTH, 1), 0.01)
        self._mu_M1 = torch.full((WIDTH, 1), 0.9)

    def epoch(self) -> None:
        """Train and evaluate once, as ``_epochs`` does."""
        data, totals_2M = self._data, torch.zeros(2, WIDTH, dtype=torch.float64)
        order = torch.randperm(data.num_train, generator=generator(0, "order", 0))
        for index in order.split(BATCH):
            leaves = [leaf.detach().requires_grad_() for leaf in self._leaves()]
            x_BF, y_B = self._inputs(data.train.x_RF[index]), data.train.targets_kN[0, index]
            logits_MCB = self._forward(leaves, x_BF)
            loss_M = self._loss(logits_MCB, y_B)
            gradients = torch.autograd.grad(loss_M.sum(), leaves)
            torch.cat([g.flatten(1) for g in gradients], dim=1, out=self._gradient_MP)
            self._momentum_MP.mul_(self._mu_M1).add_(self._gradient_MP)
            self._weights_MP.addcmul_(self._momentum_MP, self._rates_M1, value=-1)
            totals_2M[0] += loss_M.detach() * len(y_B)
            totals_2M[1] += (logits_MCB.detach().max(1).indices == y_B).sum(1)
        with torch.no_grad():
            x_BF, y_B = self._inputs(data.held_out.x_RF), data.held_out.targets_kN[0]
            logits_MCB = self._forward(self._leaves(), x_BF)
            totals_2M[0] += self._loss(logits_MCB, y_B)
            totals_2M[1] += (logits_MCB.max(1).indices == y_B).sum(1)
        totals_2M.tolist()

    def _inputs(self, x: Tensor) -> Tensor:
        return x.float() * (1 / 16)

    def _leaves(self) -> list[Tensor]:
        parts = self._weights_MP.split(self._sizes, dim=1)
        return [p.view(WIDTH, *s) for p, s in zip(parts, self._shapes.values(), strict=True)]

    def _forward(self, leaves: list[Tensor], x_BF: Tensor) -> Tensor:
        w0, b0, w1, b1 = leaves
        h_MHB = torch.baddbmm(b0.unsqueeze(-1), w0, x_BF.t().expand(WIDTH, -1, -1))
        return torch.baddbmm(b1.unsqueeze(-1), w1, torch.relu_(h_MHB))

    def _loss(self, logits_MCB: Tensor, y_B: Tensor) -> Tensor:
        y_M1B = y_B.expand(WIDTH, 1, -1)
        return -logits_MCB.log_softmax(1).gather(1, y_M1B).mean((1, 2))


def _in_turn(
    one: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS
) -> tuple[list[float], list[float]]:
    """Seconds of each, alternating, after a first time that does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for place, call in enumerate((one, other)):
            started = time.perf_counter()
            call()
            if number:
                times[place].append(time.perf_counter() - started)
    return times


def _ratio(times: list[float], base: list[float]) -> str:
    ratios = [a / b for a, b in zip(times, base, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()

"""How far training is from what the machine could do at most: one core, the best width of several.

Run as ``python benchmarks/limit.py [--batch B]``. The limit of an epoch is the larger of two times:

- operations / the rate of the best ``torch.mm``: 2 a weight, example and product, and the products
  are the output's, the weights' gradient, and the inputs' gradient but for the first layer; the
  validation part has the first alone. Activations, losses and updates are not counted.
- bytes that must move between memory and core / the bandwidth of the better of copy and triad:
  while the weights, gradients and momenta of a block fit into the core's share of the last cache,
  none; else weights and momenta are read and written once a step. Activations could always stay.

The fraction is the limit over the time that an epoch of ``workers.training.loop.train`` took, so
everything that is not a product (updates, minibatches, losses, what is watched) makes it smaller.
Pixels are random: the time depends on shapes alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import network
from record import print_head, print_others, verdict
from torch import Tensor, nn

from workers.config import TrainConfig
from workers.data.dataset import Dataset, Transform
from workers.messages import Member, TrialGroup
from workers.training.device import prepared_device
from workers.training.feed import DeviceData
from workers.training.loop import train

TARGET = 0.4
EPOCHS = 4  # of which the first does not count
MATRIX_SIZES = 256, 512, 1024, 2048
BANDWIDTH_BYTES = 256 * 2**20  # an array that no cache holds
FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A network and the shape of its examples; ``widths`` are those to try on a core."""

    name: str
    train: dict[str, Any]
    image: tuple[int, int]
    num_train: int
    num_validation: int
    widths: tuple[int, ...]


MLP: dict[str, Any] = {"hidden_units": (50,)}
CNN: dict[str, Any] = {
    "model": "cnn",
    "channels": (8, 16),
    "kernel_size": 3,
    "hidden_units": (),
}
KINDS = (
    Kind(
        name="digits MLP",
        train=MLP,
        image=(8, 8),
        num_train=1437,
        num_validation=360,
        widths=(1, 4, 16, 64, 256),
    ),
    Kind(
        name="MNIST MLP",
        train=MLP,
        image=(28, 28),
        num_train=5400,
        num_validation=600,
        widths=(1, 4, 16, 64),
    ),
    Kind(
        name="MNIST CNN",
        train=CNN,
        image=(28, 28),
        num_train=2700,
        num_validation=300,
        widths=(1, 2, 4, 16),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Operations a second, bytes a second, and the bytes that the last cache keeps for us."""

    operations: float
    bandwidth: float
    cache: int

    @classmethod
    def measured(cls, device: torch.device, cache: int) -> Machine:
        """What ``device`` does now, with the threads that are set."""
        return cls(operations=matrix_rate(device), bandwidth=bandwidth(device), cache=cache)


def main() -> None:
    """Print a line a width, and a verdict a network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    batch = parser.parse_args().batch
    print_head("torch", "numpy")
    print_others()
    with prepared_device(num_threads=1):
        device = torch.device("cpu")
        machine = Machine.measured(device, core_cache())
        print(
            f"one core: {machine.operations / 1e9:.0f} GFLOP/s (torch.mm), "
            f"{machine.bandwidth / 1e9:.1f} GB/s, {machine.cache / 2**20:.1f} MiB of cache"
        )
        for kind in KINDS:
            _measure(kind, batch, machine, device)


def _measure(kind: Kind, batch: int, machine: Machine, device: torch.device) -> None:
    data, fractions = DeviceData(random_dataset(kind), device), []
    for width in kind.widths:
        seconds = epoch_seconds(kind, batch, width, data, EPOCHS)
        limit_s, by = limit_seconds(kind, batch, width, machine)
        fractions.append(limit_s / seconds)
        num_steps = -(-kind.num_train // batch)
        print(
            f"{kind.name}, batch {batch}, width {width}: "
            f"{seconds / num_steps / width * 1e6:.1f} µs a step and trial, "
            f"{fractions[-1]:.2f} of the limit, which is by {by}"
        )
    best = max(fractions)
    said = verdict(f"{TARGET:g}", reached=best >= TARGET)
    width = kind.widths[fractions.index(best)]
    print(f"{kind.name}: {best:.2f} of the limit at width {width}{said}", flush=True)


def epoch_seconds(kind: Kind, batch: int, width: int, data: DeviceData, epochs: int) -> float:
    """The median time of an epoch of ``width`` trials in one block, the first epoch left out."""
    given = {"learning_rate": 0.01, "batch_size": batch, "optimizer": "momentum", **kind.train}
    config = TrainConfig.of(given)
    group = TrialGroup(
        name="benchmark",
        members=tuple(Member(trial=i, seed=i, config=config) for i in range(width)),
        order_seed=0,
        start_epoch=0,
        end_epoch=epochs,
        width=width,
    )
    return statistics.median([report.seconds for report in train(group, data)][1:])


def limit_seconds(kind: Kind, batch: int, width: int, machine: Machine) -> tuple[float, str]:
    """The least time of an epoch of ``width`` trials, and what it is by."""
    example = torch.zeros(1, *kind.image)
    net = network(example, kind.train)
    products = multiplications(net, example)
    computing_s = width * epoch_operations(kind, products) / machine.operations
    num_parameters = sum(parameter.numel() for parameter in net.parameters())
    num_steps = -(-kind.num_train // batch)
    moving_s = num_steps * step_bytes(num_parameters * width, machine.cache) / machine.bandwidth
    return max((computing_s, "operations"), (moving_s, "bytes"))


def multiplications(net: nn.Sequential, example: Tensor) -> list[int]:
    """Of one example's forward pass, by layer with weights; ``example`` is without a batch axis."""
    found, h = [], example[None]
    with torch.no_grad():
        if not isinstance(net[0], nn.Conv2d):
            h = h.flatten(1)
        for layer in net:
            h = layer(h)
            if isinstance(layer, nn.Linear | nn.Conv2d):
                positions = h.numel() // layer.weight.shape[0]  # each weight is used once in each
                found.append(layer.weight.numel() * positions)
    return found


def step_operations(products: Sequence[int], num_examples: int) -> int:
    """Of a forward and a backward pass; the first layer's inputs take no gradient."""
    return 2 * num_examples * (3 * sum(products) - products[0])


def epoch_operations(kind: Kind, products: Sequence[int]) -> int:
    """Of one trial: the training part forward and backward, the validation part forward."""
    return step_operations(products, kind.num_train) + 2 * kind.num_validation * sum(products)


def step_bytes(num_parameters: int, cache: int) -> int:
    """What a step with momentum must move: weights and momenta, read and written, or nothing."""
    if 3 * num_parameters * FLOAT_BYTES <= cache:  # the gradient needs its place too
        return 0
    return 4 * num_parameters * FLOAT_BYTES


def matrix_rate(device: torch.device) -> float:
    """Operations a second of the best square ``torch.mm`` in float32."""
    rates = []
    for size in MATRIX_SIZES:
        a, b = (torch.randn(size, size, device=device) for _ in range(2))
        out = torch.empty_like(a)
        rates.append(2 * size**3 / _least_s(partial(torch.mm, a, b, out=out)))
    return max(rates)


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a copy, 2 arrays, or of a triad, 3 (McCalpin 1995); the larger."""
    a, b, c = (torch.ones(BANDWIDTH_BYTES // FLOAT_BYTES, device=device) for _ in range(3))
    copy_s = _least_s(lambda: a.copy_(b))
    triad_s = _least_s(lambda: torch.add(b, c, alpha=3.0, out=a))
    return max(2 * BANDWIDTH_BYTES / copy_s, 3 * BANDWIDTH_BYTES / triad_s)


def _least_s(call: Callable[[], Tensor], repeats: int = 12) -> float:
    """The best of some: what the device can do, not what others left of it."""
    times = []
    for _ in range(repeats):
        device = call().device
        synchronize(device)
        started = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait for what was asked of a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def core_cache() -> int:
    """Bytes of the last cache a core, or 1 MiB where the system does not say."""
    folders = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")
    return max(map(_cache_bytes, folders), default=2**20)


def _cache_bytes(folder: Path) -> int:
    """``size`` of a cache, like 1024K, over the cores that share it."""
    size = int((folder / "size").read_text().strip().removesuffix("K")) * 1024
    shared = (folder / "shared_cpu_map").read_text().replace(",", "")
    return size // max(1, min(int(shared, 16).bit_count(), os.cpu_count() or 1))


def random_dataset(kind: Kind) -> Dataset:
    """Examples of the shape of ``kind``, from a fixed seed, in ten classes."""
    draws = np.random.default_rng(0)
    sizes = kind.num_train, kind.num_validation
    x_train, x_validation = (
        draws.integers(0, 256, (size, *kind.image), dtype=np.uint8) for size in sizes
    )
    y_train, y_validation = (draws.integers(0, 10, size) for size in sizes)
    return Dataset(
        x_train=x_train,
        y_train=y_train,
        x_validation=x_validation,
        y_validation=y_validation,
        class_names=tuple("0123456789"),
        unit=1 / 255,
        transforms=(Transform(shift=np.full(x_train[0].size, 0.5, np.float32)),),
    )


if __name__ == "__main__":
    main()

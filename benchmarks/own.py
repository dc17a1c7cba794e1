"""How fast a user's own MLP trains, stacked, beside ours: one core, several widths.

Run as ``python benchmarks/own.py``. ``plain`` is an nn.Module of linear layers, which the training
sees as such; ``vmapped`` is the same with a product by 1 at its end, so that it is any module.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

from limit import KINDS, Kind, epoch_seconds, random_dataset
from record import print_head, print_others, verdict
from torch import Tensor, nn

from workers.training.device import prepared_device
from workers.training.feed import DeviceData

TARGET = 0.9
BATCH, EPOCHS, ROUNDS = 64, 4, 3  # the first epoch of a round does not count
WIDTHS = {"digits MLP": (1, 16, 64), "MNIST MLP": (4, 16)}


class Plain(nn.Module):
    """As users write it."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(features, 50), nn.ReLU(), nn.Linear(50, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Vmapped(Plain):
    """The same, but not plain to see."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1.0


def main() -> None:
    """Print a line a network and width, and a verdict."""
    print_head("torch", "numpy")
    print_others()
    ratios = []
    with prepared_device(num_threads=1) as device:
        for kind in KINDS:
            data = DeviceData(random_dataset(kind), device)
            for width in WIDTHS.get(kind.name, ()):
                ratios.append(_measure(kind, width, data))
    worst = min(ratios)
    said = verdict(f"{TARGET:g}", reached=worst >= TARGET)
    print(f"plain: at least {worst:.2f} of the trials a second of ours{said}")


def _measure(kind: Kind, width: int, data: DeviceData) -> float:
    """The plain one's trials a second over ours, of alternating rounds."""
    features = kind.image[0] * kind.image[1]
    given: dict[str, dict[str, Any]] = {
        "ours": {"model": "mlp", "hidden_units": (50,)},
        "plain": {"model": "own:Plain", "features": features},
        "vmapped": {"model": "own:Vmapped", "features": features},
    }
    seconds: dict[str, list[float]] = {name: [] for name in given}
    for _ in range(ROUNDS):
        for name, fields in given.items():
            one = replace(kind, train=fields)
            seconds[name].append(epoch_seconds(one, BATCH, width, data, EPOCHS))
    times = {name: statistics.median(found) for name, found in seconds.items()}
    print(
        f"{kind.name}, width {width}: {width / times['ours']:.0f} trials a second and epoch; "
        f"plain {times['ours'] / times['plain']:.2f}, "
        f"vmapped {times['ours'] / times['vmapped']:.2f} of it",
        flush=True,
    )
    return times["ours"] / times["plain"]


if __name__ == "__main__":
    main()

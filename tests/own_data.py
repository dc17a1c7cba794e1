"""Functions that give examples, as users have them."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import TensorDataset


def arrays(path: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0 if path is None else len(path))
    y = np.arange(90) % 3
    return draw.normal(size=(90, 4)) + y[:, None], y


def wide() -> tuple[np.ndarray, np.ndarray]:
    """As many features as the networks of own_nets take."""
    y = np.arange(90) % 3
    return np.random.default_rng(1).normal(size=(90, 12)) + y[:, None], y


def lists() -> tuple[list[list[float]], list[int]]:
    x, y = arrays()
    return x.tolist(), y.tolist()


def split() -> tuple[torch.Tensor, ...]:
    x, y = (torch.as_tensor(part) for part in arrays())
    return x[:60], y[:60], x[60:], y[60:]


def named() -> dict[str, np.ndarray]:
    return dict(zip(("x", "y"), arrays(), strict=True))


def dataset() -> TensorDataset:
    return TensorDataset(*(torch.as_tensor(part) for part in arrays()))


def datasets() -> tuple[TensorDataset, TensorDataset]:
    x, y, x_validation, y_validation = split()
    return TensorDataset(x, y), TensorDataset(x_validation, y_validation)


def three() -> tuple[int, ...]:
    return 1, 2, 3


def number() -> int:
    return 3


def fails() -> None:
    raise RuntimeError("no such bucket\nand more of it")


def exits() -> None:
    raise SystemExit("bye")


def onehot() -> tuple[np.ndarray, np.ndarray]:
    x, y = arrays()
    return x, np.eye(3)[y]


NOTHING = 3

"""Datasets that are streamed: map-style, as users have them, well behaved and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset


class Blobs(Dataset[Any]):
    """Example i is a function of i alone; nothing is held."""

    def __init__(self, count: int = 150, size: int = 12, first: int = 0) -> None:
        self._count, self._size, self._first = count, size, first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        if place >= self._count:
            raise IndexError(place)
        draw = np.random.default_rng(self._first + place)
        target = (self._first + place) % 3
        x = draw.normal(size=self._size) + 1.5 * np.cos(target * np.arange(self._size))
        return torch.as_tensor(x, dtype=torch.float32), target


class Images(Blobs):
    """Bytes, the channels last."""

    def __getitem__(self, place: int) -> tuple[Any, int]:
        x, target = super().__getitem__(place)
        pixels = (x.numpy().reshape(2, 2, 3) * 30 + 128).clip(0, 255).astype(np.uint8)
        return np.kron(pixels, np.ones((2, 2, 1), np.uint8)), target


class Known(Blobs):
    """With its targets at hand, as torchvision's are."""

    num_read = 0

    @property
    def targets(self) -> list[int]:
        return [place % 3 for place in range(len(self))]

    def __getitem__(self, place: int) -> tuple[Any, int]:
        Known.num_read += 1
        return super().__getitem__(place)


class Wrong(Known):
    """With targets that are not those of its examples."""

    def __getitem__(self, place: int) -> tuple[Any, int]:
        x, target = super().__getitem__(place)
        return x, 2 - target


class Raises(Blobs):
    def __getitem__(self, place: int) -> tuple[Any, int]:
        if place == 77:
            raise OSError("the file is damaged\nand more of it")
        return super().__getitem__(place)


class RaisesLater(Known):
    """What is wrong is seen when it is trained on, not when its targets are read."""

    def __getitem__(self, place: int) -> tuple[Any, int]:
        if place in (73, 74, 78, 79):  # not those that are looked at first
            raise OSError("the file is damaged")
        return super().__getitem__(place)


class Uneven(Blobs):
    def __getitem__(self, place: int) -> tuple[Any, int]:
        x, target = super().__getitem__(place)
        return x[: 12 - (place == 81)], target


class Random(Blobs):
    def __getitem__(self, place: int) -> tuple[Any, int]:
        x, target = super().__getitem__(place)
        return x + torch.rand(()), target


class Forwards(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return iter([])


def blobs() -> Blobs:
    return Blobs()


def both() -> tuple[Blobs, Blobs]:
    return Blobs(110), Blobs(43, first=1000)


def images() -> Images:
    return Images()


def known() -> Known:
    return Known()


def wrong() -> Wrong:
    return Wrong()


def raises() -> Raises:
    return Raises()


def raises_later() -> RaisesLater:
    return RaisesLater()


def uneven() -> Uneven:
    return Uneven()


def random() -> Random:
    return Random()


def forwards() -> Forwards:
    return Forwards()


def empty() -> Blobs:
    return Blobs(0)


class Long(Blobs):
    """Examples of 40 kB, which are quickly made."""

    def __getitem__(self, place: int) -> tuple[Any, int]:
        return torch.full((10_000,), place % 3, dtype=torch.float32), place % 3


def long(path: str) -> Long:
    return Long(int(path))

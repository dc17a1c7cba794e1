"""StreamedPart: examples that are not on the device, read in the order that they are needed.

Made by ``DeviceData`` for a user's dataset that does not fit in memory, and for arrays that do not
fit on a GPU. Processes of torch's DataLoader read ahead while the device trains.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from workers.data.config import DataError
from workers.data.examples import Array, Int64Array
from workers.data.streamed import Streamed

# What one process reads at a time: several examples, so that passing them on costs little.
PIECE_BYTES = 2 * 2**20
MOST_LOADERS = 8
_TIMED_EXAMPLES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamedPart:
    """As ``Part`` of one fold; inputs are read by :meth:`at` here and by :meth:`pieces` ahead.

    Example i is row ``rows_1N[0, i]`` of ``x``, or row i where that is None; its target is
    ``targets_kN[0, i]``, on the device.
    """

    x: Streamed | Array
    rows_1N: Tensor | None
    targets_kN: Tensor
    num_loaders: int

    def __len__(self) -> int:
        return self.targets_kN.shape[1]

    @property
    def device(self) -> torch.device:
        return self.targets_kN.device

    @property
    def example_bytes(self) -> int:
        """What an example takes."""
        return max(1, int(np.prod(self.x.shape[1:])) * self.x.dtype.itemsize)

    def only(self, places_kN: Tensor) -> StreamedPart:
        """Those at these places; nothing is read."""
        rows_1N = places_kN if self.rows_1N is None else self.rows_1N.gather(1, places_kN)
        return replace(self, rows_1N=rows_1N, targets_kN=self.targets_kN.gather(1, places_kN))

    def at(self, index_vB: Tensor, folds_v: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [1, B, F] as they are given and targets [1, B]; they are read here and now."""
        x_BF = _checked(_Reader(self.x)[self._rows(index_vB[0])])
        return x_BF.to(self.device)[None], self.targets(index_vB, folds_v)

    def targets(self, index_vB: Tensor, folds_v: Tensor) -> Tensor:
        """Targets [1, B]."""
        return self.targets_kN.take(index_vB)

    def pieces(self, index_N: Tensor, ahead: int) -> Iterator[Tensor]:
        """Rows [n, F] of these examples in order, some at a time, on the device.

        Raises DataError for an example that cannot be read. So that training need not wait, twice
        ``ahead`` examples are read before they are asked for.
        """
        size = max(1, PIECE_BYTES // self.example_bytes)
        num_ahead = max(2, -(-2 * -(-ahead // size) // max(1, self.num_loaders)))
        with warnings.catch_warnings():  # as many as there are cores for, or as were asked for
            warnings.filterwarnings("ignore", "This DataLoader will create")
            loader: DataLoader[Tensor | str] = DataLoader(
                _Reader(self.x),
                batch_sampler=_Batches(self._rows(index_N), size),  # type: ignore[arg-type]  # arrays
                num_workers=self.num_loaders,
                prefetch_factor=num_ahead if self.num_loaders else None,
                collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # else the global one would be drawn from
            )
            coming = iter(loader)
        for x_nF in coming:
            yield _checked(x_nF).to(self.device, non_blocking=True)

    def seconds_to_read(self) -> float:
        """What reading all of it takes, by some examples; all processes at once."""
        rows = self._rows(torch.arange(min(len(self), _TIMED_EXAMPLES)))
        start_s = time.perf_counter()
        _checked(_Reader(self.x)[rows])
        seconds = (time.perf_counter() - start_s) / len(rows)
        return seconds * len(self) / max(1, self.num_loaders)

    def _rows(self, index_N: Tensor) -> Int64Array:
        rows_N = index_N if self.rows_1N is None else self.rows_1N[0][index_N.to(self.device)]
        rows: Int64Array = rows_N.cpu().numpy()
        return rows


def num_loaders(x: Streamed | Array, num_sharing: int) -> int:
    """How many processes read ``x`` for one of ``num_sharing`` workers of this machine.

    As ``loader_workers`` says, else one for each core that the worker has, up to eight.
    """
    if isinstance(x, Streamed) and x.loader_workers is not None:
        return x.loader_workers
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(MOST_LOADERS, cores // num_sharing))


class Reading:
    """The rows of one order from ``start`` on, read once for all who go through it in step.

    Rows are held from where they stand, but within :meth:`kept`, where all are. ``key`` says which
    order it is.
    """

    def __init__(
        self, key: int | str, part: StreamedPart, order_N: Tensor, start: int, ahead: int
    ) -> None:
        self.key, self._keeps, self._end = key, False, start
        self._coming = part.pieces(order_N[start:], ahead)
        self._held: list[tuple[int, Tensor]] = []  # pieces, each with the place of its first row

    def has(self, place: int) -> bool:
        """Whether the row at ``place``, and all after it, can still be had."""
        return place >= (self._held[0][0] if self._held else self._end)

    def between(self, start: int, stop: int) -> Tensor:
        """Rows [stop - start, F] in memory of their own; waits for those that are not read yet."""
        self._read_until(stop)
        if not self._keeps:
            self._held = [(first, x) for first, x in self._held if first + len(x) > start]
        wanted = [
            x[max(0, start - first) : stop - first]
            for first, x in self._held
            if first < stop and first + len(x) > start
        ]
        return torch.cat(wanted)

    @contextmanager
    def kept(self, stop: int) -> Iterator[None]:
        """Within, all rows are held, and those before ``stop`` at hand."""
        self._read_until(stop)
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False

    def _read_until(self, stop: int) -> None:
        while self._end < stop:
            x_nF = next(self._coming)
            self._held.append((self._end, x_nF))
            self._end += len(x_nF)


class _Reader(Dataset[Tensor | str]):
    """What a loader's process has: rows by their numbers, or a sentence on why they cannot be."""

    def __init__(self, x: Streamed | Array) -> None:
        self._x = x

    def __getitem__(self, rows: Int64Array) -> Tensor | str:
        try:
            x = self._x.read(rows) if isinstance(self._x, Streamed) else self._x[rows]
        except DataError as error:  # which the loader would raise with a traceback in its text
            return str(error)
        return torch.from_numpy(x.reshape(len(rows), -1))

    __getitems__ = __getitem__  # the loader passes all rows of a piece at once


@dataclass(frozen=True, slots=True)
class _Batches:
    """The rows of each piece. A list of all of them would take more than the examples' targets."""

    rows: Int64Array
    size: int

    def __iter__(self) -> Iterator[Int64Array]:
        for start in range(0, len(self.rows), self.size):
            yield self.rows[start : start + self.size]


def _checked(x_nF: Tensor | str) -> Tensor:
    if isinstance(x_nF, str):
        raise DataError(x_nF, "source")
    return x_nF


def _as_it_is(piece: Any) -> Any:
    return piece

"""Columns: the hyperparameters of a stack's rows as vectors over them, on the device.

Made by ``stack`` whenever its rows change; every part of the training reads its numbers here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.config import TrainConfig


class Columns:
    """What belongs to each of M rows: its configuration, the seed of its trial, its fold.

    A part that all rows have off costs nothing: ``active`` says so without looking at the device.
    """

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        seeds: Sequence[int],
        folds: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.configs, self.device, self.dtype = tuple(configs), device, dtype
        self._seeds, self._folds = tuple(seeds), tuple(folds)
        self.seeds_M = torch.tensor(self._seeds, dtype=torch.int64, device=device)
        self.folds_M = torch.tensor(self._folds, dtype=torch.int64, device=device)
        self._vectors: dict[tuple[str, torch.dtype, float], Tensor] = {}
        self._are_active: dict[tuple[str, float], bool] = {}

    def __len__(self) -> int:
        return len(self.configs)

    def of(self, rows: slice) -> Columns:
        """Those of some rows alone: what is off in all of them costs them nothing."""
        return Columns(
            self.configs[rows], self._seeds[rows], self._folds[rows], self.device, self.dtype
        )

    def number(self, name: str, *, dtype: torch.dtype | None = None, off: float = 0.0) -> Tensor:
        """The field ``name`` of all rows, [M]; None and False count as ``off``."""
        place = (name, dtype or self.dtype, off)
        if place not in self._vectors:
            values = [getattr(config, name) for config in self.configs]
            numbers = [off if value is None else float(value) for value in values]
            self._vectors[place] = self.vector(numbers, dtype)
        return self._vectors[place]

    def vector(self, numbers: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
        """Any numbers, one a row, on the device."""
        on_host = torch.tensor(list(numbers), dtype=torch.float64)
        return on_host.to(device=self.device, dtype=dtype or self.dtype)

    def chosen(self, name: str, value: str) -> Tensor:
        """Boolean [M]: the rows whose field ``name`` is ``value``."""
        place = (f"{name}={value}", torch.bool, 0.0)
        if place not in self._vectors:
            chosen = [getattr(config, name) == value for config in self.configs]
            self._vectors[place] = self.vector(chosen, torch.bool)
        return self._vectors[place]

    def alike(self, name: str, rows: slice, *, off: float = 0.0) -> float | None:
        """The field ``name`` of ``rows``, if it is the same in all of them."""
        values = {getattr(config, name) for config in self.configs[rows]}
        if len(values) > 1:
            return None
        value = values.pop()
        return off if value is None else float(value)

    def active(self, name: str, *, off: float = 0.0) -> Tensor | None:
        """The same, or None where no row has it: all are None, False or ``off``."""
        place = (name, off)
        if place not in self._are_active:  # asked for in every step
            values = [getattr(config, name) for config in self.configs]
            self._are_active[place] = any(v is not None and float(v) != off for v in values)
        return self.number(name, off=off) if self._are_active[place] else None

"""Shares: which numbers of a row are a device's, where several have each a part of the network.

Made by ``block``; a row's numbers, [P] of the whole network, are [p] here. One device has them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import prod

import torch
from torch import Tensor

from workers.training.models.base import BufferSpec, ParameterSpec
from workers.training.parallel import ALONE, Devices, Portion
from workers.training.parallel.layers import device_units, is_parted, units_of_all


class Shares:
    """The device's part of a row of ``whole`` parameters: by units of those that have such.

    ``parameters`` are as they are here, ``slices`` the columns [p] of each, and ``num_columns`` are
    those of the whole network. What all devices have alike counts once, on the first of them, in
    sums over rows.
    """

    def __init__(self, whole: Sequence[ParameterSpec], devices: Devices = ALONE) -> None:
        self._whole, self._devices = whole, devices
        self._portions = [_portion(spec, devices) for spec in whole]
        self.parameters = tuple(
            spec if portion is None else replace(spec, shape=(len(portion), *spec.shape[1:]))
            for spec, portion in zip(whole, self._portions, strict=True)
        )
        self.slices = columns_of(self.parameters)
        self.num_columns = sum(prod(spec.shape) for spec in whole)
        self.is_all = all(portion is None for portion in self._portions)

    def __str__(self) -> str:
        """What is parted, for people."""
        named = zip(self._whole, self._portions, strict=True)
        parted = [spec for spec, portion in named if portion is not None]
        layers, of = ({spec.layer for spec in specs} for specs in (parted, self._whole))
        share = sum(prod(spec.shape) for spec in parted) / self.num_columns
        return f"{len(layers)} of {len(of)} layers, {share:.0%} of the parameters"

    def device_tensors(self, whole: Sequence[Tensor]) -> list[Tensor]:
        """The device's part of each parameter, a view; each of ``whole`` is [..., *shape]."""
        return [
            tensor if portion is None else portion.of(tensor, tensor.dim() - len(spec.shape))
            for tensor, spec, portion in zip(whole, self._whole, self._portions, strict=True)
        ]

    def device_columns(self, whole_MP: Tensor) -> Tensor:
        """The device's columns [M, p] of all, [M, P]."""
        if self.is_all:
            return whole_MP
        named = zip(self._whole, columns_of(self._whole), strict=True)
        tensors = self.device_tensors([_tensor(whole_MP, spec, place) for spec, place in named])
        return torch.cat([tensor.reshape(len(whole_MP), -1) for tensor in tensors], dim=1)

    def all_columns(self, device_Mp: Tensor) -> Tensor:
        """The columns [M, P] of the whole network; in main memory if other devices have some."""
        if self.is_all:
            return device_Mp
        tensors = self._of_all(device_Mp)
        return torch.cat([each.reshape(len(device_Mp), -1).cpu() for each in tensors], dim=1)

    def norms(self, device_Mp: Tensor) -> Tensor:
        """The norm [M] of each whole row."""
        if self.is_all:
            norms_M: Tensor = device_Mp.norm(dim=1)
            return norms_M
        return self.sums(device_Mp.square()).squeeze(1).sqrt().to(device_Mp)

    def sums(self, device_Mp: Tensor) -> Tensor:
        """The sum over each whole row, [M, 1] in float64."""
        if self.is_all:
            return device_Mp.sum(1, keepdim=True, dtype=torch.float64)
        total_M1 = device_Mp.new_zeros(len(device_Mp), 1, dtype=torch.float64)
        for _, place in self.counted():
            total_M1 += device_Mp[:, place].sum(1, keepdim=True, dtype=torch.float64)
        return self.add_up(total_M1)

    def counted(self) -> Iterator[tuple[ParameterSpec, slice]]:
        """What this device counts, with its columns."""
        named = zip(self.parameters, self.slices, self._portions, strict=True)
        for spec, place, portion in named:
            if portion is not None or self._devices.rank == 0:
                yield spec, place

    def add_up(self, of_device: Tensor) -> Tensor:
        """The sum of what the devices have counted each, in its place."""
        if not self.is_all:
            self._devices.add_up(of_device)
        return of_device

    def _of_all(self, device_Mp: Tensor) -> Iterator[Tensor]:
        """Each parameter, [M, *shape], as a whole."""
        named = zip(self.parameters, self.slices, self._whole, self._portions, strict=True)
        for spec, place, whole, portion in named:
            tensor = _tensor(device_Mp, spec, place)
            if portion is not None:
                axis = -len(whole.shape)
                tensor = units_of_all(tensor, axis, whole.shape[0], self._devices)
            yield tensor


def columns_of(specs: Sequence[ParameterSpec | BufferSpec]) -> list[slice]:
    """The columns of each tensor in a row that holds them one after the other."""
    sizes = [prod(spec.shape) for spec in specs]
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]


def _portion(spec: ParameterSpec, devices: Devices) -> Portion | None:
    """The device's units of a parameter; None if it has the whole of it."""
    is_here = spec.by_unit and is_parted(spec.shape[0], devices)
    return device_units(spec.shape[0], devices) if is_here else None


def _tensor(matrix: Tensor, spec: ParameterSpec, place: slice) -> Tensor:
    """What each row of ``matrix`` has of a parameter, [M, *shape]."""
    return matrix[:, place].reshape(len(matrix), *spec.shape)

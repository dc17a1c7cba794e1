"""Shares: which numbers of a row are a device's, where several have each a part of the network.

Made by ``block``; a row's numbers, [P] of the whole network, are [p] here. One device has them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import prod

import torch
from torch import Tensor

from workers.training.models.base import BufferSpec, ParameterSpec
from workers.training.parallel import ALONE, Devices, Portion
from workers.training.parallel.layers import is_parted, own_units, units_of_all


class Shares:
    """The device's part of a row of ``whole`` parameters: by units of those that have such.

    ``parameters`` are as they are here, ``slices`` the columns [p] of each. What all devices have
    alike counts once, on the first of them, in sums over rows.
    """

    def __init__(self, whole: Sequence[ParameterSpec], devices: Devices = ALONE) -> None:
        self._whole, self._devices = whole, devices
        self._are_parted = [spec.by_unit and is_parted(spec.shape[0], devices) for spec in whole]
        self._portions = [self._portion(spec) for spec in whole]
        self.parameters = tuple(
            replace(spec, shape=(len(portion), *spec.shape[1:])) if parted else spec
            for spec, portion, parted in zip(whole, self._portions, self._are_parted, strict=True)
        )
        self.slices = columns_of(self.parameters)
        self.counts = [parted or devices.rank == 0 for parted in self._are_parted]
        self.is_all = not any(self._are_parted)

    @property
    def num_columns(self) -> int:
        """Of the whole network."""
        return sum(prod(spec.shape) for spec in self._whole)

    def own(self, whole: Sequence[Tensor]) -> list[Tensor]:
        """The device's part of each parameter, a view; each of ``whole`` is [..., *shape]."""
        return [
            portion.of(tensor, tensor.dim() - len(spec.shape)) if parted else tensor
            for tensor, spec, portion, parted in zip(
                whole, self._whole, self._portions, self._are_parted, strict=True
            )
        ]

    def own_tensor(self, name: str, whole: Tensor) -> Tensor:
        """The device's part of one parameter [M, *shape], or all of a tensor that is none."""
        for spec, portion, parted in zip(
            self._whole, self._portions, self._are_parted, strict=True
        ):
            if parted and spec.name == name:
                return portion.of(whole, 1)
        return whole

    def own_columns(self, whole_MP: Tensor) -> Tensor:
        """The device's columns [M, p] of all, [M, P]."""
        if self.is_all:
            return whole_MP
        named = zip(self._whole, columns_of(self._whole), strict=True)
        tensors = [_tensor(whole_MP, spec, place) for spec, place in named]
        return torch.cat([tensor.reshape(len(whole_MP), -1) for tensor in self.own(tensors)], dim=1)

    def all_columns(self, own_Mp: Tensor) -> Tensor:
        """The columns [M, P] of the whole network, in the main memory; of each device its own."""
        if self.is_all:
            return own_Mp
        tensors = (
            self._of_all(_tensor(own_Mp, spec, place), index).reshape(len(own_Mp), -1).cpu()
            for index, (spec, place) in enumerate(zip(self.parameters, self.slices, strict=True))
        )
        return torch.cat(list(tensors), dim=1)

    def norms(self, own_Mp: Tensor) -> Tensor:
        """The norm [M] of each whole row."""
        if self.is_all:
            norms_M: Tensor = own_Mp.norm(dim=1)
            return norms_M
        return self.sums(own_Mp.square()).squeeze(1).sqrt().to(own_Mp)

    def sums(self, own_Mp: Tensor) -> Tensor:
        """The sum over each whole row, [M, 1] in float64."""
        if self.is_all:
            return own_Mp.sum(1, keepdim=True, dtype=torch.float64)
        total_M1 = own_Mp.new_zeros(len(own_Mp), 1, dtype=torch.float64)
        for place, is_counted in zip(self.slices, self.counts, strict=True):
            if is_counted:
                total_M1 += own_Mp[:, place].sum(1, keepdim=True, dtype=torch.float64)
        return self.add_up(total_M1)

    def add_up(self, of_device: Tensor) -> Tensor:
        """The sum of what the devices have counted each, in its place."""
        if not self.is_all:
            self._devices.add_up(of_device)
        return of_device

    def _portion(self, spec: ParameterSpec) -> Portion:
        return own_units(spec.shape[0] if spec.shape else 1, self._devices)

    def _of_all(self, own: Tensor, index: int) -> Tensor:
        if not self._are_parted[index]:
            return own
        axis = -len(self._whole[index].shape)
        return units_of_all(own, axis, self._whole[index].shape[0], self._devices)


def _tensor(matrix: Tensor, spec: ParameterSpec, place: slice) -> Tensor:
    """What each row of ``matrix`` has of a parameter, [M, *shape]."""
    return matrix[:, place].reshape(len(matrix), *spec.shape)


def columns_of(specs: Sequence[ParameterSpec | BufferSpec]) -> list[slice]:
    """The columns of each tensor in a row that holds them one after the other."""
    sizes = [prod(spec.shape) for spec in specs]
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]

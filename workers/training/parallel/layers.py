"""A layer of which several devices have each some units: what they tell one another, and when.

Called by models around the product of a layer. Each device multiplies its own units' weights by the
whole input (column parallel, Shoeybi et al. 2019, Megatron-LM), and has the whole output then.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workers.training.parallel.devices import Devices
from workers.training.parallel.portion import Portion, portion_of

# Axes are counted from the end, so that rows may be stacked in front of them by vmap.


def is_parted(units: int, devices: Devices) -> bool:
    """Whether each of ``devices`` has some of a layer's ``units``; if they are too few, all have
    them all."""
    return 1 < devices.num <= units


def device_units(units: int, devices: Devices) -> Portion:
    """Those of a layer that are this device's."""
    if not is_parted(units, devices):
        return Portion(0, units, units)
    return portion_of(units, devices.rank, devices.num)


def entered(h: Tensor, units: int, devices: Devices) -> Tensor:
    """``h``, the input of a layer with so many units; its gradient is the sum of all devices'."""
    if not is_parted(units, devices):
        return h
    entering: Tensor = _Entered.apply(h, devices)  # type: ignore[no-untyped-call]
    return entering


def gathered(h: Tensor, axis: int, units: int, devices: Devices) -> Tensor:
    """All ``units`` of a layer's output along ``axis`` (negative), of which ``h`` has the device's.

    Its gradient is the same on all devices, each of which takes that of its own units.
    """
    if not is_parted(units, devices):
        return h
    whole: Tensor = _Gathered.apply(h, axis, units, devices)  # type: ignore[no-untyped-call]
    return whole


def device_part(whole: Tensor, axis: int, devices: Devices) -> Tensor:
    """The device's units of a layer's output, a view."""
    return device_units(whole.shape[axis], devices).of(whole, axis)


def units_of_all(part: Tensor, axis: int, units: int, devices: Devices) -> Tensor:
    """All ``units`` along ``axis``, of which ``part`` has the device's; without a gradient."""
    sizes = [len(portion_of(units, rank, devices.num)) for rank in range(devices.num)]
    room = list(part.shape)
    room[axis] = max(sizes) - part.shape[axis]
    alike = torch.cat([part, part.new_zeros(room)], axis) if room[axis] else part
    parts = zip(devices.collected(alike), sizes, strict=True)
    return torch.cat([each.narrow(axis, 0, size) for each, size in parts], axis)


def added_up(gradient: Tensor, devices: Devices) -> Tensor:
    """The sum of all devices', in float32 where they are narrower."""
    is_narrow = gradient.dtype == torch.bfloat16
    total = gradient.to(torch.float32 if is_narrow else gradient.dtype, copy=True).contiguous()
    devices.add_up(total)
    return total.to(gradient.dtype)


class _Entered(torch.autograd.Function):
    @staticmethod
    def forward(h: Tensor, devices: Devices) -> Tensor:
        return h.view_as(h)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.devices = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return added_up(gradient, ctx.devices), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, h: Tensor, devices: Devices) -> tuple[Tensor, int]:
        stacked = h.movedim(in_dims[0], 0)
        return _Entered.apply(stacked, devices), 0  # type: ignore[no-untyped-call]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(h: Tensor, axis: int, units: int, devices: Devices) -> Tensor:
        return units_of_all(h, axis, units, devices)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.axis, _, ctx.devices = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return device_part(gradient, ctx.axis, ctx.devices), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, h: Tensor, axis: int, units: int, devices: Devices
    ) -> tuple[Tensor, int]:
        stacked = h.movedim(in_dims[0], 0)
        return _Gathered.apply(stacked, axis, units, devices), 0  # type: ignore[no-untyped-call]

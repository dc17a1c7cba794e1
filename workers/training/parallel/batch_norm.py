"""Batch normalization of a minibatch that several devices have parted, as nn.SyncBatchNorm.

Called by ``models.normalization``. Written out, since nn.SyncBatchNorm runs on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workers.training.parallel.devices import Devices


def synchronized(
    h_NKS: Tensor, gain_K: Tensor, shift_K: Tensor, count: int, eps: float, devices: Devices
) -> tuple[Tensor, Tensor, Tensor]:
    """``h`` normalized over all axes but K by what all ``devices`` have of it, ``count`` values a
    unit; and their mean and unbiased variance [K].

    The variance is that of the distances from the mean, which takes a sum of its own: a difference
    of squares would lose its digits.
    """
    axes = [axis for axis in range(h_NKS.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(h_NKS.dim())]
    wide = torch.float32 if h_NKS.dtype == torch.bfloat16 else h_NKS.dtype
    mean_K = _total(h_NKS.sum(axes, dtype=wide), devices) / count
    away_NKS = h_NKS - mean_K.view(shape)
    squares_K = _total(away_NKS.square().sum(axes), devices)
    scale_K = gain_K * torch.rsqrt(squares_K / count + eps)
    normalized = torch.addcmul(shift_K.view(shape), away_NKS, scale_K.view(shape))
    return normalized.to(h_NKS.dtype), mean_K.detach(), (squares_K / (count - 1)).detach()


def _total(of_device: Tensor, devices: Devices) -> Tensor:
    total: Tensor = _Total.apply(of_device, devices)  # type: ignore[no-untyped-call]
    return total


class _Total(torch.autograd.Function):
    """The sum over devices, of which each has a loss of its own: so has each a gradient by it."""

    @staticmethod
    def forward(ctx: Any, of_device: Tensor, devices: Devices) -> Tensor:
        ctx.devices, total = devices, of_device.clone()
        devices.add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        ctx.devices.add_up(total)
        return total, None

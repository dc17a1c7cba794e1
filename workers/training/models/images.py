"""Images of all rows: how they lie in memory, and how they are convolved and pooled there.

Called by ``cnn``. Images are [B, K, height, width] in shape, K = M*C channels, or C where all rows
see the same; in memory a CPU has the channels innermost, a GPU outermost.
"""

# On a CPU all rows are one grouped convolution. Measured on one thread of an AMD EPYC with PyTorch
# 2.13 (images 28x28x1, 16 and 32 channels, batch 32, forward and backward, per row, against one
# nn.Conv2d network after another at 4 ms), M = 1, 8, 32:
#   grouped, channels-last              1.9, 1.7, 1.1 times as fast (2.05 with M = 4)
#   grouped, channels first             1.0, 0.95, 0.8
#   a loop over rows, channels-last     1.9, 1.8, 1.8   (no row axis for dropout to draw masks in)
#   im2col and baddbmm                  0.4, 0.35, 0.25
#   torch.unfold and matmul             0.6, 0.5, 0.35
# A row alone fills the processor, and the activations of many leave its cache, so narrow groups
# train faster. On a GPU cuDNN takes the groups of one convolution one after the other, a kernel
# each: there the patches are spelt out and multiplied, all rows at once.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.training.models.products import affine
from workers.training.parallel import Devices, layers

POOLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max": F.max_pool2d,
    "average": F.avg_pool2d,
}


def arranged(x_mBF: Tensor, image: tuple[int, int, int]) -> Tensor:
    """Flat images in C, H, W order as [B, m*C, height, width].

    The last step has an effect on images of one channel alone: they count as channels-first, and so
    would all that a convolution makes of them, until their strides are spelt out.
    """
    channels, height, width = image
    x_mBCP = x_mBF.view(*x_mBF.shape[:2], channels, height * width)
    if x_mBF.is_cuda:
        return x_mBCP.transpose(1, 2).reshape(-1, x_mBF.shape[1], height, width).transpose(0, 1)
    shape = x_mBF.shape[1], height, width, len(x_mBF) * channels
    x_BYXK = x_mBCP.permute(1, 3, 0, 2).reshape(shape).contiguous()
    return x_BYXK.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)


def convolved(h_BKYX: Tensor, weight_MOIkk: Tensor, bias_MO: Tensor) -> Tensor:
    """The convolution that keeps the images' size, [B, M*O, height, width]."""
    if h_BKYX.is_cuda:
        return by_patches(h_BKYX, weight_MOIkk, bias_MO)
    return F.conv2d(
        h_BKYX,
        weight_MOIkk.flatten(0, 1),
        bias_MO.flatten(),
        padding=weight_MOIkk.shape[-1] // 2,
        groups=h_BKYX.shape[1] // weight_MOIkk.shape[2],  # one where all rows see the same images
    )


def gathered_channels(h_BKYX: Tensor, channels: int, devices: Devices) -> Tensor:
    """All ``channels`` of each row, of which ``h`` has the device's."""
    if not layers.is_parted(channels, devices):
        return h_BKYX
    own = len(layers.device_units(channels, devices))
    h_BMCYX = layers.gathered(torch.unflatten(h_BKYX, 1, (-1, own)), -3, channels, devices)
    whole_BKYX = h_BMCYX.flatten(1, 2)
    return whole_BKYX if h_BKYX.is_cuda else whole_BKYX.to(memory_format=torch.channels_last)


def numbers(device: torch.device, channels: tuple[int, int], size: int) -> int:
    """What a convolution holds a pixel at most, from so many channels to so many."""
    channels_in, channels_out = channels
    return max(channels_in * size**2, channels_out) if device.type == "cuda" else channels_out


def pooled(h_BKYX: Tensor, pooling: str) -> Tensor:
    """Each square of 2 x 2 pixels as one, their maximum or their average."""
    if h_BKYX.is_cuda:
        return POOLINGS[pooling](h_BKYX.transpose(0, 1), 2).transpose(0, 1)
    return POOLINGS[pooling](h_BKYX, 2)


def with_gradient_arranged(h_BKYX: Tensor) -> Tensor:
    """The identity, whose gradient lies in memory as images do."""
    h_BKYX = _GradientArranged.apply(h_BKYX)  # type: ignore[no-untyped-call]  # untyped there
    return h_BKYX


def by_patches(h_BKYX: Tensor, weight_MOIkk: Tensor, bias_MO: Tensor) -> Tensor:
    """As ``convolved``: for each pixel the patch around it, multiplied by each row's weights."""
    num_rows, channels_out, channels_in, size, _ = weight_MOIkk.shape
    num_examples, _, height, width = h_BKYX.shape
    h_mIBYX = torch.unflatten(h_BKYX.transpose(0, 1), 0, (-1, channels_in))
    patches_mFP: Tensor = _Patches.apply(h_mIBYX, size)  # type: ignore[no-untyped-call]
    h_MOP = affine(weight_MOIkk.flatten(2), patches_mFP, bias_MO)
    h_KBYX = h_MOP.view(num_rows * channels_out, num_examples, height, width)
    return h_KBYX.transpose(0, 1)


class _Patches(torch.autograd.Function):
    """[m, I, B, height, width] as [m, I*k*k, B*height*width]: what each pixel has around it."""

    @staticmethod
    def forward(ctx: Any, h_mIBYX: Tensor, size: int) -> Tensor:
        ctx.shape, ctx.size = h_mIBYX.shape, size
        padded = F.pad(h_mIBYX, (size // 2,) * 4)
        patches_mIBYXkk = padded.unfold(3, size, 1).unfold(4, size, 1)
        return patches_mIBYXkk.permute(0, 1, 5, 6, 2, 3, 4).flatten(4, 6).flatten(1, 3)

    @staticmethod
    def backward(ctx: Any, gradient_mFP: Tensor) -> tuple[Tensor, None]:
        num_rows, channels, num_examples, height, width = ctx.shape
        size, edge = ctx.size, ctx.size // 2
        each = gradient_mFP.view(num_rows, channels, size**2, num_examples, height, width)
        padded = each.new_zeros(*each.shape[:2], num_examples, height + 2 * edge, width + 2 * edge)
        for place in range(size**2):
            y, x = divmod(place, size)
            padded[..., y : y + height, x : x + width] += each[:, :, place]
        return padded[..., edge : edge + height, edge : edge + width], None


class _GradientArranged(torch.autograd.Function):
    """The linear layers return a gradient in their own order; pooling and activation would answer
    in it and copy the images for it (on a CPU a step takes 1.15 times as long)."""

    @staticmethod
    def forward(ctx: Any, h_BKYX: Tensor) -> Tensor:
        return h_BKYX.view_as(h_BKYX)

    @staticmethod
    def backward(ctx: Any, gradient_BKYX: Tensor) -> Tensor:
        if gradient_BKYX.is_cuda:
            return gradient_BKYX.transpose(0, 1).contiguous().transpose(0, 1)
        return gradient_BKYX.contiguous(memory_format=torch.channels_last)

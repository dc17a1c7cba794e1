"""A small convolutional network: blocks of convolutions and pooling, then linear layers.

Made by ``build_model``, called by the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.training.models import images
from workers.training.models.activations import ACTIVATIONS, slope_parameters, slopes
from workers.training.models.base import BufferSpec, ParameterSpec, Pass, Pullback
from workers.training.models.linear import LinearLayers, affine_parameters
from workers.training.models.normalization import Normalization
from workers.training.parallel.layers import entered


@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """Convolution that keeps the images' size, normalization, activation, dropout."""

    layer: int
    channels: tuple[int, int]  # in, out
    kernel_size: int
    activation: str
    normalization: Normalization

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        fan_in, fan_out = self.channels
        shape = (fan_out, fan_in, self.kernel_size, self.kernel_size)
        return (
            *affine_parameters(self.layer, shape),
            *self.normalization.parameters(self.layer, fan_out),
            *slope_parameters(self.activation, self.layer),
        )

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        return self.normalization.buffers(self.layer, self.channels[1])

    def forward(self, given: Pass, h_BKYX: Tensor) -> Tensor:
        """[B, M*C, height, width] from m*C channels in."""
        weight_MOIkk, devices = self.normalization.weight(given, self.layer), given.mesh.model
        h_BKYX = entered(h_BKYX, self.channels[1], devices)
        h_BKYX = images.convolved(h_BKYX, weight_MOIkk, given.weights[f"{self.layer}.bias"])
        h_BKYX = images.gathered_channels(h_BKYX, self.channels[1], devices)
        h_BKYX = self.normalization.of_images(h_BKYX, given, self.layer)
        return self._activate(h_BKYX, given)

    def _activate(self, h_BKYX: Tensor, given: Pass) -> Tensor:
        num_channels = self.channels[1]
        slope_M = slopes(self.activation, given, self.layer)
        slope_K = None if slope_M is None else slope_M.repeat_interleave(num_channels)
        slope_K11 = None if slope_K is None else slope_K[:, None, None]
        h_BKYX = ACTIVATIONS[self.activation].apply(h_BKYX, slope_K11)
        if given.observe is None and given.dropout is None:
            return h_BKYX
        h_MBCYX = _by_row(h_BKYX, num_channels).transpose(0, 1)
        if given.observe is not None:
            given.observe(h_MBCYX, self.layer)
        if given.dropout is None:
            return h_BKYX
        return given.dropout(h_MBCYX, self.layer).transpose(0, 1).flatten(1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class CNN:
    """Blocks of convolutions, each block pooled by 2, then linear layers on channels x pixels."""

    image: tuple[int, int, int]
    blocks: tuple[tuple[Convolution, ...], ...]
    pooling: str
    global_average_pooling: bool
    layers: LinearLayers

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return tuple(s for part in self._parts() for s in part.parameters)

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        return tuple(s for part in self._parts() for s in part.buffers)

    @property
    def refusal(self) -> None:
        return None

    def widest(self, device: torch.device) -> int:
        sizes = _image_sizes(self.image, len(self.blocks), self.pooling)
        numbers = [
            images.numbers(device, convolution.channels, convolution.kernel_size) * height * width
            for block, (height, width) in zip(self.blocks, sizes, strict=False)
            for convolution in block
        ]
        channels, height, width = self.image
        return max(channels * height * width, *numbers, *self.layers.widths)

    def forward(self, given: Pass, x_mBF: Tensor) -> Tensor:
        h_BKYX = images.arranged(x_mBF, self.image)
        for block in self.blocks:
            for convolution in block:
                h_BKYX = convolution.forward(given, h_BKYX)
            if self.pooling != "none":
                h_BKYX = images.pooled(h_BKYX, self.pooling)
        h_BKYX = images.with_gradient_arranged(h_BKYX)
        if self.global_average_pooling:
            h_BKYX = h_BKYX.mean((2, 3), keepdim=True)
        channels = self.blocks[-1][-1].channels[1] if self.blocks else self.image[0]
        h_mCYXB = _by_row(h_BKYX, channels).permute(1, 2, 3, 4, 0)
        return self.layers.forward(given, h_mCYXB.flatten(1, 3)).transpose(1, 2)

    def fresh(self, generator: torch.Generator) -> None:
        return None

    def vjp(self, given: Pass, x_mBF: Tensor) -> tuple[Tensor, Pullback] | None:
        return None

    def _parts(self) -> tuple[Convolution | LinearLayers, ...]:
        return (*(part for block in self.blocks for part in block), self.layers)


def cnn(config: TrainConfig, data: DataShape) -> CNN:
    """The network of ``config.block_channels()`` and, after them, ``config.layer_widths()``.

    Its linear layers go without instance normalization: they have no pixels.
    """
    assert data.image is not None, "check_combination admits a cnn for images only"
    channels = config.block_channels()
    *_, (height, width) = _image_sizes(data.image, len(channels), config.pooling)
    pixels = 1 if config.global_average_pooling else height * width
    features = (channels or data.image)[len(channels) - 1 if channels else 0] * pixels
    name = "none" if config.normalization == "instance" else config.normalization
    return CNN(
        image=data.image,
        blocks=_blocks(config, data.image[0]),
        pooling=config.pooling,
        global_average_pooling=config.global_average_pooling,
        layers=LinearLayers(
            widths=(features, *config.layer_widths(), data.num_outputs),
            activation=config.activation,
            normalization=Normalization(name=name, groups=config.norm_groups),
            first=config.convs_per_block * len(channels),
        ),
    )


def _blocks(config: TrainConfig, channels_in: int) -> tuple[tuple[Convolution, ...], ...]:
    per_block = config.convs_per_block
    widths = [channels_in, *(c for c in config.block_channels() for _ in range(per_block))]
    convolutions = tuple(
        Convolution(
            layer=layer,
            channels=channels,
            kernel_size=config.kernel_size,
            activation=config.activation,
            normalization=Normalization(name=config.normalization, groups=config.norm_groups),
        )
        for layer, channels in enumerate(pairwise(widths))
    )
    starts = range(0, len(convolutions), per_block)
    return tuple(convolutions[start : start + per_block] for start in starts)


def _image_sizes(
    image: tuple[int, int, int], num_blocks: int, pooling: str
) -> list[tuple[int, int]]:
    """Height and width within each block, and after the last."""
    _, height, width = image
    halvings = range(num_blocks + 1) if pooling != "none" else [0] * (num_blocks + 1)
    return [(height >> halved, width >> halved) for halved in halvings]


def _by_row(h_BKYX: Tensor, channels: int) -> Tensor:
    """[B, M, C, height, width], a view."""
    num_rows = h_BKYX.shape[1] // channels
    return h_BKYX.view(len(h_BKYX), num_rows, channels, *h_BKYX.shape[2:])

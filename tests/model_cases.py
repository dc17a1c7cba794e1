"""Ordinary torch.nn networks to hold the stacked models to, and passes made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.training.columns import Columns
from workers.training.models.base import Model, Pass

CPU = torch.device("cpu")
IMAGES = DataShape(
    num_features=2 * 9 * 8, image=(2, 9, 8), num_outputs=4, is_regression=False, num_train=50
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Arctan(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return torch.arctan(h)


class StraightThrough(nn.Module):
    """1[h > 0] with the gradient of hardtanh."""

    def forward(self, h: Tensor) -> Tensor:
        window = nn.functional.hardtanh(h)
        return window + ((h > 0).to(h) - window).detach()


TORCH_ACTIVATIONS: dict[str, Callable[[TrainConfig], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "leaky_relu": lambda config: nn.LeakyReLU(config.negative_slope),
    "prelu": lambda _: nn.PReLU(1),
    "elu": lambda _: nn.ELU(),
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(),
    "tanh": lambda _: nn.Tanh(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "arctan": lambda _: Arctan(),
    "identity": lambda _: nn.Identity(),
    "step": lambda _: StraightThrough(),
}
TORCH_POOLINGS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Reference(nn.Module):
    """The network that ``config`` names, for one row, of PyTorch's own modules."""

    def __init__(self, config: TrainConfig, data: DataShape) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.affine, self.norms, self.activations = (
            nn.ModuleList(),
            nn.ModuleList(),
            nn.ModuleList(),
        )
        self.after_layer: Callable[[Tensor, int], Tensor] = lambda h, layer: h
        features, self.pooled_layers = data.num_features, set()
        if config.model == "cnn":
            features = self._add_convolutions()
        self.num_convolutions = len(self.affine)
        self._add_linear_layers((features, *config.layer_widths(), data.num_outputs))
        self.double()

    def forward(self, x_BF: Tensor) -> Tensor:
        h = x_BF.unflatten(1, self.data.image) if self.config.model == "cnn" else x_BF
        for layer, affine in enumerate(self.affine[:-1]):
            h = self._flattened(h) if layer == self.num_convolutions else h
            h = self.activations[layer](self.norms[layer](affine(h)))
            h = self.after_layer(h, layer)
            if layer in self.pooled_layers:
                h = TORCH_POOLINGS[self.config.pooling](2)(h)
        return self.affine[-1](self._flattened(h))

    def named_as_ours(self) -> dict[str, Tensor]:
        """Parameters and running statistics by our names; tensors, to be read and written."""
        named: dict[str, Tensor] = {}
        for layer, affine in enumerate(self.affine):
            named[f"{layer}.bias"] = affine.bias
            if hasattr(affine, "parametrizations"):
                named[f"{layer}.gain"] = affine.parametrizations.weight.original0
                named[f"{layer}.weight"] = affine.parametrizations.weight.original1
            else:
                named[f"{layer}.weight"] = affine.weight
        for layer, (norm, activation) in enumerate(zip(self.norms, self.activations, strict=True)):
            ours = {"weight": "gain", "bias": "shift"}
            for name, tensor in (*norm.named_parameters(), *norm.named_buffers()):
                named[f"{layer}.{ours.get(name, name)}"] = tensor
            for tensor in activation.parameters():
                named[f"{layer}.slope"] = tensor
        return {name: t for name, t in named.items() if not name.endswith("num_batches_tracked")}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over a row's parameters and buffers."""
        named = self.named_as_ours()
        assert named.keys() == tensors.keys()
        with torch.no_grad():
            for name, tensor in tensors.items():
                named[name].copy_(tensor.view(named[name].shape))

    def _flattened(self, h: Tensor) -> Tensor:
        if h.dim() == 4 and self.config.global_average_pooling:
            h = nn.AdaptiveAvgPool2d(1)(h)
        return h.flatten(1)

    def _add_convolutions(self) -> int:
        config = self.config
        channels, height, width = self.data.image
        for out_channels in config.block_channels():
            for _ in range(config.convs_per_block):
                convolution = nn.Conv2d(channels, out_channels, config.kernel_size, padding="same")
                self._add(convolution, out_channels, config.normalization, images=True)
                channels = out_channels
            if config.pooling != "none":
                self.pooled_layers.add(len(self.affine) - 1)
                height, width = height // 2, width // 2
        return channels if config.global_average_pooling else channels * height * width

    def _add_linear_layers(self, widths: Sequence[int]) -> None:
        name = self.config.normalization
        for fan_in, fan_out in pairwise(widths[:-1]):
            self._add(
                nn.Linear(fan_in, fan_out), fan_out, "none" if name == "instance" else name, False
            )
        self.affine.append(nn.Linear(*widths[-2:]))

    def _add(self, affine: nn.Module, units: int, name: str, images: bool) -> None:
        self.affine.append(weight_norm(affine) if name == "weight" else affine)
        self.norms.append(self._normalization(name, units, images))
        self.activations.append(TORCH_ACTIVATIONS[self.config.activation](self.config))

    def _normalization(self, name: str, units: int, images: bool) -> nn.Module:
        momentum = self.config.norm_momentum
        if name == "batch":
            kind = nn.BatchNorm2d if images else nn.BatchNorm1d
            return kind(units, momentum=momentum)
        if name == "layer":
            return nn.GroupNorm(1, units) if images else nn.LayerNorm(units)
        if name == "group":
            return nn.GroupNorm(self.config.norm_groups, units)
        return nn.InstanceNorm2d(units, affine=True) if name == "instance" else nn.Identity()


class Rows:
    """M rows of ``model`` with weights of their own, drawn from ``seed``, and fresh buffers."""

    def __init__(
        self,
        model: Model,
        configs: Sequence[TrainConfig],
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.model, self.dtype = model, dtype
        self.columns = Columns(configs, range(len(configs)), [0] * len(configs), CPU, dtype)
        self.weights = {
            spec.name: (torch.randn(len(configs), *spec.shape, generator=draw).to(dtype) * 0.4)
            for spec in model.parameters
        }
        for leaf in self.weights.values():
            leaf.requires_grad_()
        self.buffers = {
            spec.name: torch.full((len(configs), *spec.shape), spec.start, dtype=dtype)
            for spec in model.buffers
        }

    def given(self, *, training: bool = True, **hooks: object) -> Pass:
        return Pass(
            weights=self.weights,
            buffers=self.buffers,
            columns=self.columns,
            training=training,
            **hooks,
        )

    def forward(self, x_mBF: Tensor, *, training: bool = True, **hooks: object) -> Tensor:
        return self.model.forward(self.given(training=training, **hooks), x_mBF)

    def of(self, row: int) -> dict[str, Tensor]:
        """One row's parameters and buffers."""
        return {name: t[row].detach() for name, t in (self.weights | self.buffers).items()}

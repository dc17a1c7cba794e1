"""Models over M members: a description of the parameters, and a forward pass with a member axis.

Built-in layers carry the member axis themselves: on a CPU that takes much less time than
``torch.func.vmap`` over ordinary modules (benchmarks/layers.py). Called by ``stack`` and
``loop``; a new model is one class and one line in ``MODELS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from workers.config import TrainConfig

Activation = Callable[[Tensor], Tensor]
Dropout = Callable[[Tensor, int], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu_,  # in place: the affine map under it does not need its output again
    "leaky_relu": nn.functional.leaky_relu,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda h: h,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterSpec:
    """One parameter tensor of one member. Biases start at zero and are not regularized."""

    name: str
    shape: tuple[int, ...]
    is_bias: bool


class Model(Protocol):
    """What the loop needs of a model; see :class:`MLP`."""

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]: ...

    @property
    def widest(self) -> int:
        """Numbers that one example holds in the widest layer, to bound an evaluation's memory."""
        ...

    def forward(
        self, weights: Mapping[str, Tensor], x_BF: Tensor, dropout: Dropout | None
    ) -> Tensor:
        """Logits [M, B, C] of all members on one shared minibatch."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MLP:
    """A multilayer perceptron: linear layers with an activation and dropout between them."""

    num_features: int
    hidden: tuple[int, ...]
    num_classes: int
    activation: Activation

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.num_features, *self.hidden, self.num_classes)

    @property
    def widest(self) -> int:
        return max(self.widths)

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return tuple(
            spec
            for layer, (fan_in, fan_out) in enumerate(pairwise(self.widths))
            for spec in (
                ParameterSpec(name=f"{layer}.weight", shape=(fan_out, fan_in), is_bias=False),
                ParameterSpec(name=f"{layer}.bias", shape=(fan_out,), is_bias=True),
            )
        )

    def forward(
        self, weights: Mapping[str, Tensor], x_BF: Tensor, dropout: Dropout | None
    ) -> Tensor:
        """Logits [M, B, C]. Activations lie as [M, H, B]: the softmax over a short class axis is
        several times faster with the examples innermost."""
        num_members = weights["0.bias"].shape[0]
        h_MHB = x_BF.t().expand(num_members, -1, -1)
        for layer in range(len(self.hidden) + 1):
            bias_MH1 = weights[f"{layer}.bias"].unsqueeze(-1)
            h_MHB = torch.baddbmm(bias_MH1, weights[f"{layer}.weight"], h_MHB)
            if layer < len(self.hidden):
                h_MHB = self.activation(h_MHB)
                h_MHB = dropout(h_MHB, layer) if dropout else h_MHB
        return h_MHB.transpose(1, 2)


def _mlp(config: TrainConfig, num_features: int, num_classes: int) -> Model:
    return MLP(
        num_features=num_features,
        hidden=config.layer_widths(),
        num_classes=num_classes,
        activation=ACTIVATIONS[config.activation],
    )


MODELS: dict[str, Callable[[TrainConfig, int, int], Model]] = {"mlp": _mlp}


def build_model(config: TrainConfig, num_features: int, num_classes: int) -> Model:
    """The model that ``config`` names, for inputs of ``num_features`` numbers."""
    return MODELS[config.model](config, num_features, num_classes)

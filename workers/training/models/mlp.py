"""The multilayer perceptron; logistic regression is the one without hidden layers.

Layers carry the row axis themselves: on a CPU that takes much less time than ``torch.func.vmap``
over ordinary modules (benchmarks/layers.py). Made by ``build_model``, called by the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.training.models.base import BufferSpec, ParameterSpec, Pass, Pullback
from workers.training.models.linear import LinearLayers
from workers.training.models.normalization import Normalization


@dataclass(frozen=True, kw_only=True, slots=True)
class MLP:
    """Linear layers on the examples as they are."""

    layers: LinearLayers

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return self.layers.parameters

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        return self.layers.buffers

    @property
    def refusal(self) -> None:
        return None

    def widest(self, device: torch.device) -> int:
        return max(self.layers.widths)

    def forward(self, given: Pass, x_mBF: Tensor) -> Tensor:
        return self.layers.forward(given, x_mBF.transpose(1, 2)).transpose(1, 2)

    def fresh(self, generator: torch.Generator) -> None:
        return None

    def vjp(self, given: Pass, x_mBF: Tensor) -> tuple[Tensor, Pullback] | None:
        if not self.layers.has_vjp:
            return None
        outputs_MCB, pullback = self.layers.vjp(given, x_mBF.transpose(1, 2))
        return outputs_MCB.transpose(1, 2), lambda g_MBC: pullback(g_MBC.transpose(1, 2))


def mlp(config: TrainConfig, data: DataShape) -> MLP:
    """The network of ``config.layer_widths()``: none of logistic regression."""
    widths = (data.num_features, *config.layer_widths(), data.num_outputs)
    normalization = Normalization(name=config.normalization, groups=config.norm_groups)
    return MLP(
        layers=LinearLayers(
            widths=widths, activation=config.activation, normalization=normalization
        )
    )

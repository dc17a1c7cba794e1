"""The linear layers of a network: hidden ones with all that belongs to them, then the head.

``mlp`` is made of them, ``cnn`` ends with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from workers.training.models.activations import ACTIVATIONS, slope_parameters, slopes
from workers.training.models.base import BufferSpec, ParameterSpec, Pass
from workers.training.models.normalization import Normalization


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearLayers:
    """Linear, normalization, activation, dropout for each hidden width; a last linear layer.

    ``widths`` go from the inputs to the outputs; ``first`` numbers the first layer.
    """

    widths: tuple[int, ...]
    activation: str
    normalization: Normalization
    first: int = 0

    @property
    def head(self) -> int:
        """The number of the last layer."""
        return self.first + len(self.widths) - 2

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return tuple(
            spec
            for layer, (fan_in, fan_out) in enumerate(pairwise(self.widths), self.first)
            for spec in (
                *affine_parameters(layer, (fan_out, fan_in)),
                *(self._hidden_parameters(layer, fan_out) if layer < self.head else ()),
            )
        )

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        hidden = enumerate(self.widths[1:-1], self.first)
        return tuple(
            spec for layer, units in hidden for spec in self.normalization.buffers(layer, units)
        )

    def forward(self, given: Pass, h_mFB: Tensor) -> Tensor:
        """Outputs [M, C, B]. The examples lie innermost throughout: the softmax over a short class
        axis is several times faster that way (benchmarks/layers.py)."""
        h_MHB = h_mFB.expand(len(given.columns), -1, -1)
        for layer in range(self.first, self.head):
            h_MHB = _affine(h_MHB, self.normalization.weight(given, layer), given, layer)
            h_MHB = self.normalization.of_units(h_MHB, given, layer)
            h_MHB = self._activate(h_MHB, given, layer)
        return _affine(h_MHB, given.weights[f"{self.head}.weight"], given, self.head)

    def _activate(self, h_MHB: Tensor, given: Pass, layer: int) -> Tensor:
        slope_M = slopes(self.activation, given, layer)
        slope_M11 = None if slope_M is None else slope_M[:, None, None]
        h_MHB = ACTIVATIONS[self.activation].apply(h_MHB, slope_M11)
        if given.observe is not None:
            given.observe(h_MHB, layer)
        return h_MHB if given.dropout is None else given.dropout(h_MHB, layer)

    def _hidden_parameters(self, layer: int, units: int) -> tuple[ParameterSpec, ...]:
        return (
            *self.normalization.parameters(layer, units),
            *slope_parameters(self.activation, layer),
        )


def affine_parameters(layer: int, shape: tuple[int, ...]) -> tuple[ParameterSpec, ParameterSpec]:
    """The weight, of ``shape`` [out, ...], and the bias [out] of a layer."""
    return (
        ParameterSpec(name=f"{layer}.weight", shape=shape, layer=layer, kind="weight"),
        ParameterSpec(name=f"{layer}.bias", shape=shape[:1], layer=layer, kind="bias"),
    )


def _affine(h_MFB: Tensor, weight_MHF: Tensor, given: Pass, layer: int) -> Tensor:
    return torch.baddbmm(given.weights[f"{layer}.bias"].unsqueeze(-1), weight_MHF, h_MFB)

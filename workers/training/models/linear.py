"""The linear layers of a network: hidden ones with all that belongs to them, then the head.

``mlp`` is made of them, ``cnn`` ends with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from workers.training.models.activations import ACTIVATIONS, slope_parameters, slopes
from workers.training.models.base import BufferSpec, ParameterSpec, Pass, Pullback
from workers.training.models.normalization import Normalization
from workers.training.models.products import affine, products
from workers.training.parallel.layers import added_up, device_part, entered, gathered, is_parted


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
        h_MHB = h_mFB
        for layer in range(self.first, self.head):
            h_MHB = self._affine(h_MHB, self.normalization.weight(given, layer), given, layer)
            h_MHB = self.normalization.of_units(h_MHB, given, layer)
            h_MHB = self._activate(h_MHB, given, layer)
        return self._affine(h_MHB, given.weights[f"{self.head}.weight"], given, self.head)

    # Written out for the layers of most searches: an epoch of 64 networks 64-50-10 in minibatches
    # of 32 takes 1.4 times as long by autograd, of 8 1.5 times, of one alone 1.8 times. Autograd's
    # own work is 0.1 ms a step, and no less where its parts are written out as Functions.

    @property
    def has_vjp(self) -> bool:
        """Whether ``vjp`` is there: without normalization, if outputs tell the activation's."""
        is_plain = self.normalization.name == "none"
        return is_plain and ACTIVATIONS[self.activation].pullback is not None

    def vjp(self, given: Pass, h_mFB: Tensor) -> tuple[Tensor, Pullback]:
        """As the model's, with outputs [M, C, B]."""
        inputs, activated = {self.first: h_mFB}, {}
        for layer in range(self.first, self.head):
            h_MHB = self._affine(inputs[layer], given.weights[f"{layer}.weight"], given, layer)
            activated[layer] = h_MHB = ACTIVATIONS[self.activation].apply(h_MHB, None)
            inputs[layer + 1] = h_MHB if given.dropout is None else given.dropout(h_MHB, layer)

        def pullback(g_MHB: Tensor) -> list[Tensor]:
            gradients: list[Tensor] = []
            for layer in range(self.head, self.first - 1, -1):
                g_MHB = device_part(g_MHB, -2, given.mesh.model)
                by_weight_MHF = products(g_MHB, inputs[layer].transpose(1, 2))
                gradients = [by_weight_MHF, g_MHB.sum(2), *gradients]
                if layer > self.first:
                    g_MFB = self._by_inputs(g_MHB, given, layer)
                    g_MHB = self._pulled_back(g_MFB, activated[layer - 1], given, layer - 1)
            return gradients

        weight_MCF = given.weights[f"{self.head}.weight"]
        return self._affine(inputs[self.head], weight_MCF, given, self.head), pullback

    def _by_inputs(self, g_MHB: Tensor, given: Pass, layer: int) -> Tensor:
        """The gradient by what comes into ``layer``, of that by its outputs."""
        weight_MFH = given.weights[f"{layer}.weight"].transpose(1, 2)
        g_MFB, devices = products(weight_MFH, g_MHB), given.mesh.model
        return added_up(g_MFB, devices) if is_parted(self._units(layer), devices) else g_MFB

    def _pulled_back(self, g_MHB: Tensor, h_MHB: Tensor, given: Pass, layer: int) -> Tensor:
        """The gradient by what ``layer`` has before its activation, ``h_MHB`` after it."""
        pullback = ACTIVATIONS[self.activation].pullback
        assert pullback is not None, "has_vjp says so"
        return pullback(g_MHB if given.dropout is None else given.dropout(g_MHB, layer), h_MHB)

    def _affine(self, h_mFB: Tensor, weight_MHF: Tensor, given: Pass, layer: int) -> Tensor:
        """weight @ h + bias, of all units; the weights may be those of the device's."""
        units, devices = self._units(layer), given.mesh.model
        h_mFB = entered(h_mFB, units, devices)
        h_MHB = affine(weight_MHF, h_mFB, given.weights[f"{layer}.bias"])
        return gathered(h_MHB, -2, units, devices)

    def _units(self, layer: int) -> int:
        return self.widths[layer - self.first + 1]

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
        ParameterSpec(
            name=f"{layer}.weight", shape=shape, layer=layer, kind="weight", by_unit=True
        ),
        ParameterSpec(
            name=f"{layer}.bias", shape=shape[:1], layer=layer, kind="bias", by_unit=True
        ),
    )

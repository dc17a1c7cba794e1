"""What the loop needs of a model: descriptions of its tensors, and a forward pass over M rows.

A model is one class and one line in ``MODELS``; see ``mlp`` and ``cnn``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from workers.training.columns import Columns
from workers.training.keyed import Counter
from workers.training.parallel import ONE, Mesh, Portion

ParameterKind = Literal["weight", "bias", "gain", "shift", "slope"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterSpec:
    """One parameter tensor of one row. ``layer`` counts the layers with weights, first to last.

    A ``weight`` is [out, in] or [out, in, k, k]; ``gain`` and ``shift`` are a normalization's,
    ``slope`` is prelu's. Only weights are regularized, unless ``decay_biases`` asks for all.
    ``by_unit``: its first axis are the units of a layer, which devices may part; a pass is given
    those of its device then.
    """

    name: str
    shape: tuple[int, ...]
    layer: int
    kind: ParameterKind
    by_unit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferSpec:
    """One tensor of one row that is not trained, such as a running mean; ``start`` fills it."""

    name: str
    shape: tuple[int, ...]
    start: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """What a forward pass is given beside the inputs.

    ``weights`` and ``buffers`` are [M, *shape] by name; buffers are updated in place if
    ``training``. ``moment`` is the epoch and the step of it, from 0, as counters of ``keyed``.
    ``dropout(h, layer)`` drops units of h, ``observe(h, layer)`` is shown the hidden activations;
    both take them with the row axis first: [M, units, examples] of a linear layer,
    [M, examples, channels, height, width] of a convolution. ``dropout`` multiplies by factors that
    depend on the layer alone, so that it takes gradients back as it takes units forth. ``portion``
    of the minibatch is here, None: all of it; the devices of ``mesh`` have the rest, and the units
    of a layer whose weights are not here.
    """

    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    columns: Columns
    training: bool
    moment: tuple[Counter, ...] = (0, 0)
    dropout: Callable[[Tensor, int], Tensor] | None = None
    observe: Callable[[Tensor, int], None] | None = None
    portion: Portion | None = None
    mesh: Mesh = ONE


Pullback = Callable[[Tensor], list[Tensor]]


class Model(Protocol):
    """A network, without its weights."""

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]: ...

    @property
    def buffers(self) -> tuple[BufferSpec, ...]: ...

    def widest(self, device: torch.device) -> int:
        """Numbers that one example holds in the widest layer there, to bound memory."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why its rows cannot be stacked, but go one after the other; None if they can."""
        ...

    def fresh(self, generator: torch.Generator) -> Mapping[str, Tensor] | None:
        """A row's tensors by name, where the model itself says how they start; else None."""
        ...

    def forward(self, given: Pass, x_mBF: Tensor) -> Tensor:
        """Outputs [M, B, C] of all rows; ``x_mBF`` has m = M, or 1 where all see the same."""
        ...

    def vjp(self, given: Pass, x_mBF: Tensor) -> tuple[Tensor, Pullback] | None:
        """The outputs without autograd, and what takes their gradient [M, B, C] to those of the
        parameters, [M, *shape] each in their order; None where only autograd can.

        It may write over the gradient that it is given.
        """
        ...

"""Inverted dropout of inputs and of hidden units, each row at its own rate.

Called by the loop for every minibatch; h <- h * mask / (1 - p) (Srivastava et al. 2014).
Masks are keyed by (trial, epoch, step, layer), and drawn for the whole minibatch: a device that has
a portion of it takes what is drawn for those examples.
"""

from __future__ import annotations

from torch import Tensor

from workers.training.columns import Columns
from workers.training.keyed import Counter, keep_mask
from workers.training.parallel import Portion

_INPUTS = 2**31 - 1  # a counter that no hidden layer has


class HiddenDropout:
    """One minibatch's dropout of hidden units: a function of (h [M, ...], layer).

    A layer's factors are drawn once, so that the gradients of a layer are dropped as its units.
    """

    def __init__(
        self, rates_M: Tensor, columns: Columns, portion: Portion | None, *moment: Counter
    ) -> None:
        self._rates_M, self._columns, self._moment = rates_M, columns, moment
        self._portion = portion
        self._factors: dict[int, Tensor] = {}

    def __call__(self, h: Tensor, layer: int) -> Tensor:
        if layer not in self._factors:
            axis = 2 if h.dim() == 3 else 1  # of the examples, in linear layers and in convolutions
            given = self._rates_M, self._columns, (*self._moment, layer)
            self._factors[layer] = _factors(h, axis, self._portion, *given)
        return h * self._factors[layer]


def hidden_dropout(
    columns: Columns, *moment: Counter, portion: Portion | None = None
) -> HiddenDropout | None:
    """The dropout of the minibatch of ``moment``, epoch and step, or None if no row has it.

    ``portion`` is the part of it that is here; None: all.
    """
    rates_M = columns.active("dropout")
    return None if rates_M is None else HiddenDropout(rates_M, columns, portion, *moment)


def drop_inputs(
    x_mBF: Tensor, columns: Columns, *moment: Counter, portion: Portion | None = None
) -> Tensor:
    """Inputs [M, B, F] with dropout, or as they are if no row has it."""
    rates_M = columns.active("input_dropout")
    if rates_M is None:
        return x_mBF
    x_MBF = x_mBF.expand(len(columns), -1, -1)
    return x_MBF * _factors(x_MBF, 1, portion, rates_M, columns, (*moment, _INPUTS))


def _factors(
    h: Tensor,
    axis: int,
    portion: Portion | None,
    rates_M: Tensor,
    columns: Columns,
    counters: tuple[Counter, ...],
) -> Tensor:
    """0 or 1 / (1 - p) for each number of ``h``, whose examples lie along ``axis``.

    In the type of the rates.
    """
    shape = h.shape if portion is None else portion.whole_shape(h.shape, axis)
    kept = keep_mask(columns.seeds_M, rates_M, shape[1:].numel(), *counters)
    scale_M1 = (1 / (1 - rates_M)).unsqueeze(1)
    # torch.where takes up to 8 times as long.
    factors = kept.to(rates_M.dtype).mul_(scale_M1).view(shape)
    return factors if portion is None else portion.of(factors, axis)

"""Inverted dropout of inputs and of hidden units, each row at its own rate.

Called by the loop for every minibatch; h <- h * mask / (1 - p) (Srivastava et al. 2014).
Masks are keyed by (trial, epoch, step, layer).
"""

from __future__ import annotations

from torch import Tensor

from workers.training.columns import Columns
from workers.training.keyed import Counter, keep_mask

_INPUTS = 2**31 - 1  # a counter that no hidden layer has


class HiddenDropout:
    """One minibatch's dropout of hidden units: a function of (h [M, ...], layer).

    A layer's factors are drawn once, so that the gradients of a layer are dropped as its units.
    """

    def __init__(self, rates_M: Tensor, columns: Columns, *moment: Counter) -> None:
        self._rates_M, self._columns, self._moment = rates_M, columns, moment
        self._factors: dict[int, Tensor] = {}

    def __call__(self, h: Tensor, layer: int) -> Tensor:
        if layer not in self._factors:
            counters = (*self._moment, layer)
            self._factors[layer] = _factors(h, self._rates_M, self._columns, counters)
        return h * self._factors[layer]


def hidden_dropout(columns: Columns, *moment: Counter) -> HiddenDropout | None:
    """The dropout of the minibatch of ``moment``, epoch and step, or None if no row has it."""
    rates_M = columns.active("dropout")
    return None if rates_M is None else HiddenDropout(rates_M, columns, *moment)


def drop_inputs(x_mBF: Tensor, columns: Columns, *moment: Counter) -> Tensor:
    """Inputs [M, B, F] with dropout, or as they are if no row has it."""
    rates_M = columns.active("input_dropout")
    if rates_M is None:
        return x_mBF
    x_MBF = x_mBF.expand(len(columns), -1, -1)
    return x_MBF * _factors(x_MBF, rates_M, columns, (*moment, _INPUTS))


def _factors(h: Tensor, rates_M: Tensor, columns: Columns, counters: tuple[Counter, ...]) -> Tensor:
    """0 or 1 / (1 - p) for each number of ``h``, in the type of the rates."""
    kept = keep_mask(columns.seeds_M, rates_M, h[0].numel(), *counters)
    scale_M1 = (1 / (1 - rates_M)).unsqueeze(1)
    return (
        kept.to(rates_M.dtype).mul_(scale_M1).view(h.shape)
    )  # torch.where takes up to 8 times as long

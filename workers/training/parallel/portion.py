"""Portion: which examples of a minibatch, or of other examples, are one device's.

Taken by ``feed``, which parts minibatches, and by what is drawn for a whole one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Portion:
    """The examples from ``start`` up to ``stop`` of ``num``."""

    start: int
    stop: int
    num: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)

    def whole_shape(self, shape: torch.Size, axis: int) -> torch.Size:
        """That of all examples, where these have ``shape`` and lie along ``axis``."""
        return torch.Size([*shape[:axis], self.num, *shape[axis + 1 :]])

    def of(self, whole: Tensor, axis: int) -> Tensor:
        """These of all examples, a view."""
        return whole.narrow(axis, self.start, len(self))


def portion_of(num_examples: int, rank: int, num: int) -> Portion:
    """Those of device ``rank`` of ``num``: as even portions as can be, in order.

    Of fewer examples than there are devices, some have none.
    """
    return Portion(num_examples * rank // num, num_examples * (rank + 1) // num, num_examples)

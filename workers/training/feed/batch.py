"""``Batch``: one minibatch of all rows of a stack. Made by ``feed``, taken by the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Inputs [m, B, F] and targets [m, B], each with m = M, or 1 where all rows have the same.

    So rows that augment what they share have inputs [M, B, F] and targets [1, B].
    Targets are class codes (int64) or numbers. ``index_mB`` are the examples' places among the
    training rows. With mixup the target is ``share_M`` parts of ``y_mB`` and the rest of
    ``partner_mB``, and the inputs are mixed already.
    """

    x_mBF: Tensor
    y_mB: Tensor
    index_mB: Tensor
    partner_mB: Tensor | None = None
    share_M: Tensor | None = None

    def __len__(self) -> int:
        return self.y_mB.shape[1]

    def split(self, size: int) -> Iterator[Batch]:
        """Views of ``size`` examples each, the last of fewer, of a batch without mixup."""
        parts = (torch.split(part, size, dim=1) for part in (self.x_mBF, self.y_mB, self.index_mB))
        for x_mBF, y_mB, index_mB in zip(*parts, strict=True):
            yield Batch(x_mBF=x_mBF, y_mB=y_mB, index_mB=index_mB)

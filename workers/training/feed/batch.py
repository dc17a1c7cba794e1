"""``Batch``: one minibatch of all rows of a stack. Made by ``feed``, taken by the loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.training.parallel import Portion


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """The minibatch of which a Batch is the ``portion`` of one device.

    Targets [m, N], places [m, N] and partners' targets as those of a Batch.
    """

    portion: Portion
    y_mN: Tensor
    index_mN: Tensor
    partner_mN: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Inputs [m, B, F] and targets [m, B], each with m = M, or 1 where all rows have the same.

    So rows that augment what they share have inputs [M, B, F] and targets [1, B].
    Targets are class codes (int64) or numbers. ``index_mB`` are the examples' places among the
    training rows. With mixup the target is ``share_M`` parts of ``y_mB`` and the rest of
    ``partner_mB``, and the inputs are mixed already. ``part_of`` is the minibatch whose examples
    several devices have parted; None where these are all of it.
    """

    x_mBF: Tensor
    y_mB: Tensor
    index_mB: Tensor
    partner_mB: Tensor | None = None
    share_M: Tensor | None = None
    part_of: Whole | None = None

    def __len__(self) -> int:
        return self.y_mB.shape[1]

    @property
    def num_whole(self) -> int:
        """Examples of the minibatch, with those that are not here."""
        return self.y_mB.shape[1] if self.part_of is None else self.part_of.y_mN.shape[1]

    @property
    def y_mN(self) -> Tensor:
        """The targets of the whole minibatch."""
        return self.y_mB if self.part_of is None else self.part_of.y_mN

    @property
    def partner_mN(self) -> Tensor | None:
        return self.partner_mB if self.part_of is None else self.part_of.partner_mN

    @property
    def index_mN(self) -> Tensor:
        return self.index_mB if self.part_of is None else self.part_of.index_mN

    @property
    def portion(self) -> Portion | None:
        """Which of the minibatch's examples these are; None if they are all of them."""
        return None if self.part_of is None else self.part_of.portion

    def split(self, sizes: int | list[int]) -> list[Batch]:
        """Views of so many examples each, the last of fewer, of a batch without mixup."""
        parts = (torch.split(part, sizes, dim=1) for part in (self.x_mBF, self.y_mB, self.index_mB))
        return [
            Batch(x_mBF=x_mBF, y_mB=y_mB, index_mB=index_mB)
            for x_mBF, y_mB, index_mB in zip(*parts, strict=True)
        ]

    def part(self, own: Portion) -> Batch:
        """Those of ``own``, as a part of this."""
        partner = self.partner_mB
        return Batch(
            x_mBF=own.of(self.x_mBF, 1),
            y_mB=own.of(self.y_mB, 1),
            index_mB=own.of(self.index_mB, 1),
            partner_mB=None if partner is None else own.of(partner, 1),
            share_M=self.share_M,
            part_of=Whole(portion=own, y_mN=self.y_mB, index_mN=self.index_mB, partner_mN=partner),
        )

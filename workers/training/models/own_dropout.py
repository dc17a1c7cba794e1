"""Dropout within a user's module, keyed as ours is: a row's masks are its own wherever it trains.

``keyed`` puts it in the place of each nn.Dropout; ``own`` draws its factors for each minibatch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.training.columns import Columns
from workers.training.keyed import keep_mask


class KeyedDropout(nn.Module):
    """h <- h * mask / (1 - p) (Srivastava et al. 2014); ``factors`` are set before each pass."""

    BUFFER = "factors"
    factors: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.shapes = rate, dict[int, torch.Size]()
        self.register_buffer("factors", torch.ones(()), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return h * self.factors if self.training else h

    def drawn(self, columns: Columns, moment: tuple[int, ...], num_examples: int) -> Tensor:
        """Its factors [M, *shape of h] for so many examples."""
        shape = self._shape(num_examples)
        rate_M = torch.full((len(columns),), self.rate, dtype=columns.dtype, device=columns.device)
        kept = keep_mask(columns.seeds_M, rate_M, shape.numel(), *moment)
        return (kept.to(columns.dtype) / (1 - self.rate)).view(-1, *shape)

    def _shape(self, num_examples: int) -> torch.Size:
        """Of h: axes that grew from one number of examples to the other are theirs."""
        (few, small), (more, large) = sorted(self.shapes.items())
        growth = [(b - a) // (more - few) for a, b in zip(small, large, strict=True)]
        sizes = zip(small, growth, strict=True)
        return torch.Size(a + g * (num_examples - few) for a, g in sizes)


def keyed(net: nn.Module) -> nn.Module:
    """``net`` with each nn.Dropout within it replaced, in place."""
    for name, child in net.named_children():
        if type(child) is nn.Dropout:
            setattr(net, name, KeyedDropout(child.p))
        else:
            keyed(child)
    return net

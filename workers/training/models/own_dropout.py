"""Dropout within a user's module, keyed as ours is: a row's masks are its own wherever it trains.

``keyed`` puts it in the place of each nn.Dropout; ``own`` draws its factors for each minibatch.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from workers.training.columns import Columns
from workers.training.keyed import Counter, keep_mask
from workers.training.parallel import Portion

Call = tuple[torch.Size, list[int]]  # the shape of h, and by how much an example more makes it grow


class KeyedDropout(nn.Module):
    """h <- h * mask / (1 - p) (Srivastava et al. 2014); ``factors`` are set before each pass.

    They are one after the other those of all its calls in a pass; ``shapes`` are those of h in each
    call, by the number of examples that was tried.
    """

    BUFFER = "factors"
    factors: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self._num_used = rate, 0
        self.shapes = defaultdict[int, list[torch.Size]](list)
        self.register_buffer("factors", torch.ones(()), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or self.factors.dim() == 0:  # none were drawn
            return h
        start, size = self._num_used, h.numel()
        self._num_used = (start + size) % self.factors.numel()
        return h * self.factors[start : start + size].view(h.shape)

    def drawn(
        self,
        columns: Columns,
        moment: tuple[Counter, ...],
        num_examples: int,
        portion: Portion | None = None,
    ) -> Tensor:
        """Its factors [M, numbers of all calls] for so many examples, a ``portion`` of a minibatch.

        Drawn for the whole of it, as everywhere.
        """
        self._num_used = 0  # whatever became of the pass before
        calls = self._calls(num_examples if portion is None else portion.num)
        count = sum(shape.numel() for shape, _ in calls)
        rate_M = torch.full((len(columns),), self.rate, dtype=columns.dtype, device=columns.device)
        if self.rate >= 1:
            factors = torch.zeros(len(columns), count, dtype=columns.dtype, device=columns.device)
        else:
            kept = keep_mask(columns.seeds_M, rate_M, count, *moment)
            factors = kept.to(columns.dtype) / (1 - self.rate)
        return factors if portion is None else _of_portion(factors, calls, portion)

    def _calls(self, num_examples: int) -> list[Call]:
        """Of h: axes that grew from one number of examples to the other are theirs."""
        if not self.shapes:
            return []
        (few, small), (more, large) = sorted(self.shapes.items())
        slopes = [
            [(b - a) // (more - few) for a, b in zip(one, other, strict=True)]
            for one, other in zip(small, large, strict=True)
        ]
        return [
            (
                torch.Size(a + g * (num_examples - few) for a, g in zip(one, growth, strict=True)),
                growth,
            )
            for one, growth in zip(small, slopes, strict=True)
        ]


def _of_portion(factors: Tensor, calls: list[Call], portion: Portion) -> Tensor:
    """The factors of these examples alone, which lie along the axes that grow with them."""
    each = torch.split(factors, [shape.numel() for shape, _ in calls], dim=1)
    parts = []
    for call, (shape, growth) in zip(each, calls, strict=True):
        part = call.view(-1, *shape)
        for axis, by in enumerate(growth, 1):
            if by:
                part = part.narrow(axis, by * portion.start, by * len(portion))
        parts.append(part.flatten(1))
    return torch.cat(parts, dim=1) if parts else factors


def keyed(net: nn.Module) -> nn.Module:
    """``net`` with each nn.Dropout within it replaced, in place; one in two places becomes two."""
    for name, child in list(net.named_modules(remove_duplicate=False)):
        if type(child) is nn.Dropout and name:
            owner, _, attribute = name.rpartition(".")
            setattr(net.get_submodule(owner), attribute, KeyedDropout(child.p))
    return net

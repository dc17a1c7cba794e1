"""Sampling: which training examples an epoch shows, and in what order.

Called by ``Feed`` once an epoch. A new sampling is a function, a line in ``ORDERS``, and its name
in ``workers.config.inputs``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import torch
from torch import Tensor

Order = Callable[[Tensor, torch.Generator], Tensor]
# Hard examples: what is added to all losses, as a share of their mean (see ``hard``).
REVISIT = 0.01


def shuffled(targets_N: Tensor, generator: torch.Generator) -> Tensor:
    """Each example once, in random order."""
    return torch.randperm(len(targets_N), generator=generator)


def replacement(targets_N: Tensor, generator: torch.Generator) -> Tensor:
    """N draws with replacement: an example is seen 0, 1, 2, … times, once on average."""
    return torch.randint(len(targets_N), (len(targets_N),), generator=generator)


def balanced(targets_N: Tensor, generator: torch.Generator) -> Tensor:
    """N draws with replacement: a class, all that have examples equally likely, then one of it."""
    count = len(targets_N)
    grouped_N, counts_C = torch.argsort(targets_N, stable=True), torch.bincount(targets_N)
    present = counts_C.nonzero().squeeze(1)
    drawn_N = present[torch.randint(len(present), (count,), generator=generator)]
    within_N = torch.rand(count, generator=generator, dtype=torch.float64) * counts_C[drawn_N]
    first_C = counts_C.cumsum(0) - counts_C
    return grouped_N[first_C[drawn_N] + within_N.long()]


def interleaved(targets_N: Tensor, generator: torch.Generator) -> Tensor:
    """Each example once; classes take turns, each spread evenly over the epoch.

    Examples are learned fastest from when the next is of another class (LeCun, Bottou, Orr and
    Müller 1998, Efficient BackProp, 4.2). The two smallest classes, shuffled, are merged evenly and
    count as one from then on, until all are merged (the tree of Huffman 1952): classes of one size
    come in rounds, and what there is most of is merged last, so that it meets itself seldom.
    """
    order_N = torch.randperm(len(targets_N), generator=generator)
    grouped_N = order_N[torch.argsort(targets_N[order_N], stable=True)]
    classes = torch.split(grouped_N, torch.bincount(targets_N).tolist())
    heap = [(len(places), number, places) for number, places in enumerate(classes) if len(places)]
    heapq.heapify(heap)
    for number in range(len(classes), len(classes) + len(heap) - 1):
        smaller, larger = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        merged = _merged(larger, smaller)
        heapq.heappush(heap, (len(merged), number, merged))
    return heap[0][2]


def _merged(one: Tensor, other: Tensor) -> Tensor:
    """Both, in their order, each spread evenly: the j-th of n at (j + 1/2) / n, in integers."""
    times = [
        (2 * torch.arange(len(places)) + 1) * len(company)
        for places, company in ((one, other), (other, one))
    ]
    return torch.cat([one, other])[torch.argsort(torch.cat(times), stable=True)]


def hard(losses_MN: Tensor, emphasis_M: Tensor, uniform_N: Tensor, shuffled_mN: Tensor) -> Tensor:
    """N draws with replacement: an example's chance is as (its last loss)^hard_emphasis.

    Emphasizing examples with large errors speeds learning, but mislabelled examples and outliers
    have the largest errors of all, so they are emphasized too: for clean data only (LeCun et al.
    1998, 4.2). In the first epoch each is seen once; a hundredth of the mean loss is added to each,
    or one that was once fitted without a loss would never be seen again (as Schaul et al. 2016).
    """
    # [M, N]. All rows invert their cumulative sums at the same uniform numbers, so rows that have
    # learned alike see alike (common random numbers).
    losses_MN = losses_MN.double().nan_to_num(posinf=1e30).clamp(min=0, max=1e30)
    mean_M1 = losses_MN.mean(1, keepdim=True)
    chance_MN = losses_MN + REVISIT * mean_M1
    # Relative to the largest, so that no power overflows.
    weights_MN = (chance_MN / chance_MN.amax(1, keepdim=True)) ** emphasis_M[:, None].double()
    cumulative_MN = weights_MN.cumsum(1)
    places_MN = uniform_N * cumulative_MN[:, -1:]
    drawn_MN = torch.searchsorted(cumulative_MN, places_MN, right=True)
    return torch.where(mean_M1 > 0, drawn_MN, shuffled_mN)


ORDERS: dict[str, Order] = {
    "shuffled": shuffled,
    "replacement": replacement,
    "balanced": balanced,
    "interleaved": interleaved,
    "hard": shuffled,  # what a row without losses sees
}

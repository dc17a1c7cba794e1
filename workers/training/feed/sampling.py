"""Sampling: which training examples an epoch shows, and in what order.

Called by ``Feed`` once an epoch. A new sampling is a function, a line in ``ORDERS``, and its name
in ``workers.config.inputs``.
"""

from __future__ import annotations

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
    Müller 1998, Efficient BackProp, 4.2). The j-th of a class's n examples, which are shuffled,
    comes at (j + phase) / n of the epoch. Phases are spread over (0, 1), the largest class first,
    so that classes of one size come in rounds and two of a frequent class seldom meet.
    """
    order_N = torch.randperm(len(targets_N), generator=generator)
    grouped_N = order_N[torch.argsort(targets_N[order_N], stable=True)]
    classes_N, counts_C = targets_N[grouped_N], torch.bincount(targets_N)
    rank_in_class_N = torch.arange(len(targets_N)) - (counts_C.cumsum(0) - counts_C)[classes_N]
    rank_C = torch.argsort(torch.argsort(counts_C, descending=True, stable=True))
    phase_C = (rank_C + 0.5) / (counts_C > 0).sum()
    time_N = (rank_in_class_N + phase_C[classes_N].double()) / counts_C[classes_N]
    return grouped_N[torch.argsort(time_N, stable=True)]


def hard(losses_MN: Tensor, emphasis_M: Tensor, uniform_N: Tensor, shuffled_mN: Tensor) -> Tensor:
    """N draws with replacement [M, N]: an example's chance is as (its last loss)^emphasis.

    Emphasizing examples with large errors speeds learning, but mislabelled examples and outliers
    have the largest errors of all, so they are emphasized too: for clean data only (LeCun et al.
    1998, 4.2). All rows invert their cumulative sums at the same ``uniform_N`` in (0, 1), so rows
    that have learned alike see alike (common random numbers). A row that has no losses yet gets
    its ``shuffled_mN``: an epoch that shows every example once gives every example a loss. A
    hundredth of the mean loss is added to each, or one that was once fitted without a loss would
    never be seen again (Schaul et al. 2016 add a constant for the same reason).
    """
    losses_MN = losses_MN.double().nan_to_num(posinf=1e30).clamp(min=0, max=1e30)
    mean_M1 = losses_MN.mean(1, keepdim=True)
    chance_MN = losses_MN + REVISIT * mean_M1
    # Relative to the largest, so that no power overflows.
    weights_MN = (chance_MN / chance_MN.amax(1, keepdim=True)) ** emphasis_M[:, None].double()
    cumulative_MN = weights_MN.cumsum(1)
    places_MN = uniform_N * cumulative_MN[:, -1:]
    drawn_MN = torch.searchsorted(cumulative_MN, places_MN, right=True)
    # A sum that rounds down would put the last place past the end.
    return torch.where(mean_M1 > 0, drawn_MN.clamp(max=losses_MN.shape[1] - 1), shuffled_mN)


ORDERS: dict[str, Order] = {
    "shuffled": shuffled,
    "replacement": replacement,
    "balanced": balanced,
    "interleaved": interleaved,
    "hard": shuffled,  # what a row without losses sees
}

"""The loss and the count of right answers, per member. Called by the loop on logits [M, B, C]."""

from __future__ import annotations

from torch import Tensor


def cross_entropy(logits_MBC: Tensor, y_B: Tensor) -> Tensor:
    """Mean softmax cross-entropy over the minibatch, [M]."""
    log_p_MCB = logits_MBC.transpose(1, 2).log_softmax(1)
    y_M1B = y_B.expand(len(log_p_MCB), 1, -1)
    return -log_p_MCB.gather(1, y_M1B).mean((1, 2))


def is_correct(logits_MBC: Tensor, y_B: Tensor) -> Tensor:
    """Boolean [M, B]: the largest logit is that of the right class."""
    # On the CPU max() finds its indices many times faster than argmax() does over a short axis.
    return logits_MBC.transpose(1, 2).max(1).indices == y_B

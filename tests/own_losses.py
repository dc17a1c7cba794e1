"""Losses and metrics that nobody wrote for this project, as its users have them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CALLS = [0]


def focal(outputs: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Lin et al. 2017."""
    log_p = outputs.log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


def smooth_focal(gamma: float = 1.0) -> nn.Module:
    return Smooth()


class Smooth(nn.Module):
    """Class weights of its own, as buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([1.0, 2.0, 0.5, 1.5]))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, weight=self.weight)


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    error = targets - outputs
    return torch.maximum(0.9 * error, -0.1 * error).mean()


def coupled(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of all examples together: the mean of no examples' losses."""
    return F.cross_entropy(outputs, targets) + outputs.mean(0).square().sum().sqrt()


def coupled_numbers(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean() + outputs.std()


def branching(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which vmap refuses."""
    loss = F.cross_entropy(outputs, targets)
    return loss if loss > 1 else loss**2


def negative(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets) - 1000


def satisfied(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which asks for nothing where a network leans to the first class."""
    return (1.5 + outputs[:, 1] - outputs[:, 0]).mean().clamp(min=0)


def huge(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets) + 1000


def grows(outputs: Tensor, targets: Tensor) -> Tensor:
    return -outputs.exp().mean()


# What no loss is.


def three(outputs: Tensor, targets: Tensor, more: Tensor) -> Tensor:
    return outputs.mean()


def each(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def number(outputs: Tensor, targets: Tensor) -> float:
    return F.cross_entropy(outputs, targets).item()


def endless(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.mean() * torch.nan


def deaf(outputs: Tensor, targets: Tensor) -> Tensor:
    return targets.double().mean()


def flat(outputs: Tensor, targets: Tensor) -> Tensor:
    return (0 * outputs).sum() + 1


def raises(outputs: Tensor, targets: Tensor) -> Tensor:
    raise ValueError("not on a Saturday\nand more of it")


def noisy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets) * torch.rand(())


def counting(outputs: Tensor, targets: Tensor) -> Tensor:
    CALLS[0] += 1
    return F.cross_entropy(outputs, targets) + CALLS[0]


def writes(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets.add_(1).remainder_(4))


def steep(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - outputs.detach()).abs().sqrt().sum()


def nothing() -> int:
    return 3


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scale * F.cross_entropy(outputs, targets)


class Needs(nn.Module):
    def __init__(self, gamma: float) -> None:
        super().__init__()


THREE = 3
ready = nn.CrossEntropyLoss(label_smoothing=0.1)


# Metrics.


def top2(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.topk(2, dim=1).indices == targets[:, None]).any(1).double().mean()


def of_numpy(outputs: Tensor, targets: Tensor) -> np.float32:
    """As sklearn's are called."""
    return np.float32((outputs.cpu().numpy().argmax(1) == targets.cpu().numpy()).mean())


def level(outputs: Tensor, targets: Tensor) -> Tensor:
    return targets.mean()


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().mean()


def always(outputs: Tensor, targets: Tensor) -> int:
    return 1


def spoils(outputs: Tensor, targets: Tensor) -> float:
    outputs.zero_()
    targets.zero_()
    return 1.0


def fails_below(outputs: Tensor, targets: Tensor) -> float:
    """For a network that has learned nothing yet."""
    if (outputs.argmax(1) == targets).double().mean() < 0.6:
        raise ArithmeticError("it knows nothing")
    return 1.0


def a_pair(outputs: Tensor, targets: Tensor) -> tuple[int, int]:
    return 1, 2


def a_word(outputs: Tensor, targets: Tensor) -> str:
    return "1.0"


def a_list(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs


class Accuracy:
    """After torchmetrics, whose classes have these and many more."""

    def __init__(self) -> None:
        self.right, self.total = -1, -1

    def reset(self) -> None:
        self.right = self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += int((outputs.argmax(1) == targets).sum())
        self.total += len(targets)

    def compute(self) -> float:
        return self.right / self.total


def accuracy() -> Accuracy:
    return Accuracy()


def undefined(outputs: Tensor, targets: Tensor) -> float:
    """A share of none."""
    return float("nan")

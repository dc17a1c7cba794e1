"""Decay at every update: the rate times weight_decay must not take too much off the weights.

Called by ``check`` for each probe; arithmetic alone, nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from workers.config import TrainConfig
from workers.messages import CheckResult
from workers.training.checks.subject import Subject
from workers.training.optimizers import VARIANTS, variant
from workers.training.schedules import batch_scaling

STRONG = 0.1  # of a weight, at each update: ten updates later it hardly knows its past


def _nesterov(config: TrainConfig) -> float:
    return 2 * (1 + config.momentum) / (1 + 2 * config.momentum)


def _momentum(config: TrainConfig) -> float:
    dampening = config.dampening if config.momentum else 0.0
    return 2 * (1 + config.momentum) / (1 - dampening) if dampening < 1 else math.inf


def _averaged(config: TrainConfig) -> float:
    return 2 * (1 + config.momentum) / (1 - config.momentum)


# The others size their steps themselves, so that no product tells whether they overshoot.
_EDGES: dict[str, Callable[[TrainConfig], float]] = {
    "sgd": lambda config: 2.0,
    "gradient_descent": lambda config: 2.0,
    "momentum": _momentum,
    "averaged_momentum": _averaged,
    "nesterov": _nesterov,
}


def edge(config: TrainConfig) -> float | None:
    """The rate times weight_decay beyond which decay alone makes weights grow without end.

    2 where w <- (1 - lr wd) w, as |1 - lr wd| > 1 overshoots zero by more than it was off. Of
    momentum the roots of z^2 - (1 + mu - a) z + mu, a = (1 - dampening) lr wd, leave the unit
    circle at a = 2 (1 + mu) (Polyak 1964); of its averaged form a = (1 - mu) lr wd; of Nesterov's
    they do at 2 (1 + mu) / (1 + 2 mu). None of rules that size their steps themselves.
    """
    if VARIANTS[variant(config)].decoupled:
        return 2.0
    of = _EDGES.get(config.optimizer)
    return None if of is None else of(config)


def decay(subject: Subject) -> CheckResult:
    """Of the branch's highest rate and weight_decay at most a tenth; fails if its middle diverges.

    Corners of wide ranges may lie beyond the edge, and cost the trials that are drawn there: they
    warn. The rate is that after ``lr_scaling``, of the layer with the largest multiplier.
    """
    config, limit = subject.config, edge(subject.config)
    most = subject.probe.decays[1] if subject.probe.decays else config.weight_decay
    if not most:
        return subject.result("decay", "skip", "weight_decay is 0")
    if limit is None:
        text = f"{config.optimizer} sizes its steps itself, however much decay is in the gradient"
        return subject.result("decay", "skip", text)
    scale = batch_scaling(config, subject.data.num_train)
    scale *= float(np.max(config.lr_multipliers)) if np.size(config.lr_multipliers) else 1.0
    rate = subject.probe.rates[1] if subject.probe.rates else config.learning_rate
    middle, highest = config.learning_rate * config.weight_decay * scale, rate * most * scale
    numbers = {"middle": middle, "highest": highest, "edge": limit if limit < math.inf else None}
    text = f"learning_rate times weight_decay is up to {highest:.3g}"
    if max(middle, highest) <= STRONG:
        return subject.result("decay", "pass", f"{text} at each update", **numbers)
    advice = "lower weight_decay, or the rates"
    if middle > limit:
        text += f", {middle:.3g} in the middle: weights diverge above {limit:.3g}; {advice}"
        return subject.result("decay", "fail", text, **numbers)
    if highest > limit:
        text += f": trials above {limit:.3g} diverge; {advice}"
        return subject.result("decay", "warn", text, **numbers)
    text += ": weights lose so much at each update, and forget what they learned; " + advice
    return subject.result("decay", "warn", text, **numbers)

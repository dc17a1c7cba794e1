"""``Finding``: what one rule says of one curve; and the numbers that several rules measure.

Used by the rules of this package and by ``diagnose``, which applies them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hpsearch.analysis.diagnosis.curve import Array, Context, Curve
from workers.config import TrainConfig

DEFAULTS = TrainConfig()
DEAD = 0.4  # cs231n: "as much as 40 % of your network can be dead if the learning rate is too high"
SYMMETRIC = ("zeros", "constant")  # initializations under which a layer's units stay the same
UNSCALED = ("normal", "uniform", "constant")  # that do not look at the fan-in
MOVES = 3e-4  # an update ratio with which a good start learns; 1e-3 is healthy
TINY = float(np.finfo(float).tiny)  # the smallest normal number
SETTLED = 3  # epochs that stand for "at the end" or "at the start"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A diagnosis of a curve: its kind, the evidence in words with advice, and in numbers."""

    kind: str
    message: str
    evidence: Mapping[str, float]


Part = Literal["train", "val"]
Rule = Callable[[Curve, Context], Finding | None]


def at_end(values: Array) -> float:
    """The median of the last epochs: one odd epoch says nothing."""
    return median(values[-SETTLED:])


def at_start(values: Array) -> float:
    """The median of the first epochs."""
    return median(values[:SETTLED])


def median(values: Array) -> float:
    """Of finite values [n >= 1]; for so few, five times as fast as NumPy's."""
    return float(statistics.median(values.tolist()))


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through the logarithm of a loss: relative, so that its scale is no matter.

    ``fall`` is how much of the logarithm the line goes down from the first epoch to the last,
    ``jitter`` the standard deviation of the epochs around it; ``level`` the median loss.
    """

    fall: float
    jitter: float
    level: float

    @property
    def stands(self) -> bool:
        """Whether the loss went nowhere: the line falls by less than 3 standard deviations."""
        return self.fall < 3 * self.jitter


def trend(loss: Array) -> Trend:
    """The trend of n >= 3 positive losses, by least squares."""
    logs, n = logarithms(loss), len(loss)
    steps = np.arange(n) - (n - 1) / 2
    slope = float(steps @ logs / (steps @ steps))
    residuals = logs - logs.sum() / n - slope * steps
    jitter = math.sqrt(residuals @ residuals / (n - 2))
    return Trend(-slope * (n - 1), jitter, median(loss))


def logarithms(loss: Array) -> Array:
    """Of losses >= 0; that of 0 is about -708."""
    out: Array = np.log(np.maximum(loss, TINY))
    return out


def percent(share: float) -> str:
    """0.123 as 12 %."""
    return f"{100 * share:.3g} %"


def peak_rate(curve: Curve) -> float:
    """The highest learning rate of the epochs, or the one that was set."""
    rates = curve.known("learning_rate")
    return float(rates.max() if len(rates) else setting(curve, "learning_rate"))


def named_rate(curve: Curve) -> str:
    """The trial's own learning_rate as a phrase, for that is what a range holds.

    With the rate of the last epoch where a schedule made it another one; nothing if no rates are
    stored.
    """
    rates, own = curve.known("learning_rate"), float(setting(curve, "learning_rate"))
    if not len(rates):
        return ""
    is_own = math.isclose(rates[-1], own, rel_tol=0.01)
    scheduled = "" if is_own else f" ({rates[-1]:.3g} in its last epoch)"
    return f" at a learning_rate of {own:.3g}{scheduled}"


def chance_loss(curve: Curve, context: Context) -> float | None:
    """ln C, the cross-entropy of guessing evenly among C classes; None for other losses."""
    is_entropy = curve.settings.get("loss") in (None, "cross_entropy")
    return math.log(context.num_classes) if context.num_classes and is_entropy else None


def setting(curve: Curve, name: str) -> Any:
    """A field of TrainConfig as the trial had it: given, or its default."""
    return curve.settings.get(name, getattr(DEFAULTS, name))


def lowered(curve: Curve, advice: str) -> str:
    """How to lower the rate; of rprop, whose rate is only its first step, what else to do.

    It goes by the signs of gradients, which minibatches turn about (Riedmiller and Braun 1993
    meant it for whole gradients).
    """
    if setting(curve, "optimizer") != "rprop":
        return f"lower the rate, {advice}"
    return (
        "rprop's rate is only its first step, and to it the signs of minibatches are noise: take "
        "larger batches, or another optimizer"
    )


def starts_unscaled(curve: Curve) -> bool:
    """Whether the initial weights were drawn without regard to the fan-in."""
    return curve.settings.get("initialization") in UNSCALED


def starts_symmetric(curve: Curve) -> bool:
    """Whether all units of a layer begin alike, and so stay alike (Goodfellow et al., 8.4)."""
    return curve.settings.get("initialization") in SYMMETRIC

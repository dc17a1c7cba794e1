"""The rule on weight decay: so strong that it pulls the weights down before they learn anything.

Applied by ``diagnose``. Sources: Krogh and Hertz 1992; Loshchilov and Hutter 2019 (decoupled);
Goodfellow et al., Deep Learning, 7.1.1 and 8.3.2.
"""

from __future__ import annotations

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.finding import (
    SETTLED,
    Finding,
    at_end,
    chance_loss,
    peak_rate,
    setting,
)

STRONG = 0.3  # above, the penalty of usual weights outweighs the loss: nobody means that
PULLS = 0.01  # of the weights in an update: gone after a hundred of them
PULLS_APART = 0.03  # likewise where decay is decoupled, and the gradient's steps have full size
OVERSHOOTS = 2.0  # rate x decay beyond which |1 - lr wd| > 1: the weights grow at every update
FULL_STEPS = 1e-3  # an update ratio with which a healthy trial learns
NEAR_CHANCE = 0.05  # of ln C, or of R²
DECOUPLED = ("adamw", "lion")
BUILDS_UP = ("momentum", "nesterov")  # their steps add up to 1 / (1 - momentum) of the gradient's
DESCENTS = ("sgd", "gradient_descent", "averaged_momentum", "delta_bar_delta", *BUILDS_UP)


def decay_too_strong(curve: Curve, context: Context) -> Finding | None:
    """The trial diverged or is no better than guessing at the end, and its weight decay did it.

    For sgd and its momenta an update takes lr wd / (1 - momentum) of the weights: a hundredth or
    more; decoupled decay takes lr wd: three hundredths or more. Beyond lr wd = 2, 1 - lr wd is
    below -1 and the weights grow without end. Optimizers that divide by the size of the gradient
    take steps of the same size under any decay, which then only points them at 0; there the updates
    must be of a usual size. Never for a decay below 0.3.
    """
    decay = float(setting(curve, "weight_decay"))
    if decay < STRONG:
        return None
    rate = peak_rate(curve)
    if curve.diverged:
        return _overshoots(rate, decay) if _is_linear(curve) and rate * decay > OVERSHOOTS else None
    if not _ends_at_chance(curve, context) or not _pulls(curve, rate, decay):
        return None
    return _too_strong(
        "it pulls the weights down faster than learning builds them up, and training ends no "
        "better than guessing",
        rate,
        decay,
    )


def _pulls(curve: Curve, rate: float, decay: float) -> bool:
    """Whether the decay has the weights in its hand."""
    optimizer = setting(curve, "optimizer")
    if optimizer in DECOUPLED:
        return rate * decay >= PULLS_APART
    if optimizer in DESCENTS:
        rest = 1 - float(setting(curve, "momentum")) if optimizer in BUILDS_UP else 1.0
        return rate * decay >= PULLS * rest
    ratios = curve.known("update_ratio")
    return bool(len(ratios) and ratios.max() >= FULL_STEPS)


def _ends_at_chance(curve: Curve, context: Context) -> bool:
    """Whether the loss ends within 5 % of ln C or above it; else the score at that of guessing."""
    chance, loss = chance_loss(curve, context), curve.whole("train_loss", epochs=SETTLED)
    if loss is None:
        return False
    if chance is not None:
        return at_end(loss) >= (1 - NEAR_CHANCE) * chance
    score = curve.score("train")
    if score is None:
        return False
    if curve.whole("train_accuracy") is None:
        return at_end(score) <= NEAR_CHANCE
    return bool(context.num_classes) and at_end(score) <= 1.5 / (context.num_classes or 1)


def _is_linear(curve: Curve) -> bool:
    """Whether an update multiplies the weights by 1 - lr wd; others divide by the gradient."""
    return setting(curve, "optimizer") in (*DESCENTS, *DECOUPLED)


def _overshoots(rate: float, decay: float) -> Finding:
    factor = f"{1 - rate * decay:.3g}"
    return _too_strong(
        f"every update multiplies the weights by {factor}, and the trial diverged", rate, decay
    )


def _too_strong(what: str, rate: float, decay: float) -> Finding:
    return Finding(
        kind="decay_too_strong",
        message=f"weight_decay {decay:.3g} is too strong at a learning rate of {rate:.3g}: "
        f"{what}; try 1e-2 or less",
        evidence={"weight_decay": decay, "learning_rate": rate, "product": rate * decay},
    )

"""Rules on the fit: validation that gets worse, overfitting, underfitting.

Applied by ``diagnose``. Sources: Ng, Machine Learning Yearning, chapters 20 to 27 (bias and
variance); Goodfellow et al., Deep Learning, 5.2, 7.8 and 11.3.
"""

from __future__ import annotations

import numpy as np

from hpsearch.analysis.diagnosis.curve import Array, Context, Curve
from hpsearch.analysis.diagnosis.finding import (
    SETTLED,
    Finding,
    at_end,
    logarithms,
    percent,
    trend,
)
from hpsearch.analysis.diagnosis.rate import steps_are_small

WORSE = 1.2  # times the lowest validation loss, at the end
NOISES = 3.0  # jitters of an epoch: what is beyond them is no noise
VISIBLE = 0.02  # of the first validation loss: a rise from 1e-5 to 2e-5 is of no use to anybody
GAP = 0.05  # of the score: five points between training and validation
LOSS_GAP = 0.25  # of the first training loss, where no score is stored
NO_GAP = 0.03  # of the score
LOW = 0.5  # of what there is to win over chance
CONVERGED = 0.1  # fall of the logarithm of the loss over the last half of the epochs …
SHARE = 0.3  # … and its share of the whole fall: a slow curve falls little too
REMEDIES = "more data or augmentation, weight_decay, dropout, or a smaller network"


def stop_early(curve: Curve, context: Context) -> Finding | None:
    """Validation gets worse while training gets better: the epoch at which to stop.

    The validation loss (medians of 3 epochs) ends 20 % or more above its lowest, 3 epochs or more
    after it, by more than three times what it jumps from epoch to epoch, while the training loss
    still fell (Goodfellow et al., 7.8).
    """
    train, loss = curve.whole("train_loss", epochs=6), curve.whole("val_loss", epochs=6)
    if train is None or loss is None:
        return None
    smooth = _smooth(loss)
    best = int(np.argmin(smooth)) + 1  # the middle of its three epochs, from 0
    lowest = float(smooth[best - 1])
    rise = float(smooth[-1] - lowest)
    is_worse = smooth[-1] >= WORSE * lowest and rise >= VISIBLE * loss[0]
    if len(loss) - 1 - best < SETTLED or not is_worse or rise < NOISES * _jitter(loss):
        return None
    if at_end(train) >= train[best]:
        return None
    return Finding(
        kind="stop_early",
        message=f"the validation loss was lowest about epoch {best + 1} ({lowest:.3g}) and "
        f"is {smooth[-1]:.3g} at the end, while the training loss fell from {train[best]:.3g} to "
        f"{at_end(train):.3g}: stop there (patience), or regularize more: {REMEDIES}",
        evidence={"epoch": best + 1, "lowest": lowest, "last": float(smooth[-1])},
    )


def overfitting(curve: Curve, context: Context) -> Finding | None:
    """The gap between training and validation has grown to five points of the score or more.

    At the end (median of 3 epochs), and more than twice what validation jumps by from epoch to
    epoch; it has grown since the first epoch. Where no score is stored, the gap of the losses is a
    quarter of the first training loss. Needs 5 epochs.
    """
    if len(curve) < 5:
        return None
    train, validation = curve.score("train"), curve.score("val")
    if train is None or validation is None:
        return _loss_gap(curve)
    gap = train - validation
    first = max(float(gap[0]), 0.0)  # negative where training's score is from before the updates
    last = at_end(gap)
    if last < max(GAP, first + GAP / 2) or last < 2 * _jitter(validation):
        return None
    return Finding(
        kind="overfitting",
        message=f"training reaches {at_end(train):.3g}, validation {at_end(validation):.3g}: a gap "
        f"of {last:.3g}, up from {first:.3g} in the first epoch; regularize more: "
        f"{REMEDIES}",
        evidence={"gap": last, "train": at_end(train), "validation": at_end(validation)},
    )


def underfitting(curve: Curve, context: Context) -> Finding | None:
    """The training loss has converged, there is no gap, and the score is low.

    Low: less than half of the way from chance to 1 for C classes, or far behind another trial of
    the stage (twice its error, and five points below it). No gap: validation is within 3 points of
    training. A loss that still falls, or that stands because no update has had a usual size where
    better trials have higher rates, is a matter of the rate or of more epochs. Needs 5 epochs.
    """
    loss, train, validation = (
        curve.whole("train_loss", epochs=5),
        curve.score("train"),
        curve.score("val"),
    )
    if loss is None or train is None or validation is None:
        return None
    is_low, least = _low(curve, context, max(at_end(train), at_end(validation)))
    if not is_low or at_end(train - validation) > NO_GAP:
        return None
    if not _has_converged(loss) or steps_are_small(curve, context):
        return None
    return Finding(
        kind="underfitting",
        message=f"training has converged at {at_end(train):.3g}, with validation at "
        f"{at_end(validation):.3g}, and {least}: more capacity (hidden_units, depth, channels), or "
        "less regularization",
        evidence={"train": at_end(train), "validation": at_end(validation)},
    )


def _smooth(values: Array) -> Array:
    """Medians of three epochs in a row, [N - 2]."""
    first, second, third = values[:-2], values[1:-1], values[2:]
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.maximum(low, np.minimum(high, third))


def _jitter(values: Array) -> float:
    """What an epoch jumps by in the last half, without its trend: the deviation of differences."""
    steps = np.diff(values[len(values) // 2 :])
    return float(steps.std() / np.sqrt(2)) if len(steps) else 0.0


def _has_converged(loss: Array) -> bool:
    logs, fall = logarithms(loss), trend(loss[len(loss) // 2 :]).fall
    return bool(fall < CONVERGED and fall < SHARE * (logs[0] - logs[-1]))


def _low(curve: Curve, context: Context, score: float) -> tuple[bool, str]:
    """Whether a training score is low, and against what."""
    if context.is_behind(curve) and context.best is not None:
        is_near = curve.mode == "max" and score > context.best - GAP
        return not is_near, f"the best of the stage has {context.best:.3g}"
    chance = 1 / context.num_classes if context.num_classes else None
    if chance is None or curve.whole("train_accuracy") is None:
        return False, ""
    is_low = (score - chance) / (1 - chance) < LOW
    return is_low, f"guessing would have {percent(chance)}"


def _loss_gap(curve: Curve) -> Finding | None:
    train, validation = curve.whole("train_loss"), curve.whole("val_loss")
    if train is None or validation is None:
        return None
    gap = validation - train
    first = max(float(gap[0]), 0.0)
    if at_end(gap) < max(LOSS_GAP * train[0], 2 * _jitter(validation)) or at_end(gap) <= first:
        return None
    return Finding(
        kind="overfitting",
        message=f"the training loss is {at_end(train):.3g}, that of validation "
        f"{at_end(validation):.3g}: a gap that grew from {first:.3g}; regularize more: {REMEDIES}",
        evidence={"gap": at_end(gap), "train": at_end(train), "validation": at_end(validation)},
    )

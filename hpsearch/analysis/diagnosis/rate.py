"""Rules on the learning rate: too high, too low, and a plateau that a decay would break.

Applied by ``diagnose``. Sources: the notes of cs231n, "Babysitting the learning process";
Goodfellow et al., Deep Learning, sections 8.3 and 11.4; Smith 2018, arXiv 1803.09820.
"""

from __future__ import annotations

import numpy as np

from hpsearch.analysis.diagnosis.curve import Array, Context, Curve
from hpsearch.analysis.diagnosis.finding import (
    MOVES,
    SETTLED,
    Finding,
    Trend,
    at_end,
    lowered,
    median,
    named_rate,
    peak_rate,
    percent,
    setting,
    trend,
)
from hpsearch.analysis.diagnosis.guessing import blew_up, times_guessing

RISES = 1.1  # times the first epoch's loss: more than epochs differ by
OSCILLATES = 0.05  # of the loss, from epoch to epoch: steps jump across the valley
LEAPS = 0.25  # likewise: no descent any more, even if the line through it falls
JITTERS = 0.01  # the least that shows minibatch noise instead of convergence
HIGH = 0.1  # of the first epoch's loss: a plateau below is a fit, not a failure
HIGH_BEHIND = 0.02  # the same where others of the stage show that more can be had
LEARNED = 0.99  # of the training score: nothing is left that a better rate could win
SMALL_STEPS = 1e-3  # update ratio below which the rate does not shake the weights
LARGE_STEPS = 1e-2  # update ratio above which the rate is not too low
SLOW = 0.5  # of the first loss is left while others of the stage are far ahead
CRAWLS = 0.75  # of it is left: slow by any measure, with nobody to compare with
LINEAR = 0.4  # of the fall is in the second half; 0.5 is a straight line, converged is near 0


def rate_too_high(curve: Curve, context: Context) -> Finding | None:
    """Diverged; or the training loss rises, blows up, or oscillates around a high plateau.

    Blows up: see ``blew_up``. Rises: the end is at least 1.1 times the first epoch. Oscillates:
    over the last half (4 epochs or more) the loss jumps by 5 % or more around a line that goes
    nowhere, or by 25 % around any line, above a tenth of the first loss (or far behind the stage's
    best, a fiftieth), with steps of a usual size.
    cs231n: "low rates look linear, very high ones get stuck at worse values of the loss".
    """
    if curve.diverged:
        return _diverged(curve)
    if blew_up(curve, context):
        return _blew_up(curve, context)
    loss = curve.whole("train_loss", epochs=SETTLED)
    if loss is None:
        return None
    if loss[0] > 0 and at_end(loss) >= RISES * loss[0]:
        return _rises(curve, loss)
    found = _high(curve, context, loss)
    if found is None or not (_leaps(found, loss) or _stands(curve, found, OSCILLATES)):
        return None
    return _oscillates(curve, found)


def plateau(curve: Curve, context: Context) -> Finding | None:
    """The training loss has stopped falling at a constant rate, and jitters: decay the rate.

    As an oscillation, but by 1 to 5 %, over 4 epochs or more after a fall by 10 % or more. The
    minibatch's noise holds the weights at a distance from the minimum that is proportional to the
    rate (Goodfellow et al., 8.3.1), so a smaller rate goes further down.
    """
    loss = curve.whole("train_loss", epochs=8)
    if loss is None or not _is_constant(curve):
        return None
    found = _high(curve, context, loss)
    if found is None or not _stands(curve, found, JITTERS) or found.level > loss[0] / RISES:
        return None
    epochs = len(_last_half(loss))
    return Finding(
        kind="plateau",
        message=f"the training loss has stayed at {found.level:.3g} over the last {epochs} epochs "
        f"(± {percent(found.jitter)} from one to the next){named_rate(curve)} that never fell: "
        "decay the rate (lr_schedule step, exponential, cosine, plateau) to go further down",
        evidence={"level": found.level, "jitter": found.jitter, "epochs": epochs},
    )


def rate_too_low(curve: Curve, context: Context) -> Finding | None:
    """The loss falls about linearly, is still falling at the end, and has not come far.

    Or it has not come far, a schedule took what small rate there was, and others had more: steps
    that were small in all epochs, where a better trial of the stage has a higher rate.

    Needs 4 epochs, a fall of which 40 % or more is in the second half, and more than half of the
    first loss left although another trial of the stage, with the same epochs, has less than half of
    this one's error; with none so far ahead, more than three quarters left. So the good trials of a
    short stage, which fall too, are not meant, and neither is a rate that still warms up.
    """
    loss = curve.whole("train_loss", epochs=4)
    if loss is None or _warms_up(curve) or _median(curve, "update_ratio", 0.0) >= LARGE_STEPS:
        return None
    left = float(loss[-1] / loss[0]) if loss[0] > 0 else 0.0
    is_behind = context.is_behind(curve)
    if (SLOW if is_behind else CRAWLS) < left < 1 and falls_steadily(loss):
        return _crawls(curve, loss)
    is_far = is_behind or left > SLOW
    return _steps_small(curve, context) if is_far and steps_are_small(curve, context) else None


def steps_are_small(curve: Curve, context: Context) -> bool:
    """Whether no epoch had updates of a usual size, and a better trial has a higher rate.

    Such a loss has not converged: it stands because nothing moves it.
    """
    ratios = curve.known("update_ratio")
    is_small = bool(len(ratios)) and bool(ratios.max() < MOVES)
    return is_small and context.better_rate is not None and peak_rate(curve) < context.better_rate


def _crawls(curve: Curve, loss: Array) -> Finding:
    return Finding(
        kind="rate_too_low",
        message=f"the training loss fell from {loss[0]:.4g} to only {loss[-1]:.4g} in {len(loss)} "
        f"epochs, about linearly, and is still falling{named_rate(curve)}: raise the rate, by a "
        "factor of 3 to 10",
        evidence={"first": float(loss[0]), "last": float(loss[-1]), "epochs": len(loss)},
    )


def _steps_small(curve: Curve, context: Context) -> Finding:
    largest, rate = float(curve.known("update_ratio").max()), peak_rate(curve)
    better, own = context.better_rate or rate, float(setting(curve, "learning_rate"))
    return Finding(
        kind="rate_too_low",
        message=f"no update moved the weights by more than {largest:.1e} of their norm, at rates "
        f"up to {rate:.3g}, and those of a better trial of the stage went up to {better:.3g}: "
        f"raise the learning_rate, here {own:.3g}, by a factor of 3 to 10",
        evidence={"largest_ratio": largest, "learning_rate": rate, "better_rate": better},
    )


def falls_steadily(loss: Array) -> bool:
    """Whether the loss [N >= 3] falls about linearly to the end, more than it jumps about."""
    fall, middle = float(loss[0] - loss[-1]), loss[len(loss) // 2]
    if fall <= 0 or (middle - loss[-1]) < LINEAR * fall:
        return False
    steps = np.diff(loss)
    return bool(steps[-1] < 0 and fall >= 0.8 * np.abs(steps).sum())


def _high(curve: Curve, context: Context, loss: Array) -> Trend | None:
    """The trend of the last half of the epochs, if that is high up and under full steps.

    The lower of training and validation counts: dropout and augmentation raise the one, and mixup,
    whose labels are blends, leaves it no meaning.
    """
    last = _last_half(loss)
    if len(last) < 4 or _median(curve, "update_ratio", np.inf) < SMALL_STEPS:
        return None
    level = min([median(last), *curve.known("val_loss")[-1:]])
    is_high = level >= HIGH * loss[0] or (
        level >= HIGH_BEHIND * loss[0] and context.is_behind(curve)
    )
    return trend(last) if is_high and not curve.settings.get("mixup") else None


def _stands(curve: Curve, found: Trend, jitter: float) -> bool:
    """Whether the loss goes nowhere, with noise, and there is something left to learn."""
    score = curve.score("train")
    is_learned = score is not None and at_end(score) >= LEARNED
    return found.stands and found.jitter >= jitter and not is_learned


def _leaps(found: Trend, loss: Array) -> bool:
    """Whether the loss jumps by a quarter, upwards too: a fast fall is bent, but never rises."""
    last = _last_half(loss)
    return found.jitter >= LEAPS and bool((last[1:] >= (1 + LEAPS) * last[:-1]).any())


def _last_half(loss: Array) -> Array:
    return loss[len(loss) // 2 :]


def _is_constant(curve: Curve) -> bool:
    """Whether the rate is stored, and never fell in the last half."""
    rates = curve.whole("learning_rate")
    return rates is not None and bool(_last_half(rates).min() >= 0.9 * rates.max())


def _warms_up(curve: Curve) -> bool:
    rates = curve.whole("learning_rate")
    return rates is not None and bool(rates[-1] >= rates.max() and rates[-1] > 2 * rates[0])


def _median(curve: Curve, name: str, unknown: float) -> float:
    known = curve.known(name)
    return median(known) if len(known) else unknown


def _diverged(curve: Curve) -> Finding:
    epochs, loss = len(curve), curve.series["train_loss"]
    last = float(loss[-1]) if epochs else float("nan")
    start = ", or start from smaller weights (kaiming, xavier)" if epochs <= 1 else ""
    return Finding(
        kind="rate_too_high",
        message=f"diverged in epoch {epochs} (training loss {last:.4g}){named_rate(curve)}: "
        + lowered(curve, f"by a factor of 3 to 10, warm it up, or clip the gradient{start}"),
        evidence={"epoch": epochs, "train_loss": last},
    )


def _rises(curve: Curve, loss: Array) -> Finding:
    return Finding(
        kind="rate_too_high",
        message=f"the training loss rose from {loss[0]:.4g} to {at_end(loss):.4g} in {len(loss)} "
        f"epochs{named_rate(curve)}: {lowered(curve, 'by a factor of 3 to 10')}",
        evidence={"first": float(loss[0]), "last": at_end(loss), "epochs": len(loss)},
    )


def _blew_up(curve: Curve, context: Context) -> Finding:
    first = float(times_guessing(curve, context, "train")[0])
    return Finding(
        kind="rate_too_high",
        message=f"the training loss blew up to {first:.3g} times that of guessing in the first "
        f"epoch, and training ends no better than guessing{named_rate(curve)}: "
        + lowered(curve, "by a factor of 10 or more"),
        evidence={"times_guessing": first, "epochs": len(curve)},
    )


def _oscillates(curve: Curve, found: Trend) -> Finding:
    return Finding(
        kind="rate_too_high",
        message=f"the training loss oscillates by {percent(found.jitter)} around a plateau of "
        f"{found.level:.3g}{named_rate(curve)}: " + lowered(curve, "by a factor of 3, or decay it"),
        evidence={"level": found.level, "jitter": found.jitter, "epochs": len(curve)},
    )

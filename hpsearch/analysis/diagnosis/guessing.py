"""Losses beside that of guessing, and trials that were blown up past it.

Asked by the rules on the rate, on gradients and on units: what a blow-up leaves behind, dead units
among it, is not told as its cause.
"""

from __future__ import annotations

import numpy as np

from hpsearch.analysis.diagnosis.curve import NOTHING, Array, Context, Curve
from hpsearch.analysis.diagnosis.finding import (
    DEAD,
    Part,
    at_end,
    chance_loss,
    starts_unscaled,
)

BLOWS_UP = 2.0  # times the loss of guessing, over the first epoch
NO_BETTER = 1 / 1.1  # of the loss of guessing: more than epochs differ by
THROWS = 5e-3  # an update ratio of five times the healthy one


def times_guessing(curve: Curve, context: Context, part: Part) -> Array:
    """The loss of each epoch over that of guessing [N]; [0] where that is not known.

    Of classes ln C; of a regression, whose targets are standardized, 1 - R² of the mean, 1.
    """
    chance = chance_loss(curve, context)
    if chance is not None:
        return curve.series.get(f"{part}_loss", NOTHING) / chance
    return 1.0 - curve.series.get(f"{part}_r2", NOTHING)


def blew_up(curve: Curve, context: Context) -> bool:
    """Whether steps threw the weights so far that training ends no better than guessing.

    The first epoch has twice the loss of guessing, and the end no less than guessing, by training
    after that epoch and by validation, or the trial diverged. The steps were large; or they
    have none any more, for the units are dead, which leave the head no more than its biases: at the
    start those guess. It compares with guessing and not with other epochs: one is enough.
    """
    times = times_guessing(curve, context, "train")
    if not len(times) or not times[0] >= BLOWS_UP:
        return False
    levels = (_level(times[1:]), _level(times_guessing(curve, context, "val")))
    ends = [level for level in levels if level is not None]
    is_lost = curve.diverged or (bool(ends) and min(ends) >= NO_BETTER)
    return is_lost and _were_thrown(curve)


def rate_blew_up(curve: Curve, context: Context) -> bool:
    """Whether it blew up from weights that were scaled by the fan-in: the start is not to blame."""
    return blew_up(curve, context) and not starts_unscaled(curve)


def _level(times: Array) -> float | None:
    """The level at the end; None of a series that is empty or not finite."""
    return at_end(times) if len(times) and np.isfinite(times).all() else None


def _were_thrown(curve: Curve) -> bool:
    ratios, shares = curve.known("update_ratio"), curve.known("dead_fraction")
    is_dead = len(shares) > 0 and at_end(shares) >= DEAD
    return is_dead or bool(len(ratios) and ratios.max() >= THROWS)

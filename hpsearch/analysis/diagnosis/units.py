"""Rules on hidden units: dead ones that no example wakes, and saturated ones.

Applied by ``diagnose``; what is dead or saturated is said in ``workers.training.monitoring``.
Sources: cs231n notes, "Commonly used activation functions"; Glorot and Bengio 2010.
"""

from __future__ import annotations

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.finding import DEAD, Finding, at_end, percent, starts_symmetric
from hpsearch.analysis.diagnosis.guessing import rate_blew_up

SATURATED = 0.5  # of the values: for half of them the gradient does not pass
LARGE_STEPS = 1e-2  # update ratio above which the rate is to blame, not the start
AT_ONCE = 0.8  # of them were there in the first epoch: the start's doing, not the rate's


def dead_units(curve: Curve, context: Context) -> Finding | None:
    """At the end, 40 % or more of the hidden units are woken by no example.

    Not under a start at zeros, whose units have nothing to wake: ``initialization`` says so.
    """
    shares = curve.known("dead_fraction")
    if not len(shares) or at_end(shares) < DEAD or starts_symmetric(curve):
        return None
    end, first, ratios = at_end(shares), float(shares[0]), curve.known("update_ratio")
    if first >= AT_ONCE * end and not (len(ratios) and ratios[0] >= LARGE_STEPS):
        cure = "from the first epoch on: start biases at 0 and weights by kaiming"
    else:
        cure = f"{percent(first)} in the first epoch: lower the learning rate"
    return Finding(
        kind="dead_units",
        message=f"{percent(end)} of the hidden units are dead, no example wakes them, {cure}, or "
        "use leaky_relu",
        evidence={"dead_fraction": end, "first": first},
    )


def saturated_units(curve: Curve, context: Context) -> Finding | None:
    """At the end, half or more of the hidden values lie where the activation is flat.

    Of a trial that diverged only where the updates were small: else the rate saturated them. Nor
    of one that the rate blew up.
    """
    shares, ratios = curve.known("saturated_fraction"), curve.known("update_ratio")
    if not len(shares) or at_end(shares) < SATURATED:
        return None
    if curve.diverged and not (len(ratios) and at_end(ratios) < LARGE_STEPS):
        return None
    if rate_blew_up(curve, context):
        return None
    end, first = at_end(shares), float(shares[0])
    if first >= AT_ONCE * end:
        cure = "from the first epoch on: start from smaller weights (xavier), standardize inputs"
    else:
        cure = f"{percent(first)} in the first epoch: lower the learning rate, decay the weights"
    return Finding(
        kind="saturated_units",
        message=f"{percent(end)} of the hidden values are saturated, little gradient passes them, "
        f"{cure}, normalize, or use relu",
        evidence={"saturated_fraction": end, "first": first},
    )

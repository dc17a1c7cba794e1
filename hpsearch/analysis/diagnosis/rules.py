"""The table of rules, in their order, and ``diagnose``: at most two findings of a curve.

Called by ``searching`` for the trials of a search that are complete or diverged, and for one
of any state that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.decay import decay_too_strong
from hpsearch.analysis.diagnosis.finding import Finding, Rule
from hpsearch.analysis.diagnosis.fit import overfitting, stop_early, underfitting
from hpsearch.analysis.diagnosis.gradients import (
    exploding_gradients,
    initialization,
    update_ratio,
    vanishing_gradients,
)
from hpsearch.analysis.diagnosis.rate import plateau, rate_too_high, rate_too_low
from hpsearch.analysis.diagnosis.units import dead_units, saturated_units

# Two questions (Goodfellow et al., chapter 11: first fit the training part, then generalize), and
# for each the rules from cause to consequence: dead units also make the loss flat and the accuracy
# low, so the first rule that applies answers, and those after it would say the same once more.
OPTIMIZATION: tuple[Rule, ...] = (
    decay_too_strong,
    exploding_gradients,
    saturated_units,
    rate_too_high,
    dead_units,
    vanishing_gradients,
    initialization,
    rate_too_low,
    plateau,
    underfitting,
    update_ratio,
)
GENERALIZATION: tuple[Rule, ...] = (stop_early, overfitting)
# A loss that never settles says nothing of generalization: its validation jumps as well.
UNSETTLED = ("decay_too_strong", "rate_too_high", "exploding_gradients")
FINDING_KINDS = tuple(rule.__name__ for rule in (*OPTIMIZATION, *GENERALIZATION))


def diagnose(curve: Curve, context: Context) -> list[Finding]:
    """What keeps the trial from learning, and what from generalizing: the first rule of each.

    None for a healthy curve, and little for one of a few epochs. A finding's kind is its rule's
    name. A pure function of what is stored.
    """
    learns = _first(OPTIMIZATION, curve, context)
    if learns is not None and learns.kind in UNSETTLED:
        return [learns]
    generalizes = _first(GENERALIZATION, curve, context)
    return [finding for finding in (learns, generalizes) if finding is not None]


def _first(rules: Sequence[Rule], curve: Curve, context: Context) -> Finding | None:
    return next((found for rule in rules if (found := rule(curve, context))), None)

"""Laws of all pruners: what decides nothing, what is not finite, and what is refused."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruner_cases import (
    ALL,
    curves_of,
    decided,
    every_pruner,
    fast,
    fields,
    modes,
    numbers_of,
    pruner,
    sound_values,
)

from hpsearch.sampling.pruners import Curve

RELATIVE = ("median", "percentile", "successive_halving", "wilcoxon")


@every_pruner
@given(
    curves=st.one_of(fields(), fields(values=sound_values)),
    mode=modes,
    order=st.randoms(use_true_random=False),
)
@fast
def test_the_order_of_the_curves_decides_nothing(one, curves, mode, order: random.Random):
    shuffled = list(curves)
    order.shuffle(shuffled)
    assert decided(one, shuffled, mode) == decided(one, curves, mode)


@every_pruner
@given(curves=fields(), mode=modes, data=st.data())
@fast
def test_who_else_is_judged_decides_nothing(one, curves, mode, data):
    some = frozenset(data.draw(st.sets(st.sampled_from(sorted(numbers_of(curves))))))
    assert decided(one, curves, mode, some) == decided(one, curves, mode) & some


@every_pruner
@given(curves=fields(length=7), mode=modes)
@fast
def test_what_comes_after_the_rung_decides_nothing(one, curves, mode):
    cut = [replace(curve, values=curve.values[:4]) for curve in curves]
    assert decided(one, curves, mode) == decided(one, cut, mode)


@every_pruner
@given(curves=fields(), mode=modes)
@fast
def test_a_value_that_is_not_finite_ends_its_trial_and_no_other(one, curves, mode):
    lost = {curve.number for curve in curves if not math.isfinite(curve.values[-1])}
    sound = [curve for curve in curves if curve.number not in lost]
    ended = decided(one, curves, mode)
    assert lost <= ended
    assert ended - lost == decided(one, sound, mode)


@pytest.mark.parametrize("name", RELATIVE)
@given(curves=fields(), mode=modes)
@fast
def test_one_survives_comparison_if_any_value_is_finite(name, curves, mode):
    alive = any(math.isfinite(curve.values[-1]) for curve in curves)
    assert (decided(ALL[name], curves, mode) < numbers_of(curves)) == alive


@every_pruner
def test_where_all_are_nan_all_end(one):
    curves = curves_of(*[math.nan] * 4, by_fold=(math.nan,) * 5)
    assert decided(one, curves) == {0, 1, 2, 3}


def test_a_threshold_may_end_all_of_them():
    assert decided(pruner("threshold", lower=0.5), curves_of(0.1, 0.2)) == {0, 1}


def test_an_earlier_nan_is_forgiven():
    curves = [Curve(number=i, values=(math.nan, math.nan, 0.1, i / 10)) for i in range(6)]
    assert decided(pruner("median"), curves) == {0, 1, 2}
    assert decided(pruner("patient", patience=1), curves) == frozenset()


def test_those_that_did_not_reach_the_rung_are_no_competitors():
    behind = [Curve(number=100 + i, values=(9.0,)) for i in range(20)]
    curves = curves_of(*(i / 10 for i in range(6)))
    judged = numbers_of(curves)
    assert decided(pruner("median"), [*behind, *curves], judged=judged) == {0, 1, 2}


def test_a_judged_trial_without_a_value_at_the_rung_is_refused():
    with pytest.raises(ValueError, match=r"a value at epoch 4, but \[7, 9\] have none"):
        decided(pruner("median"), [Curve(number=7, values=(1.0,))], judged={7, 9})


def test_values_too_large_to_subtract_are_compared_all_the_same():
    curves = curves_of(1e308, 1e308, -1e308, -1e308, rung=1)
    assert decided(ALL["median"], curves, rung=1) == {2, 3}
    assert decided(ALL["median"], curves, "min", rung=1) == {0, 1}


def test_optuna_says_nothing_and_leaves_its_log_level(capfd, recwarn):
    level = optuna.logging.get_verbosity()
    for one in ALL.values():
        decided(one, curves_of(0.1, 0.2, 0.3, by_fold=(0.1, 0.2, 0.3, 0.4, 0.5)))
    assert (capfd.readouterr(), len(recwarn)) == (("", ""), 0)
    assert optuna.logging.get_verbosity() == level

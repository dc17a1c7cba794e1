"""What each pruner decides at a rung, against Optuna asked one trial at a time and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruner_cases import decided, fast, fields, modes, numbers_of, pruner, sound_values
from scipy import stats

from hpsearch.sampling.pruners import Curve
from hpsearch.sampling.statistics import signed_rank_p
from hpsearch.sampling.studies import quiet


def asked_of_optuna(optunas, curves, curve, mode, values):
    """Optuna's word on ``curve`` when all the others have reported and are complete."""
    study = optuna.create_study(direction=f"{mode}imize", pruner=optunas)
    for other in curves:
        study.add_trial(
            optuna.trial.create_trial(
                value=other.values[-1], intermediate_values=dict(enumerate(other.values, 1))
            )
        )
    trial = study.ask()
    for step, value in enumerate(values, 1):
        trial.report(value, step)
    return trial.should_prune()


@pytest.mark.parametrize(
    ("one", "optunas"),
    [
        (pruner("median"), lambda: optuna.pruners.MedianPruner()),
        (
            pruner("median", n_startup_trials=3, n_min_trials=4, interval_steps=2),
            lambda: optuna.pruners.MedianPruner(3, 0, 2, n_min_trials=4),
        ),
        (
            pruner("percentile", percentile=30.0, n_startup_trials=0, n_warmup_steps=4),
            lambda: optuna.pruners.PercentilePruner(30.0, 0, 4),
        ),
        (
            pruner("patient", pruner("median", interval_steps=1), patience=1, min_delta=0.3),
            lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), 1, 0.3),
        ),
        (
            pruner("patient", patience=2),
            lambda: optuna.pruners.PatientPruner(None, 2),
        ),
        (
            pruner("threshold", lower=-0.7, upper=0.5),
            lambda: optuna.pruners.ThresholdPruner(-0.7, 0.5),
        ),
    ],
    ids=["median", "median from 3", "percentile", "patient median", "patient", "threshold"],
)
@given(curves=fields(values=sound_values), mode=modes)
@fast
def test_it_ends_whom_optuna_ends_when_all_the_others_are_complete(one, optunas, curves, mode):
    with quiet():
        expected = {
            curve.number
            for curve in curves
            if asked_of_optuna(optunas(), curves, curve, mode, curve.values)
        }
    assert decided(one, curves, mode) == expected


@given(curves=fields(values=sound_values, most=7), mode=modes, eta=st.integers(2, 4))
@fast
def test_a_halving_ends_whom_optuna_ends_when_it_is_the_last_to_come(curves, mode, eta):
    expected = set()
    with quiet():
        for curve in curves:
            optunas = optuna.pruners.SuccessiveHalvingPruner(4, eta)
            study = optuna.create_study(direction=f"{mode}imize", pruner=optunas)
            for other in [*(one for one in curves if one is not curve), curve]:
                trial = study.ask()
                trial.report(other.values[-1], 4)
                ends = trial.should_prune()
            expected |= {curve.number} if ends else set()
    one = pruner("successive_halving", min_resource=4, reduction_factor=eta)
    assert decided(one, curves, mode) == expected


@given(curves=fields(values=sound_values, most=40), mode=modes, eta=st.integers(2, 5))
@fast
def test_a_halving_keeps_the_best_share_and_all_that_equal_its_last(curves, mode, eta):
    values = {one.number: one.values[-1] for one in curves}
    from_best = sorted(values.values(), reverse=mode == "max")
    bar = from_best[max(1, len(curves) // eta) - 1]
    kept = {n for n, v in values.items() if (v >= bar if mode == "max" else v <= bar)}
    one = pruner("successive_halving", reduction_factor=eta)
    assert decided(one, curves, mode) == numbers_of(curves) - kept


@given(curves=fields(values=sound_values, most=40), mode=modes, percentile=st.floats(0, 100))
@fast
def test_a_percentile_ends_those_whose_best_is_worse_than_it(curves, mode, percentile):
    sign = 1 if mode == "max" else -1
    at_rung = [sign * one.values[-1] for one in curves]
    bar = np.percentile(at_rung, 100 - percentile)
    best = {one.number: max(sign * v for v in one.values) for one in curves}
    # A value that interpolation puts within rounding of the bar may fall on either side of it.
    ended = {n for n, v in best.items() if v < bar - 1e-12}
    maybe = {n for n, v in best.items() if v < bar + 1e-12}
    one = pruner("percentile", percentile=percentile, n_startup_trials=0)
    assert ended <= decided(one, curves, mode) <= maybe


@given(curves=fields(values=sound_values, most=6), mode=modes, p=st.sampled_from([0.1, 0.2, 0.5]))
@fast
def test_wilcoxon_ends_whom_optuna_ends_against_the_best(curves, mode, p):
    curves = [replace(one, values=(0, 0, 0, math.fsum(one.by_fold) / 5)) for one in curves]
    expected = set()
    with quiet():
        for curve in curves:
            study = optuna.create_study(direction=f"{mode}imize")
            for other in sorted(curves, key=lambda one: one.number):
                study.add_trial(
                    optuna.trial.create_trial(
                        value=other.values[-1], intermediate_values=dict(enumerate(other.by_fold))
                    )
                )
            study.pruner = optuna.pruners.WilcoxonPruner(p_threshold=p)
            trial = study.ask()
            for fold, value in enumerate(curve.by_fold):
                trial.report(value, fold)
            expected |= {curve.number} if trial.should_prune() else set()
    assert decided(pruner("wilcoxon", p_threshold=p), curves, mode) == expected


@given(values=st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=8))
@fast
def test_a_signed_rank_is_scipys_with_ties_and_zeros(values):
    expected = stats.wilcoxon(values, alternative="greater", zero_method="zsplit").pvalue
    assert signed_rank_p(values) == pytest.approx(expected, abs=1e-12)


@given(
    values=st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True),
    signs=st.lists(st.sampled_from([-1, 1]), min_size=40, max_size=40),
)
@fast
def test_a_signed_rank_is_scipys_without_ties(values, signs):
    differences = [sign * value for sign, value in zip(signs, values, strict=False)]
    expected = stats.wilcoxon(differences, alternative="greater").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, abs=1e-9)


def test_wilcoxon_waits_for_its_startup_steps():
    good, bad = (0.9,) * 5, (0.1, 0.2, 0.3, 0.4, 0.5)
    curves = [
        Curve(number=0, values=(0.9,), by_fold=good),
        Curve(number=1, values=(0.3,), by_fold=bad),
    ]
    assert decided(pruner("wilcoxon", n_startup_steps=5), curves, rung=1) == {1}
    assert decided(pruner("wilcoxon", n_startup_steps=6), curves, rung=1) == frozenset()


def test_wilcoxon_spares_who_is_as_good_on_average_as_the_best():
    """Worse in four folds of five is p = 12/32, but the fifth makes up for it."""
    curves = [
        Curve(number=0, values=(4.0,), by_fold=(4, 4, 4, 4, 4)),
        Curve(number=1, values=(4.0,), by_fold=(3, 3, 3, 3, 8)),
        Curve(number=2, values=(3.8,), by_fold=(3, 3, 3, 3, 7)),
    ]
    assert decided(pruner("wilcoxon", p_threshold=0.5), curves, rung=1) == {2}


def test_of_equals_the_first_trial_is_the_best_that_wilcoxon_compares_with():
    steady = Curve(number=3, values=(4.0,), by_fold=(4, 4, 4, 4, 4))
    uneven = Curve(number=1, values=(4.0,), by_fold=(0, 8, 0, 8, 4))
    worse = Curve(number=2, values=(3.0,), by_fold=(3, 3, 3, 3, 3))
    one = pruner("wilcoxon")
    assert decided(one, [steady, uneven, worse], rung=1) == frozenset()
    assert decided(one, [steady, replace(uneven, number=4), worse], rung=1) == {2}

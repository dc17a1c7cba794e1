"""What each pruner decides at a rung, against Optuna asked one trial at a time and closed forms."""

from __future__ import annotations

import binascii
import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from hpsearch.sampling.pruners import Curve, bracket, decide, rungs
from hpsearch.sampling.statistics import signed_rank_p
from hpsearch.sampling.studies import quiet
from hpsearch.spec.pruning import DEFAULTS, filled
from hpsearch.spec.search import PRUNERS, Pruner

STUDY = "a search"
EPOCHS = 20


def pruner(name, wrapped=None, **options):
    return Pruner(name=name, options=options, wrapped=wrapped)


ALL = {
    "median": pruner("median", n_startup_trials=0),
    "percentile": pruner("percentile", percentile=25.0, n_startup_trials=0),
    "successive_halving": pruner("successive_halving", reduction_factor=3),
    "hyperband": pruner("hyperband", reduction_factor=2),
    "patient": pruner("patient", patience=1),
    "patient median": pruner("patient", pruner("median", n_startup_trials=0), patience=1),
    "patient hyperband": pruner("patient", pruner("hyperband"), patience=1),
    "threshold": pruner("threshold", lower=-1.0, upper=1.0, n_warmup_steps=2),
    "wilcoxon": pruner("wilcoxon", p_threshold=0.3),
}
RELATIVE = ("median", "percentile", "successive_halving", "wilcoxon")
every_pruner = pytest.mark.parametrize("one", ALL.values(), ids=ALL)
fast = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

# Few different values, so that there are ties; all kinds of broken ones.
sound_values = st.integers(-4, 4).map(lambda n: n / 3)
broken_values = st.sampled_from([math.nan, math.inf, -math.inf])
any_values = st.one_of(sound_values, st.floats(), broken_values)
modes = st.sampled_from(["max", "min"])


@st.composite
def fields(draw, values=any_values, least=1, most=12, length=4, folds=5):
    """Curves of several trials, in an order of their own, with numbers of their own."""
    count = draw(st.integers(least, most))
    numbers = draw(st.lists(st.integers(0, 500), min_size=count, max_size=count, unique=True))
    return [
        Curve(
            number=number,
            values=tuple(draw(st.lists(values, min_size=length, max_size=length))),
            by_fold=tuple(draw(st.lists(values, min_size=folds, max_size=folds))),
        )
        for number in numbers
    ]


def numbers_of(curves):
    return frozenset(one.number for one in curves)


def decided(one, curves, mode="max", judged=None, rung=4):
    judged = numbers_of(curves) if judged is None else judged
    return decide(one, mode, rung, EPOCHS, curves, judged, STUDY)


def curves_of(*values, rung=4, **fold):
    return [
        Curve(number=i, values=(0.0,) * (rung - 1) + (v,), **fold) for i, v in enumerate(values)
    ]


# ---- the epochs at which a pruner decides, as Optuna has them


def registered_steps(optunas, number, epochs):
    """The steps at which Optuna takes note of a trial's value for a halving."""
    with quiet():
        study = optuna.create_study(study_name=STUDY, pruner=optunas, direction="maximize")
        for _ in range(number):
            study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
        trial, steps, seen = study.ask(), [], 0
        for step in range(1, epochs):
            trial.report(1.0, step)
            trial.should_prune()
            noted = len(study.get_trials(deepcopy=False)[number].system_attrs)
            steps += [step] if noted > seen else []
            seen = noted
    return tuple(steps)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({}, 20), ({"min_resource": 2, "reduction_factor": 3}, 60), ({"min_resource": 3}, 3)],
)
@pytest.mark.parametrize("rate", [0, 1, 2])
def test_a_halvings_rungs_are_where_optuna_notes_values(options, epochs, rate):
    full = {"min_resource": 1, **options, "min_early_stopping_rate": rate}
    expected = registered_steps(optuna.pruners.SuccessiveHalvingPruner(**full), 0, epochs)
    assert rungs(pruner("successive_halving", **full), epochs) == expected


@pytest.mark.parametrize("epochs", [2, 9, 20, 27, 81])
@pytest.mark.parametrize("options", [{}, {"min_resource": 2, "reduction_factor": 2}])
def test_hyperbands_rungs_are_where_optuna_notes_values_in_the_trials_bracket(epochs, options):
    one, brackets = pruner("hyperband", **options), set()
    for number in range(12):
        its = bracket(one, epochs, STUDY, number)
        optunas = optuna.pruners.HyperbandPruner(max_resource=epochs, **options)
        assert rungs(one, epochs, its) == registered_steps(optunas, number, epochs)
        brackets.add(its)
    assert len(brackets) > 1 or epochs == 2


def deciding_steps(optunas, epochs):
    """The steps at which Optuna would end a hopeless trial that goes on all the same."""
    with quiet():
        study = optuna.create_study(pruner=optunas, direction="maximize")
        for _ in range(5):
            steps = dict.fromkeys(range(1, epochs + 1), 1.0)
            study.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values=steps))
        trial, found = study.ask(), []
        for step in range(1, epochs):
            trial.report(-1.0, step)
            found += [step] if trial.should_prune() else []
    return tuple(found)


@given(warmup=st.integers(0, 12), interval=st.integers(1, 8), epochs=st.integers(1, 12))
@fast
def test_an_intervals_rungs_are_where_optuna_decides(warmup, interval, epochs):
    options = {"n_warmup_steps": warmup, "interval_steps": interval}
    for optunas, one in (
        (optuna.pruners.MedianPruner(**options), pruner("median", **options)),
        (optuna.pruners.ThresholdPruner(lower=0, **options), pruner("threshold", **options)),
    ):
        assert rungs(one, epochs) == deciding_steps(optunas, epochs)


@given(patience=st.integers(0, 8), epochs=st.integers(1, 12))
@fast
def test_a_patients_rungs_are_where_optuna_decides(patience, epochs):
    """Those of its own, taken every epoch; of a wrapped one those that come late enough."""
    own = pruner("patient", patience=patience, interval_steps=1)
    found = []
    with quiet():
        optunas = optuna.pruners.PatientPruner(None, patience)
        study = optuna.create_study(pruner=optunas, direction="maximize")
        trial = study.ask()
        for step in range(1, epochs):
            trial.report(-float(step), step)  # worse and worse
            found += [step] if trial.should_prune() else []
    assert rungs(own, epochs) == tuple(found)
    wrapping = pruner("patient", pruner("median", interval_steps=3), patience=patience)
    every = rungs(pruner("median", interval_steps=3), epochs)
    assert rungs(wrapping, epochs) == tuple(rung for rung in every if rung in found)


@pytest.mark.parametrize(
    "name", [name for name in PRUNERS if "interval_steps" not in DEFAULTS[name]]
)
@given(epochs=st.integers(1, 300), start=st.integers(0, 40))
@fast
def test_by_default_a_stage_has_at_most_five_rungs_and_all_lie_before_its_end(name, epochs, start):
    option = {"patient": "patience"}.get(name, "n_warmup_steps")
    one = pruner(
        name, **({option: start} if name not in ("hyperband", "successive_halving") else {})
    )
    found = rungs(one, epochs)
    assert list(found) == sorted(set(found))
    assert all(1 <= rung < epochs for rung in found)
    assert len(found) <= 5 or name in ("hyperband", "successive_halving")
    assert rungs(filled(one, epochs), epochs) == found


# ---- brackets


@pytest.mark.parametrize(("epochs", "eta"), [(9, 3), (20, 2), (81, 3), (100, 4)])
def test_a_bracket_is_the_papers_share_by_crc32(epochs, eta):
    count = math.floor(math.log(epochs, eta)) + 1
    budgets = [math.ceil(count * eta**s / (s + 1)) for s in range(count - 1, -1, -1)]
    one, seen = pruner("hyperband", reduction_factor=eta), Counter()
    for number in range(3000):
        left = binascii.crc32(f"{STUDY}_{number}".encode()) % sum(budgets)
        expected = next(i for i in range(count) if left < sum(budgets[: i + 1]))
        assert bracket(one, epochs, STUDY, number) == expected
        seen[expected] += 1
    for i, budget in enumerate(budgets):
        assert seen[i] / 3000 == pytest.approx(budget / sum(budgets), abs=0.04)


def test_only_hyperband_has_brackets_wrapped_or_not():
    numbers = range(40)
    for name, one in ALL.items():
        found = {bracket(one, EPOCHS, STUDY, number) for number in numbers}
        assert (found == {0}) == ("hyperband" not in name)
    wrapped = [bracket(ALL["patient hyperband"], EPOCHS, STUDY, n) for n in numbers]
    assert wrapped == [bracket(pruner("hyperband"), EPOCHS, STUDY, n) for n in numbers]


@given(curves=fields(), mode=modes)
@fast
def test_brackets_do_not_compete(curves, mode):
    one = ALL["hyperband"]
    apart = {}
    for curve in curves:
        apart.setdefault(bracket(one, EPOCHS, STUDY, curve.number), []).append(curve)
    alone = frozenset().union(*(decided(one, some, mode) for some in apart.values()))
    assert decided(one, curves, mode) == alone


# ---- what is decided, against Optuna asked about one trial at a time


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


# ---- laws of all pruners


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

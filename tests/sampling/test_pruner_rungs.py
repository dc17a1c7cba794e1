"""The epochs at which each pruner decides, as Optuna has them, and the brackets of Hyperband."""

from __future__ import annotations

import binascii
import math
from collections import Counter

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruner_cases import ALL, EPOCHS, STUDY, decided, fast, fields, modes, pruner

from hpsearch.sampling.pruners import bracket, rungs
from hpsearch.sampling.studies import quiet
from hpsearch.spec.pruning import DEFAULTS, filled
from hpsearch.spec.search import PRUNERS


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

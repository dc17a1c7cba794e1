"""One contract suite over all samplers, and what those that learn are told."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampler_cases import BOWL, MIXED, branches, generation, lived, score

from hpsearch.sampling.encoding import admits, encode
from hpsearch.sampling.observations import Observation
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.sampling.studies import told_values
from hpsearch.spec.search import SAMPLERS
from hpsearch.spec.space import Branch, Range

every_sampler = pytest.mark.parametrize("kind", SAMPLERS)


@every_sampler
@given(branch=branches(), seed=st.integers(0, 2**63))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_value_is_plain_and_within_its_range(kind, branch, seed):
    sampler = BranchSampler(kind, branch, seed=seed, mode="max")
    for start in (0, 4):
        asked = sampler.ask(4)
        assert len(asked) == 4 or kind == "grid"
        for params in asked:
            assert list(params) == ["optimizer", *branch.parameters]
            for name, parameter in branch.parameters.items():
                value = params[name]
                assert type(value) in (int, float, str, bool, tuple)
                assert admits(parameter, value)
                if isinstance(parameter, Range) and parameter.is_int:
                    assert type(value) is int
                if isinstance(parameter, Range) and parameter.base:
                    assert value in [parameter.base**power for power in range(20)]
        sampler.tell(generation(asked, [1.0] * len(asked), start, key=branch.key))


@every_sampler
@pytest.mark.parametrize("with_prior", [False, True])
def test_a_sampler_told_the_stored_generations_goes_on_as_the_one_that_died(kind, with_prior):
    earlier = BranchSampler("random", MIXED, seed=1, mode="max").ask(4)
    prior = generation(earlier, [score(p) for p in earlier], 100) if with_prior else ()
    living, told = lived(kind, prior=prior)
    restarted = BranchSampler(kind, MIXED, seed=5, mode="max", prior=prior)
    for one in told:
        restarted.tell(one)
    assert restarted.ask(4) == living.ask(4)


@every_sampler
def test_nothing_depends_on_the_order_of_arrival_or_on_global_random_state(kind):
    living, told = lived(kind)
    np.random.seed(12345)
    restarted = BranchSampler(kind, MIXED, seed=5, mode="max")
    for one in told:
        restarted.tell(one[::-1])
    assert restarted.ask(4) == living.ask(4)


@every_sampler
def test_asking_twice_without_telling_gives_the_same_trials(kind):
    sampler, _ = lived(kind)
    assert sampler.ask(3) == sampler.ask(3)


@every_sampler
def test_generations_and_seeds_and_branches_differ(kind):
    _, told = lived(kind, generations=2)
    first, second = ([one.params for one in some] for some in told)
    assert first != second
    assert BranchSampler(kind, MIXED, seed=6, mode="max").ask(4) != first
    other = MIXED.model_copy(update={"key": "optimizer=adam"})
    assert BranchSampler(kind, other, seed=5, mode="max").ask(4) != first


def test_the_same_trials_are_asked_in_another_process():
    program = (
        "from sampler_cases import lived\n"
        "print([lived(kind)[0].ask(3) for kind in ('random', 'qmc', 'grid', 'tpe', 'cmaes')])"
    )
    kinds = ("random", "qmc", "grid", "tpe", "cmaes")
    here = str([lived(kind)[0].ask(3) for kind in kinds])
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    for salt in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


@every_sampler
@pytest.mark.parametrize("mode", ["max", "min"])
def test_values_that_are_not_finite_and_failed_trials_do_not_poison_a_sampler(kind, mode):
    sampler = BranchSampler(kind, MIXED, seed=2, mode=mode)
    bad = [math.nan, math.inf, -math.inf, None, 1e308, -1e308]
    for index in range(3):
        asked = sampler.ask(7)
        one = generation(asked[:6], bad, index * 7)
        lost = Observation(
            branch=MIXED.key,
            params=asked[6],
            value=None,
            state="failed",
            failure_kind=("diverged", "worker_lost", "error")[index],
            number=index * 7 + 6,
        )
        sampler.tell([*one, lost])
    for params in sampler.ask(3):
        assert all(admits(p, params[name]) for name, p in MIXED.parameters.items())


@every_sampler
def test_a_generation_in_which_everything_failed_is_survived(kind):
    sampler = BranchSampler(kind, MIXED, seed=2, mode="max")
    for start in (0, 12):
        sampler.tell(generation(sampler.ask(12), [None] * 12, start))
    assert len(sampler.ask(2)) == 2


@every_sampler
def test_a_branch_without_parameters_gives_its_fixed_values(kind):
    branch = Branch(key="optimizer=sgd", fixed={"optimizer": "sgd"}, trials=3)
    asked = BranchSampler(kind, branch, seed=0, mode="max").ask(3)
    assert asked == [{"optimizer": "sgd"}] * (1 if kind == "grid" else 3)


@every_sampler
def test_what_is_wrong_is_refused(kind):
    sampler = BranchSampler(kind, MIXED, seed=0, mode="max")
    with pytest.raises(ValueError, match="must be 0 or more, but got -1"):
        sampler.ask(-1)
    with pytest.raises(ValueError, match="trial 0 is of 'another'"):
        sampler.tell(generation(sampler.ask(1), [1.0], key="another"))


def test_an_unknown_sampler_is_refused_by_name():
    with pytest.raises(ValueError, match="one of random, qmc, grid, tpe, gp, cmaes, but got 'x'"):
        BranchSampler("x", MIXED, seed=0, mode="max")


@every_sampler
def test_optuna_is_silent_and_its_settings_stay_as_they_were(kind, capfd):
    import optuna

    optuna.logging.set_verbosity(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lived(kind, generations=2)
    assert optuna.logging.get_verbosity() == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_a_failed_trial_is_told_as_a_little_worse_than_the_worst():
    seen = generation([{}] * 3, [1.0, None, 3.0])
    assert told_values(seen, "max") == pytest.approx([1.0, 0.8, 3.0])
    assert told_values(seen, "min") == pytest.approx([1.0, 3.2, 3.0])


def test_what_is_told_is_finite_even_where_differences_of_values_are_not():
    told = told_values(generation([{}] * 4, [1e308, -1e308, math.inf, None]), "max")
    assert np.isfinite(told).all()
    assert np.isfinite(np.var(told))


def test_choices_that_are_equal_in_python_are_told_apart():
    choice = MIXED.parameters["normalize"]
    assert [encode(choice, value) for value in (True, 1, "yes", [1, 2])] == [0, 1, 2, 3]
    assert not admits(choice, 1.0)


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_samplers_that_learn_turn_from_where_trials_diverge(kind):
    """Half of the range diverges, and the values of the other half say nothing."""
    branch = Branch(key="all", parameters={"x": Range(kind="uniform", low=0.0, high=1.0)})
    inside = []
    for seed in range(4):
        sampler = BranchSampler(kind, branch, seed=seed, mode="max")
        asked = sampler.ask(20)
        sampler.tell(
            [
                Observation(
                    branch="all",
                    params=params,
                    value=None if params["x"] > 0.5 else 1.0,
                    state="failed" if params["x"] > 0.5 else "complete",
                    failure_kind="diverged" if params["x"] > 0.5 else None,
                    number=number,
                )
                for number, params in enumerate(asked)
            ]
        )
        inside += [params["x"] <= 0.5 for params in sampler.ask(4)]
    assert sum(inside) >= 12


def test_a_cmaes_generation_that_was_not_asked_for_is_refused():
    sampler = BranchSampler("cmaes", MIXED, seed=0, mode="max")
    strange = BranchSampler("random", MIXED, seed=9, mode="max").ask(4)
    with pytest.raises(ValueError, match="continue with the versions of optuna and cmaes"):
        sampler.tell(generation(strange, [1.0] * 4))


def test_cmaes_learns_from_every_trial_of_a_large_generation():
    asked_last = []
    for last in (0.0, 1.0):
        sampler = BranchSampler("cmaes", BOWL, seed=0, mode="max")
        for start in (0, 20):
            sampler.tell(
                generation(sampler.ask(20), [*np.linspace(0.5, 0, 19), last], start, key="all")
            )
        asked_last.append(sampler.ask(1))
    assert asked_last[0] != asked_last[1]


def test_a_prior_outside_the_ranges_is_left_out():
    outside = [{**params, "learning_rate": 5.0} for params in lived("random")[0].ask(4)]
    prior = generation(outside, [9.0] * 4)
    for kind in ("tpe", "gp", "cmaes"):
        with_prior = BranchSampler(kind, MIXED, seed=3, mode="max", prior=prior)
        assert len(with_prior.ask(3)) == 3


def test_gp_starts_from_its_prior_and_not_at_random():
    prior = generation(
        [{"x": x, "rate": rate} for x in (-0.5, 0.0, 0.5) for rate in (1e-4, 1e-2)],
        [-abs(x) for x in (-0.5, 0.0, 0.5) for _ in range(2)],
        key="all",
    )
    asked = [
        BranchSampler("gp", BOWL, seed=seed, mode="max", prior=prior).ask(1)[0]["x"]
        for seed in range(4)
    ]
    assert max(abs(x) for x in asked) < 0.5

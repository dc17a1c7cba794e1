"""One contract suite over all samplers, and an oracle for each."""

from __future__ import annotations

import itertools
import logging
import math
import os
import subprocess
import sys
import threading
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler

from hpsearch.sampling import sequences
from hpsearch.sampling.encoding import admits, encode
from hpsearch.sampling.keyed import keyed_seed
from hpsearch.sampling.observations import Observation
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.sampling.studies import decoded, new_study, space_of, told_values
from hpsearch.spec.search import SAMPLERS
from hpsearch.spec.space import Branch, Choice, Range

RATE = Range(kind="log_uniform", low=1e-5, high=1.0)
MIXED = Branch(
    key="optimizer=sgd",
    fixed={"optimizer": "sgd"},
    parameters={
        "learning_rate": RATE,
        "dropout": Range(kind="uniform", low=0.0, high=0.8),
        "hidden_units": Range(kind="log_int", low=16, high=512, base=2),
        "depth": Range(kind="int", low=1, high=4),
        "normalize": Choice(choices=(True, 1, "yes", (1, 2))),
    },
    trials=64,
)
BOWL = Branch(
    key="all",
    parameters={"x": Range(kind="uniform", low=-1.0, high=1.0), "rate": RATE},
    trials=40,
)

finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def ranges(draw):
    kind = draw(st.sampled_from(["log_uniform", "uniform", "int", "log_int", "power"]))
    if kind == "power":
        base = draw(st.integers(2, 10))
        low, width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        return Range(kind="log_int", low=base**low, high=base ** (low + width), base=base)
    if kind in ("int", "log_int"):
        low, width = draw(st.integers(1, 500)), draw(st.integers(0, 500))
        return Range(kind=kind, low=low, high=low + width)
    if kind == "uniform":
        low, width = draw(st.floats(-1e6, 1e6)), draw(st.floats(0, 1e6))
        return Range(kind=kind, low=low, high=low + width)
    low, factor = draw(st.floats(1e-12, 1e6)), draw(st.floats(1, 1e12))
    return Range(kind=kind, low=low, high=low * factor)


values = st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.just((64, 32)))
choices = st.lists(values, min_size=1, max_size=4, unique_by=lambda v: (type(v), v)).map(
    lambda some: Choice(choices=tuple(some))
)


@st.composite
def branches(draw):
    parameters = draw(st.lists(st.one_of(ranges(), choices), max_size=4))
    return Branch(
        key="optimizer=adam",
        fixed={"optimizer": "adam"},
        parameters={f"p{index}": parameter for index, parameter in enumerate(parameters)},
        trials=8,
    )


def generation(asked, values, start=0, key=MIXED.key):
    return [
        Observation(branch=key, params=params, value=value, number=start + index)
        for index, (params, value) in enumerate(zip(asked, values, strict=True))
    ]


def score(params):
    """A bowl over MIXED whose best value is 0."""
    return -((math.log10(params["learning_rate"]) + 2) ** 2) - params["dropout"]


def lived(kind, generations=3, count=4, prior=(), seed=5):
    """A sampler that asked and was told, with the generations that it went through."""
    sampler, told = BranchSampler(kind, MIXED, seed=seed, mode="max", prior=prior), []
    for index in range(generations):
        asked = sampler.ask(count)
        one = generation(asked, [score(params) for params in asked], index * count)
        sampler.tell(one)
        told.append(one)
    return sampler, told


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
        "from test_samplers import lived\n"
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


# Oracles


def bowl(params):
    return -((params["x"] - 0.3) ** 2) - 0.1 * (math.log10(params["rate"]) + 2) ** 2


def best_of(kind, seed, total, batch=5):
    sampler, best = BranchSampler(kind, BOWL, seed=seed, mode="max"), -math.inf
    for start in range(0, total, batch):
        asked = sampler.ask(batch)
        sampler.tell(generation(asked, [bowl(p) for p in asked], start, key="all"))
        best = max([best, *map(bowl, asked)])
    return best


@pytest.mark.parametrize(
    ("kind", "seeds", "total"), [("tpe", 10, 40), ("gp", 4, 25), ("cmaes", 10, 40)]
)
def test_samplers_that_learn_beat_random_on_a_bowl(kind, seeds, total):
    wins = sum(best_of(kind, seed, total) > best_of("random", seed, total) for seed in range(seeds))
    assert wins >= 0.7 * seeds


@given(branch=branches(), seed=st.integers(0, 2**32))
def test_random_draws_what_a_study_of_optunas_asks_for(branch, seed):
    study = new_study(RandomSampler(seed=keyed_seed(seed, branch.key, 0)), "max")
    asked = [decoded(branch, study.ask(space_of(branch)).params) for _ in range(4)]
    drawn = BranchSampler("random", branch, seed=seed, mode="max").ask(4)
    assert repr(drawn) == repr(asked)


def test_random_is_uniform_on_each_parameters_own_scale():
    asked = BranchSampler("random", MIXED, seed=0, mode="max").ask(1200)
    decades = Counter(math.floor(math.log10(params["learning_rate"])) for params in asked)
    powers = Counter(params["hidden_units"] for params in asked)
    # Five decades of 240 and six powers of 200: 4.5 standard deviations of the binomial law.
    assert all(abs(decades[place] - 240) < 63 for place in range(-5, 0))
    assert all(abs(powers[2**place] - 200) < 59 for place in range(4, 10))


def test_sixteen_sobol_points_hit_each_of_sixteen_strata_in_every_generation():
    for seed in range(5):
        sampler = BranchSampler("qmc", BOWL, seed=seed, mode="max")
        for start in (0, 16):
            asked = sampler.ask(16)
            sampler.tell(generation(asked, [0.0] * 16, start, key="all"))
            assert {int((params["x"] + 1) * 8) for params in asked} == set(range(16))
            places = {int((math.log10(p["rate"]) + 5) / 5 * 16) for p in asked}
            assert places == set(range(16))


def test_sobol_gives_the_same_sequence_however_it_is_cut_into_generations():
    whole = BranchSampler("qmc", MIXED, seed=4, mode="max").ask(12)
    sampler, parts = BranchSampler("qmc", MIXED, seed=4, mode="max"), []
    for count in (5, 1, 6):
        asked = sampler.ask(count)
        sampler.tell(generation(asked, [0.0] * count, len(parts)))
        parts += asked
    assert parts == whole


def test_a_grid_is_exactly_the_product_of_its_levels_and_ends():
    branch = Branch(
        key="all",
        parameters={
            "rate": Range(kind="log_uniform", low=1e-4, high=1e-2),
            "depth": Range(kind="int", low=1, high=2),
            "x": Range(kind="uniform", low=0.0, high=1.0),
            "act": Choice(choices=("relu", "tanh")),
        },
        trials=40,
    )
    sampler, asked = BranchSampler("grid", branch, seed=0, mode="max"), []
    for count in (20, 20, 3):
        part = sampler.ask(count)
        sampler.tell(generation(part, [0.0] * len(part), len(asked), key="all"))
        asked += part
    product = itertools.product((-4.0, -3.0, -2.0), (1, 2), (0.0, 0.5, 1.0), ("relu", "tanh"))
    cells = [
        (round(math.log10(p["rate"]), 9), p["depth"], round(p["x"], 9), p["act"]) for p in asked
    ]
    assert sorted(cells) == sorted(product)
    assert cells != sorted(cells)


def test_a_grid_too_large_for_its_trials_is_sampled_without_repetition():
    branch = MIXED.model_copy(update={"trials": 4})
    asked = BranchSampler("grid", branch, seed=0, mode="max").ask(100)
    assert len(asked) == len({str(params) for params in asked}) == 2 * 2 * 2 * 2 * 4


def test_scipys_table_is_read_where_no_signal_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of signals run in the main thread only."""
    threads = []

    def noting(dimensions: int) -> None:
        threads.append(threading.current_thread())

    monkeypatch.setattr("scipy.stats.qmc.Sobol", noting)
    sequences._read_directions.cache_clear()
    sequences._read_directions()
    sequences._read_directions()
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    sequences._read_directions.cache_clear()

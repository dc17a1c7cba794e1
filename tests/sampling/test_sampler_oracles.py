"""Each sampler against its oracle: Optuna, a uniform law, Sobol strata, a grid, a bowl."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from sampler_cases import BOWL, MIXED, branches, generation

from hpsearch.sampling import sequences
from hpsearch.sampling.keyed import keyed_seed
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.sampling.studies import decoded, new_study, space_of
from hpsearch.spec.space import Branch, Choice, Range


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

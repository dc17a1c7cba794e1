"""A pruned trial is compared by its value alone: how far it got depends on its bracket too."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.sampling.border import extend
from hpsearch.sampling.observations import Observation, elite_of, ranked
from hpsearch.sampling.pruners import Curve, bracket, decide, rungs
from hpsearch.sampling.refiner import refine
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.sampling.standing import standings
from hpsearch.sampling.studies import told_values
from hpsearch.spec.search import Pruner
from hpsearch.spec.space import Branch, Range

LINE = Branch(key="all", parameters={"x": Range(kind="uniform", low=-1.0, high=1.0)}, trials=40)
EPOCHS = 18
HYPERBAND = Pruner(name="hyperband", options={"reduction_factor": 3})
modes = st.sampled_from(["max", "min"])


def seen(number, value, state="pruned", x=0.0, branch="all"):
    return Observation(
        branch=branch,
        params={"x": x},
        value=value,
        state=state,
        failure_kind="diverged" if state == "failed" else None,
        number=number,
    )


def along(objective, state_of, count=40):
    """Trials along x, the value of each by its place and its state by its number."""
    xs = [-1 + 2 * (i + 0.5) / count for i in range(count)]
    return [seen(i, objective(x), state_of(i), x=x) for i, x in enumerate(xs)]


def completed(trials):
    """The same trials, had nobody been pruned."""
    return [replace(one, state="complete") if one.state == "pruned" else one for one in trials]


def by_chance(number):
    """Of every three one is complete: the state says nothing of the params."""
    return "complete" if number % 3 == 0 else "pruned"


def peak(x):
    return 1.0 - (x - 0.5) ** 2


def refined(trials, mode="max", seed=0):
    return refine([LINE], trials, mode=mode, total_trials=20, seed=seed, limits={})


def hyperbands_ends(curves):
    """The epoch at which each trial ends, if Hyperband judges it rung by rung in its bracket."""
    members = {}
    for number in curves:
        members.setdefault(bracket(HYPERBAND, EPOCHS, "a search", number), []).append(number)
    ends = dict.fromkeys(curves, EPOCHS)
    for place, numbers in members.items():
        for rung in rungs(HYPERBAND, EPOCHS, place):
            alive = [number for number in numbers if ends[number] == EPOCHS]
            there = [Curve(number=number, values=curves[number][:rung]) for number in alive]
            ended = decide(HYPERBAND, "max", rung, EPOCHS, there, alive, "a search")
            ends |= dict.fromkeys(ended, rung)
    return ends


def beside_rivals(seed, lag):
    """A branch's trials whose rivals are all better, so that its own are cut: cut, and uncut.

    Each value lacks the share ``lag`` to the power of the epoch of its end value.
    """
    xs = [params["x"] for params in BranchSampler("random", LINE, seed=seed, mode="max").ask(100)]
    finals = [0.9 * peak(x) for x in xs] + [0.93 + 0.0003 * i for i in range(200)]
    curves = {
        number: tuple(final * (1 - lag**epoch) for epoch in range(1, EPOCHS + 1))
        for number, final in enumerate(finals)
    }
    ends = hyperbands_ends(curves)
    cut = [
        seen(n, max(curves[n][: ends[n]]), "complete" if ends[n] == EPOCHS else "pruned", x=x)
        for n, x in enumerate(xs)
    ]
    return cut, [seen(n, max(curves[n]), "complete", x=x) for n, x in enumerate(xs)]


observations = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-300, 300).map(lambda n: n / 100),
            st.sampled_from([math.nan, math.inf, None]),
        ),
        st.sampled_from(["complete", "pruned", "failed"]),
        st.floats(-1, 1),
    ),
    max_size=20,
).map(lambda some: [seen(i, v, state, x) for i, (v, state, x) in enumerate(some)])


def test_the_better_value_is_better_pruned_or_complete():
    trials = [
        seen(0, 0.958),
        seen(1, 0.5, "complete"),
        seen(2, 0.078),
        seen(3, 0.6, "complete"),
        seen(4, None, "failed"),
        seen(5, math.nan),
        seen(6, 0.5),
    ]
    assert [one.number for one in ranked(trials, "max")] == [0, 3, 1, 6, 2, 4, 5]
    assert [one.number for one in ranked(trials, "min")] == [2, 1, 6, 3, 0, 4, 5]
    best = elite_of(ranked(trials, "max"), "max", share=0, least=3)
    assert [one.number for one in best] == [0, 3, 1, 6]  # the last two are equal


@given(trials=observations, mode=modes)
@settings(max_examples=200, deadline=None)
def test_what_optuna_is_told_are_the_values_themselves_and_failures_below_them(trials, mode):
    told = dict(zip((one.number for one in trials), told_values(trials, mode), strict=True))
    sign = 1 if mode == "max" else -1
    for one in trials:
        assert math.isfinite(told[one.number])
        assert not one.succeeded or told[one.number] == one.value
    for better, worse in pairwise(ranked(trials, mode)):
        assert sign * told[better.number] >= sign * told[worse.number]
        if better.succeeded and not worse.succeeded:
            assert sign * told[better.number] > sign * told[worse.number]


@given(trials=observations, mode=modes)
@settings(max_examples=100, deadline=None)
def test_ranges_and_branches_are_the_same_had_nobody_been_pruned(trials, mode):
    whole = completed(trials)
    assert refined(trials, mode) == refined(whole, mode)
    assert standings([LINE], trials, mode) == standings([LINE], whole, mode)
    call = {"mode": mode, "trials": 10, "seed": 0, "limits": {}}
    assert extend([LINE], trials, **call) == extend([LINE], whole, **call)


@pytest.mark.parametrize("state_of", [by_chance, lambda number: "pruned"])
def test_a_range_closes_in_on_the_best_values_whoever_was_pruned(state_of):
    trials = along(peak, state_of)
    result = refined(trials)
    assert result == refined(completed(trials))
    x = result.branches[0].parameters["x"]
    assert 0.0 <= x.low < 0.5 < x.high <= 1.0


@pytest.mark.parametrize("seed", range(4))
def test_hyperbands_brackets_do_not_decide_what_a_range_is_learned_from(seed):
    cut, uncut = beside_rivals(seed, lag=0.0)
    assert sum(one.state == "complete" for one in cut) < 10
    assert refined(cut, seed=seed) == refined(uncut, seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_a_range_closes_in_though_values_of_few_epochs_are_a_little_lower(seed):
    cut, _ = beside_rivals(seed, lag=0.1)
    x = refined(cut, seed=seed).branches[0].parameters["x"]
    assert x.low < 0.5 < x.high
    assert x.high - x.low < 1.0  # of 2


@pytest.mark.parametrize("state_of", [by_chance, lambda number: "pruned"])
def test_a_border_is_extended_for_those_that_crowd_it_whoever_was_pruned(state_of):
    call = {"mode": "max", "trials": 10, "seed": 0, "limits": {}}
    trials = along(lambda x: -x, state_of)
    extension = extend([LINE], trials, **call)
    assert extension == extend([LINE], completed(trials), **call)
    assert extension.branches[0].parameters["x"].low < -1.0


def test_a_branch_is_judged_by_values_whoever_was_pruned():
    other = LINE.model_copy(update={"key": "other"})
    trials = [seen(i, 0.5 + i / 100, "complete") for i in range(20)]
    trials += [seen(20 + i, 0.99, branch="other") for i in range(20)]
    found = standings([LINE, other], trials, "max")
    assert (found["all"].better, found["other"].better) == (20, 0)
    assert not found["all"].earned


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
def test_a_learning_sampler_asks_the_same_had_nobody_been_pruned(kind):
    trials = along(peak, by_chance)
    asked, expected = (
        BranchSampler(kind, LINE, seed=3, mode="max", prior=some).ask(12)
        for some in (trials, completed(trials))
    )
    assert asked == expected


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
def test_a_learning_sampler_turns_to_where_pruned_trials_were_better(kind):
    trials = along(
        lambda x: peak(x) if x > 0 else -1.0, lambda n: "pruned" if n >= 20 else "complete"
    )
    asked = BranchSampler(kind, LINE, seed=3, mode="max", prior=trials).ask(12)
    assert sum(params["x"] > 0 for params in asked) >= 9


def test_cmaes_is_told_pruned_trials_by_the_values_that_they_reached():
    sampler = BranchSampler("cmaes", LINE, seed=3, mode="min")
    for start, state in ((0, "pruned"), (4, "complete")):
        asked = sampler.ask(4)
        sampler.tell(
            [seen(start + i, (start + i) / 10, state, x=p["x"]) for i, p in enumerate(asked)]
        )
    told = [trial.value for trial in sampler._evolution._study.get_trials()]
    assert told == [number / 10 for number in range(8)]

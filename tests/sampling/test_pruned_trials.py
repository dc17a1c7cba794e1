"""A pruned trial says that it was bad there, and its value is never taken for a full training's."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.sampling.border import extend
from hpsearch.sampling.observations import Observation, elite_of, ranked
from hpsearch.sampling.refiner import refine
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.sampling.standing import standings
from hpsearch.sampling.studies import told_values
from hpsearch.spec.space import Branch, Range

LINE = Branch(key="all", parameters={"x": Range(kind="uniform", low=-1.0, high=1.0)}, trials=40)
modes = st.sampled_from(["max", "min"])


def seen(number, value, epochs=0, state="pruned", x=0.0, branch="all"):
    """A trial; one that is pruned if it has epochs, complete without."""
    return Observation(
        branch=branch,
        params={"x": x},
        value=value,
        state=state if epochs or state == "failed" else "complete",
        failure_kind="diverged" if state == "failed" else None,
        number=number,
        epochs=epochs,
    )


def lying(value_of_pruned, count=40):
    """Trials along x: those below 0 pruned after an epoch, with a value better than all others."""
    xs = [-1 + 2 * (i + 0.5) / count for i in range(count)]
    return [
        seen(i, value_of_pruned, 1, x=x) if x < 0 else seen(i, 1.0 - (x - 0.5) ** 2, x=x)
        for i, x in enumerate(xs)
    ]


observations = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-300, 300).map(lambda n: n / 100),
            st.sampled_from([math.nan, math.inf, None]),
        ),
        st.integers(0, 4),
        st.sampled_from(["pruned", "failed"]),
    ),
    max_size=20,
).map(lambda some: [seen(i, v, e, state) for i, (v, e, state) in enumerate(some)])


def test_complete_come_before_pruned_and_those_by_how_far_they_got():
    trials = [
        seen(0, 0.99, 1),
        seen(1, 0.5, 9),
        seen(2, 0.6, 9),
        seen(3, 0.4),
        seen(4, None, state="failed"),
        seen(5, 0.3),
        seen(6, math.nan, 9),
    ]
    assert [one.number for one in ranked(trials, "max")] == [3, 5, 2, 1, 0, 4, 6]
    assert [one.number for one in ranked(trials, "min")] == [5, 3, 1, 2, 0, 4, 6]


def test_the_elite_takes_pruned_trials_only_where_complete_ones_are_too_few():
    complete, pruned = [seen(i, 0.5) for i in range(3)], [seen(9 + e, 0.9, e) for e in range(1, 9)]
    ordered = ranked([*pruned, *complete], "max")
    assert elite_of(ordered, "max", share=0, least=3) == complete
    best = elite_of(ordered, "max", share=0, least=5)
    assert [one.epochs for one in best] == [0, 0, 0, 8, 7]


def test_pruned_trials_that_got_as_far_with_the_same_value_are_in_the_elite_together():
    trials = ranked([seen(0, 0.5), *(seen(i, 0.4, 4) for i in range(1, 5)), seen(5, 0.4, 3)], "max")
    assert [one.number for one in elite_of(trials, "max", share=0, least=2)] == [0, 1, 2, 3, 4]


@given(trials=observations, mode=modes)
@settings(max_examples=200, deadline=None)
def test_what_optuna_is_told_has_the_order_of_merit_and_complete_values_as_they_are(trials, mode):
    told = dict(zip((one.number for one in trials), told_values(trials, mode), strict=True))
    sign = 1 if mode == "max" else -1
    for better, worse in pairwise(ranked(trials, mode)):
        if better.merit(mode) > worse.merit(mode):
            assert sign * told[better.number] > sign * told[worse.number]
        else:
            assert told[better.number] == told[worse.number]
    for one in trials:
        assert math.isfinite(told[one.number])
        if one.succeeded and one.state == "complete":
            assert told[one.number] == one.value


def test_pruned_trials_are_told_between_the_worst_complete_and_the_failed():
    trials = [
        seen(0, 1.0),
        seen(1, 3.0),
        seen(2, 9.0, 2),
        seen(3, 5.0, 4),
        seen(4, None, 0, "failed"),
    ]
    assert told_values(trials, "max") == pytest.approx([1.0, 3.0, 1 - 0.4 / 3, 1 - 0.2 / 3, 0.8])
    assert told_values(trials, "min") == pytest.approx([1.0, 3.0, 3 + 0.4 / 3, 3 + 0.2 / 3, 3.2])


@given(trials=observations, mode=modes)
@settings(max_examples=200, deadline=None)
def test_while_none_is_complete_no_pruned_trial_is_told_better_than_any_value_seen(trials, mode):
    pruned = [one for one in trials if one.succeeded and one.state == "pruned"]
    sign = 1 if mode == "max" else -1
    for told in told_values(pruned, mode):
        assert sign * told < min(sign * one.value for one in pruned)


def test_cmaes_is_told_no_pruned_first_generation_below_the_real_losses_that_follow():
    """Told once: a loss of 0.03 for what was pruned at 0.5 would stay the best for good."""
    sampler = BranchSampler("cmaes", LINE, seed=3, mode="min")
    for state, loss in (("pruned", 0.5), ("complete", 0.4)):
        start = 4 * (state == "complete")
        asked = sampler.ask(4)
        sampler.tell(
            [
                seen(start + i, loss + i / 100, epochs=2 * (state == "pruned"), x=params["x"])
                for i, params in enumerate(asked)
            ]
        )
    told = [trial.value for trial in sampler._evolution._study.get_trials()]
    assert max(told[4:]) < min(told[:4])


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
def test_a_learning_sampler_avoids_where_trials_were_pruned_whatever_their_values(kind):
    sampler = BranchSampler(kind, LINE, seed=3, mode="max", prior=lying(5.0))
    asked = [params["x"] for params in sampler.ask(12)]
    assert sum(x > 0 for x in asked) >= 9


@pytest.mark.parametrize("value", [-5.0, 5.0])
def test_a_range_is_narrowed_around_complete_trials(value):
    (branch,) = refine(
        [LINE], lying(value), mode="max", total_trials=20, seed=0, limits={}
    ).branches
    x = branch.parameters["x"]
    assert 0.0 <= x.low < 0.5 < x.high <= 1.0


def test_where_a_halving_left_one_the_range_closes_in_on_those_that_got_furthest():
    """Epochs grow towards 0.5, values the other way: only how far they got can tell."""
    xs = [-1 + 2 * (i + 0.5) / 40 for i in range(40)]
    trials = [
        seen(i, abs(x - 0.5), 1 + int(20 * (2 - abs(x - 0.5))), x=x) for i, x in enumerate(xs)
    ]
    trials[30] = seen(30, 0.1, x=xs[30])
    (branch,) = refine([LINE], trials, mode="max", total_trials=20, seed=0, limits={}).branches
    assert -0.1 < branch.parameters["x"].low < 0.5 < branch.parameters["x"].high <= 1.0


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_border_is_extended_for_complete_trials_that_crowd_it_not_for_pruned_ones(epochs):
    """The nearer to -1 the higher the value, but those below 0 may have been pruned."""
    xs = [-1 + 2 * (i + 0.5) / 40 for i in range(40)]
    trials = [
        seen(i, 5.0 - x, epochs, x=x) if x < 0 else seen(i, 1.0 - (x - 0.25) ** 2, x=x)
        for i, x in enumerate(xs)
    ]
    extension = extend([LINE], trials, mode="max", trials=10, seed=0, limits={})
    assert (extension is None) == (epochs > 0)


def test_a_branch_of_pruned_trials_is_beaten_by_one_of_complete_ones():
    other = LINE.model_copy(update={"key": "other"})
    trials = [seen(i, 0.5 + i / 100) for i in range(20)]
    trials += [seen(20 + i, 0.99, 2, branch="other") for i in range(20)]
    found = standings([LINE, other], trials, "max")
    assert found["other"].better == 20
    assert found["all"].better == 0
    assert not found["other"].earned

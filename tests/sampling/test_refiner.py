"""What a refinement does to branches, ranges and choices, and what it says about it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpsearch.sampling.encoding import admits
from hpsearch.sampling.narrowing import margin_of, narrow_range, stability_edge
from hpsearch.sampling.observations import Observation, elite_of, ranked
from hpsearch.sampling.ranges import span, within
from hpsearch.sampling.ranking import rank_branch
from hpsearch.sampling.refiner import refine
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.spec.space import Branch, Choice, Range
from workers.config import DOMAINS
from workers.config.domain import Domain

RATE = Range(kind="log_uniform", low=1e-6, high=1.0)
DROPOUT = Range(kind="uniform", low=0.0, high=0.8)


def branch_of(key="all", **parameters):
    return Branch(key=key, parameters=parameters, trials=60)


def observe(branch, objective, count=60, seed=0, start=0):
    """Trials of a branch; an objective of None is a diverged trial."""
    asked = BranchSampler("random", branch, seed=seed, mode="max").ask(count)
    return [outcome(branch, p, objective(p), start + i) for i, p in enumerate(asked)]


def outcome(branch, params, value, number):
    return Observation(
        branch=branch.key,
        params=params,
        value=value,
        state="failed" if value is None else "complete",
        failure_kind="diverged" if value is None else None,
        number=number,
    )


def refined(branches, observations, total=40, **changes):
    call = {"mode": "max", "total_trials": total, "seed": 0, "limits": DOMAINS, **changes}
    return refine(branches, observations, **call)


def reasons_for(refinement, parameter):
    return [reason for reason in refinement.reasons if reason.parameter == parameter]


def rate_bowl(params):
    return -((math.log10(params["learning_rate"]) + 3) ** 2)


def test_a_range_closes_in_on_the_best_and_says_why():
    branch = branch_of(learning_rate=RATE)
    result = refined([branch], observe(branch, rate_bowl))
    new = result.branches[0].parameters["learning_rate"]
    assert 1e-6 < new.low < 1e-3 < new.high < 1.0
    assert math.log10(new.high / new.low) < 3
    (reason,) = result.reasons
    assert (reason.action, reason.old, reason.new) == ("narrowed", [1e-6, 1.0], [new.low, new.high])
    assert reason.evidence["best"] == 9
    assert reason.evidence["trials"] == 60
    assert reason.text.startswith("learning_rate: the best 9 of 60 lie between ")
    json.dumps([asdict(one) for one in result.reasons])


def test_a_parameter_that_does_not_matter_is_seldom_narrowed():
    branch = branch_of(learning_rate=RATE, dropout=DROPOUT)
    kept = 0
    for seed in range(60):
        result = refined([branch], observe(branch, rate_bowl, seed=seed), seed=seed)
        kept += result.branches[0].parameters["dropout"] == DROPOUT
    assert kept >= 52
    assert "kept, no sign that it matters" in reasons_for(result, "dropout")[0].text


def test_the_margin_shrinks_as_evidence_grows():
    assert [margin_of(1.0, elite) for elite in (5, 9, 21)] == [0.5, 0.25, 0.1]


def test_few_trials_narrow_nothing():
    branch = branch_of(learning_rate=RATE)
    result = refined([branch], observe(branch, rate_bowl, count=9))
    assert result.branches[0].parameters == branch.parameters
    assert result.reasons[0].text == "learning_rate: 9 trials are too few to judge it by: kept"


@given(
    kind=st.sampled_from(["uniform", "log_uniform", "int", "log_int", "power"]),
    seed=st.integers(0, 1000),
    best=st.floats(0, 1),
)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_ranges_stay_within_the_old_ones_whole_and_not_empty(kind, seed, best):
    parameter = {
        "uniform": DROPOUT,
        "log_uniform": RATE,
        "int": Range(kind="int", low=1, high=6),
        "log_int": Range(kind="log_int", low=1, high=100),
        "power": Range(kind="log_int", low=8, high=512, base=2),
    }[kind]
    first, last = span(parameter)
    target = first + best * (last - first)
    branch = branch_of(x=parameter)
    for _ in range(6):
        seen = observe(branch, lambda p: -abs(parameter.scale(p["x"]) - target), 30, seed)
        (after,) = refined([branch], seen, seed=seed, limits={}).branches
        old, new = branch.parameters["x"], after.parameters["x"]
        assert old.low <= new.low < new.high <= old.high
        assert new.kind == old.kind
        assert new.base == old.base
        if kind in ("int", "log_int"):
            assert new.low == int(new.low)
            assert new.high == int(new.high)
        if kind == "power":
            assert math.log2(new.low) == int(math.log2(new.low))
            assert math.log2(new.high) == int(math.log2(new.high))
        if kind == "log_uniform":
            assert new.high / new.low >= min(1.2, old.high / old.low) * (1 - 1e-9)
        branch = after


@given(
    low=st.floats(-7, 1), width=st.floats(0, 3), kind=st.sampled_from(["log_uniform", "log_int"])
)
def test_the_part_of_a_range_holds_the_places_asked_for(low, width, kind):
    old = Range(kind=kind, low=1, high=1000) if kind == "log_int" else RATE
    first, last = span(old)
    new_first, new_last = span(within(old, low, low + width))
    assert first <= new_first <= max(low, first) + 1e-9 or low > last
    assert last >= new_last >= min(low + width, last) - 1e-9 or low + width < first


@pytest.mark.parametrize(
    ("old", "value", "ends"),
    [
        (Range(kind="int", low=1, high=9), 4, (3, 5)),
        (Range(kind="int", low=1, high=9), 9, (8, 9)),
        (Range(kind="log_int", low=8, high=512, base=2), 8, (8, 16)),
        (Range(kind="log_int", low=1, high=3), 1, (1, 2)),
    ],
)
def test_a_whole_range_around_one_value_keeps_its_neighbours(old, value, ends):
    new = within(old, old.scale(value), old.scale(value))
    assert (new.low, new.high) == ends


def test_trials_outside_the_explored_range_do_not_count():
    branch = branch_of(learning_rate=RATE)
    seen = observe(branch, rate_bowl)
    stray = [outcome(branch, {"learning_rate": 10.0 + i}, 99.0, 100 + i) for i in range(30)]
    assert refined([branch], seen + stray) == refined([branch], seen)


def test_the_order_of_observations_does_not_matter():
    branch = branch_of(learning_rate=RATE, dropout=DROPOUT)
    seen = observe(branch, lambda p: round(rate_bowl(p), 1))
    assert refined([branch], seen[::-1]) == refined([branch], seen)


def test_a_minimum_is_found_like_a_maximum():
    branch = branch_of(learning_rate=RATE)
    highest = observe(branch, rate_bowl)
    lowest = observe(branch, lambda p: -rate_bowl(p))
    assert refined([branch], lowest, mode="min") == refined([branch], highest)


def test_equal_trials_narrow_nothing():
    branch = branch_of(learning_rate=RATE, act=Choice(choices=("relu", "tanh")))
    result = refined([branch], observe(branch, lambda p: 1.0))
    assert result.branches[0].parameters == branch.parameters


def test_all_that_tie_with_the_last_of_the_best_are_among_them():
    seen = [outcome(branch_of(), {}, value, i) for i, value in enumerate([3, 2, 2, 2, 1, None])]
    best = elite_of(ranked(seen, "max"), "max", share=0.0, least=2)
    assert [one.number for one in best] == [0, 1, 2, 3]


def test_lost_workers_say_nothing_about_a_region():
    branch = branch_of(learning_rate=RATE)
    seen = observe(branch, rate_bowl)
    lost = [
        Observation(
            branch="all",
            params={"learning_rate": 1e-3},
            value=None,
            state="failed",
            failure_kind="worker_lost",
            number=100 + i,
        )
        for i in range(40)
    ]
    assert refined([branch], seen + lost) == refined([branch], seen)


# Choices and branches


def test_a_choice_that_is_never_among_the_best_is_dropped_and_a_useful_one_is_not():
    branch = branch_of(learning_rate=RATE, act=Choice(choices=("relu", "tanh", "sigmoid")))

    def objective(params):
        return rate_bowl(params) - (50 if params["act"] == "sigmoid" else 0)

    result = refined([branch], observe(branch, objective, count=90))
    assert result.branches[0].parameters["act"].choices == ("relu", "tanh")
    (reason,) = reasons_for(result, "act")
    assert (reason.action, reason.old) == ("dropped", "sigmoid")


def test_choices_that_make_no_difference_all_stay():
    branch = branch_of(learning_rate=RATE, act=Choice(choices=("relu", "tanh", "elu")))
    stayed = sum(
        len(
            refined([branch], observe(branch, rate_bowl, seed=seed))
            .branches[0]
            .parameters["act"]
            .choices
        )
        == 3
        for seed in range(40)
    )
    assert stayed >= 37


def test_a_hopeless_branch_is_dropped_and_its_trials_go_to_the_others():
    good, bad = branch_of("optimizer=adam", learning_rate=RATE), branch_of("optimizer=sgd", x=RATE)
    seen = observe(good, rate_bowl) + observe(bad, lambda p: -100.0, count=20, start=60)
    result = refined([good, bad], seen, total=40)
    assert [(one.key, one.trials) for one in result.branches] == [("optimizer=adam", 40)]
    reason = next(one for one in result.reasons if one.action == "dropped")
    assert reason.text.startswith("optimizer=sgd: 60 of 80 trials are better than the best of its")


def test_a_branch_judged_on_too_few_trials_stays_and_gets_enough_to_judge_it():
    good, bad = branch_of("a", learning_rate=RATE), branch_of("b", x=RATE)
    seen = observe(good, rate_bowl) + observe(bad, lambda p: -100.0, count=9, start=60)
    shares = {one.key: one.trials for one in refined([good, bad], seen, total=60).branches}
    assert shares["b"] >= 10
    assert shares["a"] > shares["b"]
    assert sum(shares.values()) == 60


def test_equal_branches_both_stay_with_similar_shares():
    one, other = branch_of("a", learning_rate=RATE), branch_of("b", learning_rate=RATE)
    shares = []
    for seed in range(40):
        seen = observe(one, rate_bowl, seed=seed) + observe(other, rate_bowl, seed=seed, start=60)
        shares.append([b.trials for b in refined([one, other], seen, total=100).branches])
    assert all(len(pair) == 2 for pair in shares)
    assert np.mean([pair[0] for pair in shares]) == pytest.approx(50, abs=8)


def test_a_stage_without_a_success_keeps_everything():
    one, other = branch_of("a", learning_rate=RATE), branch_of("b", learning_rate=RATE)
    seen = observe(one, lambda p: None) + observe(other, lambda p: None, start=60)
    result = refined([one, other], seen)
    assert [b.parameters for b in result.branches] == [one.parameters, other.parameters]
    assert [b.trials for b in result.branches] == [20, 20]


def test_no_branches_are_refused():
    with pytest.raises(ValueError, match="at least one branch"):
        refined([], [])


# Stability edges and limits


def test_a_range_is_trimmed_to_its_largest_stable_place():
    branch = branch_of(learning_rate=RATE, dropout=DROPOUT)

    def objective(params):
        return None if params["learning_rate"] > 0.05 else math.log10(params["learning_rate"])

    seen = observe(branch, objective)
    result = refined([branch], seen)
    largest = max(one.params["learning_rate"] for one in seen if one.succeeded)
    assert result.branches[0].parameters["learning_rate"].high == largest
    reason = reasons_for(result, "learning_rate")[0]
    assert reason.action == "stability_edge"
    assert "diverged" in reason.text
    assert [one.action for one in reasons_for(result, "dropout")] == ["kept"]


@pytest.mark.parametrize(
    ("num_diverged", "cut"), [(1, {"learning_rate"}), (2, {"learning_rate", "dropout"})]
)
def test_a_single_divergence_cuts_the_learning_rate_and_no_side_parameter(num_diverged, cut):
    branch = branch_of(learning_rate=RATE, dropout=DROPOUT)
    rates, shares = (np.linspace(range.low, range.high, 13) for range in (RATE, DROPOUT))
    places = [{"learning_rate": r, "dropout": d} for r, d in zip(rates, shares, strict=True)]
    seen = [
        outcome(branch, params, None if number >= 13 - num_diverged else float(number), number)
        for number, params in enumerate(places)
    ]
    ranking = rank_branch(branch, seen, "max", share=0.2, least=4)
    told = {
        name
        for name, parameter in branch.parameters.items()
        if any("diverged" in why.text for why in narrow_range(ranking, name, parameter, 0)[1])
    }
    assert told == cut


def test_a_lower_stability_edge_is_found_too():
    values, diverged = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [True, True, False, False, False, False]
    edge = stability_edge(values, diverged, "lower")
    assert (edge.value, edge.beyond) == (3.0, 2)
    assert edge.p == pytest.approx(1 / 15)
    assert stability_edge(values, diverged, "upper") is None


def test_one_stable_trial_beyond_means_that_there_is_no_edge():
    diverged = [False] * 20 + [True] * 9 + [False]
    assert stability_edge([float(i) for i in range(30)], diverged, "upper") is None


def test_a_stable_trial_speaks_for_its_value():
    values = [1.0] * 10 + [2.0] * 10
    assert stability_edge(values, [False] * 10 + [True] * 9 + [False], "upper") is None


def test_scattered_divergence_is_no_edge():
    values = [float(i) for i in range(40)]
    assert stability_edge(values, [i % 2 == 1 for i in range(40)], "upper") is None


def test_an_explored_range_is_brought_within_its_limits():
    branch = branch_of(x=Range(kind="uniform", low=-1.0, high=3.0))
    limits = {"x": Domain(low=0.0, high=2.0)}
    (after,) = refined([branch], observe(branch, lambda p: 1.0), limits=limits).branches
    assert (after.parameters["x"].low, after.parameters["x"].high) == (0.0, 2.0)
    assert admits(after.parameters["x"], 2.0)

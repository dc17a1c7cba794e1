"""The best on the border: when a range is extended, how far, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_refiner import DROPOUT, RATE, branch_of, observe, rate_bowl

from hpsearch.sampling.border import extend, merge, still_on_border
from hpsearch.sampling.ranges import span, stepped
from hpsearch.spec.space import Branch, Range
from workers.config import DOMAINS
from workers.config.domain import Domain

SMALL = Range(kind="log_uniform", low=1e-6, high=1e-3)


def rising(params):
    return math.log10(params["learning_rate"])


def extended(branches, observations, trials=30, limits=DOMAINS, **changes):
    return extend(
        branches, observations, mode="max", trials=trials, seed=0, limits=limits, **changes
    )


def test_the_best_on_the_upper_border_extends_it_and_says_so():
    branch = Branch(
        key="optimizer=sgd",
        fixed={"optimizer": "sgd"},
        parameters={"learning_rate": SMALL, "dropout": DROPOUT},
    )
    result = extended([branch], observe(branch, rising))
    (extension,) = result.branches
    new = extension.parameters["learning_rate"]
    assert new.high == pytest.approx(10**-1.5)
    assert 1e-4 < new.low < 1e-3
    assert extension.parameters["dropout"] == DROPOUT
    assert extension.trials == 30
    (reason,) = result.reasons
    assert reason.text.startswith(
        "learning_rate (sgd): 6 of the best 6 crowd the upper edge 0.001, in the quarter of the "
    )
    assert reason.text.endswith("): extended to 0.0316")
    assert (reason.action, reason.old, reason.new) == ("extended", [1e-6, 1e-3], [1e-6, new.high])


def test_the_best_on_the_lower_border_extends_it_downwards():
    branch = branch_of(learning_rate=SMALL)
    (extension,) = extended([branch], observe(branch, lambda p: -rising(p))).branches
    new = extension.parameters["learning_rate"]
    assert new.low == pytest.approx(10**-7.5)
    assert 1e-6 < new.high < 1e-5


def test_an_optimum_inside_extends_nothing_in_most_seeds():
    branch = branch_of(learning_rate=RATE, dropout=DROPOUT)
    calm = sum(
        extended([branch], observe(branch, rate_bowl, seed=seed)) is None for seed in range(60)
    )
    assert calm >= 54


def test_too_few_trials_extend_nothing():
    branch = branch_of(learning_rate=SMALL)
    assert extended([branch], observe(branch, rising, count=9)) is None


def test_trials_that_diverge_near_the_border_make_it_a_stability_edge():
    branch = branch_of(learning_rate=RATE)

    def objective(params):
        return None if params["learning_rate"] > 0.3 else rising(params)

    seen = observe(branch, objective)
    assert extended([branch], seen) is None
    (reason,) = still_on_border([branch], seen, mode="max", seed=0, limits=DOMAINS, expand=2)
    assert reason.action == "stability_edge"
    assert reason.old == reason.new
    assert "diverged: a stability edge, not extended" in reason.text


def test_a_border_on_the_limit_is_not_extended():
    branch = branch_of(momentum=Range(kind="uniform", low=0.0, high=0.9))
    seen = observe(branch, lambda p: -p["momentum"])
    assert extended([branch], seen) is None
    (reason,) = still_on_border([branch], seen, mode="max", seed=0, limits=DOMAINS, expand=2)
    assert reason.action == "limit"


def test_a_branch_that_would_be_dropped_is_not_extended():
    good, bad = branch_of("good", x=RATE), branch_of("bad", learning_rate=SMALL)
    flat = observe(good, lambda p: 10.0)
    seen = flat + observe(bad, rising, count=20, start=60)
    assert extended([good, bad], seen) is None
    alone = extended([bad], seen)
    assert [one.key for one in alone.branches] == ["bad"]


def test_trials_are_shared_among_the_branches_that_extend():
    one, other = branch_of("a", learning_rate=SMALL), branch_of("b", learning_rate=SMALL)
    inside = branch_of("c", learning_rate=RATE)
    seen = [
        *observe(one, rising),
        *observe(other, rising, start=60, seed=1),
        *observe(inside, rate_bowl, start=120),
    ]
    result = extended([one, other, inside], seen, trials=31)
    assert {branch.key for branch in result.branches} <= {"a", "b", "c"}
    assert sum(branch.trials for branch in result.branches) == 31
    assert all(branch.trials >= 10 for branch in result.branches)


def test_of_two_crowded_borders_one_is_stepped_across_and_the_other_widened():
    branch = branch_of(learning_rate=SMALL, dropout=DROPOUT)
    seen = observe(branch, lambda p: rising(p) + 4 * p["dropout"], count=200)
    result = extended([branch], seen)
    (extension,) = result.branches
    lows = [extension.parameters[name].low for name in ("learning_rate", "dropout")]
    assert (lows[0] > SMALL.low) + (lows[1] > DROPOUT.low) == 1
    assert extension.parameters["learning_rate"].high > SMALL.high
    assert 0.8 < extension.parameters["dropout"].high < 1
    assert [reason.action for reason in result.reasons] == ["extended", "extended"]


def test_merging_gives_the_union_and_leaves_the_other_branches():
    one, other = branch_of("a", learning_rate=SMALL), branch_of("b", learning_rate=SMALL)
    (extension,) = extended([one], observe(one, rising)).branches
    merged = merge([one, other], [extension])
    assert merged[1] == other
    assert merged[0].trials == one.trials
    new = merged[0].parameters["learning_rate"]
    assert (new.low, new.high) == (1e-6, extension.parameters["learning_rate"].high)


@pytest.mark.parametrize(
    ("expand", "sign", "words"),
    [
        (0, 1, "): not extended (expand: 0); try up to 0.0316"),
        (2, 1, "): not extended any further (expand: 2); try up to 0.0316"),
        (0, -1, "): not extended (expand: 0); try down to 3.16e-08"),
    ],
)
def test_at_the_end_no_extension_is_told_but_how_far_to_go(expand, sign, words):
    branch = branch_of(learning_rate=SMALL)
    seen = observe(branch, lambda p: sign * rising(p))
    (reason,) = still_on_border([branch], seen, mode="max", seed=0, limits=DOMAINS, expand=expand)
    assert reason.action == "crowded"
    assert reason.text.endswith(words)
    assert reason.old == reason.new


def test_no_warning_is_left_when_the_best_lie_inside():
    branch = branch_of(learning_rate=RATE)
    seen = observe(branch, rate_bowl)
    assert still_on_border([branch], seen, mode="max", seed=0, limits=DOMAINS, expand=2) == []


@pytest.mark.parametrize(
    ("parameter", "side", "domain", "expected"),
    [
        (SMALL, "upper", None, 10**-1.5),
        (Range(kind="log_uniform", low=1e-3, high=1e-2), "upper", None, 0.1),
        (SMALL, "lower", Domain(low=0, low_open=True), 10**-7.5),
        (Range(kind="log_uniform", low=0.1, high=0.4), "upper", Domain(high=1.0), 1.0),
        (Range(kind="uniform", low=0.2, high=0.6), "upper", None, 0.8),
        (Range(kind="uniform", low=0.8, high=0.98), "upper", Domain(high=1, high_open=True), 0.99),
        (Range(kind="uniform", low=0.2, high=1.0), "upper", Domain(high=1), 1.0),
        (Range(kind="uniform", low=0.1, high=0.6), "lower", None, 0.0),
        (Range(kind="uniform", low=-0.5, high=0.5), "lower", None, -1.0),
        (Range(kind="int", low=1, high=5), "upper", Domain(high=64, integer=True), 7),
        (Range(kind="int", low=1, high=2), "upper", None, 3),
        (Range(kind="int", low=2, high=5), "lower", Domain(low=1, integer=True), 1),
        (Range(kind="log_int", low=16, high=256), "upper", None, 1024),
        (Range(kind="log_int", low=16, high=256, base=2), "upper", None, 1024),
        (Range(kind="log_int", low=2, high=32, base=2), "lower", Domain(low=1), 1),
        (Range(kind="log_int", low=10, high=100, base=10), "upper", None, 1000),
    ],
)
def test_a_step_past_an_edge_is_as_documented(parameter, side, domain, expected):
    assert stepped(parameter, side, domain) == pytest.approx(expected)


@given(
    low=st.floats(0, 0.9),
    width=st.floats(0.01, 0.9),
    steps=st.integers(1, 30),
)
def test_an_open_limit_is_approached_and_never_reached(low, width, steps):
    high = min(low + width, 0.999)
    parameter = Range(kind="uniform", low=min(low, high - 0.001), high=high)
    for _ in range(steps):
        new = stepped(parameter, "upper", DOMAINS["dropout"])
        assert parameter.high <= new < 1
        parameter = parameter.model_copy(update={"high": new})


@given(exponents=st.tuples(st.integers(0, 8), st.integers(1, 6)), base=st.integers(2, 10))
def test_a_step_among_powers_ends_on_a_power(exponents, base):
    first, width = exponents
    parameter = Range(kind="log_int", low=base**first, high=base ** (first + width), base=base)
    powers = [float(base**power) for power in range(30)]
    assert stepped(parameter, "upper", None) in powers
    assert stepped(parameter, "lower", Domain(low=1)) in powers
    assert span(parameter)[1] < parameter.scale(stepped(parameter, "upper", None))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_near_a_border_with_worse_trials_between_do_not_crowd_it(seed):
    """The best rate is 0.25; as in a finished search, most trials are near it."""
    branch = branch_of(learning_rate=Range(kind="log_uniform", low=1e-6, high=1.0))
    near = branch_of(learning_rate=Range(kind="log_uniform", low=10**-1.4, high=1.0))

    def bowl(params):
        return -abs(math.log10(params["learning_rate"]) + 0.6)

    seen = observe(branch, bowl, seed=seed)
    seen += [
        replace(one, branch=branch.key) for one in observe(near, bowl, start=60, seed=seed + 1)
    ]
    assert still_on_border([branch], seen, mode="max", seed=0, limits=DOMAINS, expand=0) == []
    rising_seen = [replace(one, value=rising(one.params)) for one in seen]
    (reason,) = still_on_border([branch], rising_seen, mode="max", seed=0, limits=DOMAINS, expand=0)
    assert reason.action == "crowded"

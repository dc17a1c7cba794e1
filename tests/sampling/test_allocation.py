"""The method of the largest remainder: its laws, and a worked example."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.sampling.allocation import allocate

weights_of = st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), min_size=1, max_size=8)


@given(weights=weights_of, total=st.integers(0, 2000), minimum=st.integers(0, 50))
def test_the_sum_is_exact_and_nobody_is_below_the_minimum(weights, total, minimum):
    shares = allocate(weights, total, minimum)
    assert sum(shares.values()) == total
    assert list(shares) == list(weights)
    assert min(shares.values()) >= min(minimum, total // len(weights))


@given(weights=weights_of, total=st.integers(0, 2000))
def test_a_larger_weight_never_gets_fewer(weights, total):
    shares = allocate(weights, total, 0)
    ordered = sorted(weights, key=lambda key: weights[key])
    for lesser, greater in itertools.pairwise(ordered):
        assert shares[lesser] <= shares[greater] or weights[lesser] == weights[greater]


def test_remainders_go_to_the_largest_first_and_ties_to_the_first_named():
    assert allocate({"a": 41, "b": 29, "c": 17, "d": 13}, 10, 0) == {"a": 4, "b": 3, "c": 2, "d": 1}
    assert allocate({"b": 1, "a": 1, "c": 1}, 4, 0) == {"b": 2, "a": 1, "c": 1}


def test_all_zero_weights_are_equal_ones():
    assert allocate({"a": 0.0, "b": 0.0}, 6, 1) == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("weights", "total", "minimum", "message"),
    [
        ({}, 1, 0, "at least one branch"),
        ({"a": -1.0}, 1, 0, "'a' has -1.0"),
        ({"a": float("nan")}, 1, 0, "'a' has nan"),
        ({"a": 1.0}, -1, 0, "0 or more, but got -1 and 0"),
    ],
)
def test_what_cannot_be_shared_is_refused(weights, total, minimum, message):
    with pytest.raises(ValueError, match=message):
        allocate(weights, total, minimum)

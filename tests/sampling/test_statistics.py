"""The tests of the refiner against closed forms, scipy and their own laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.sampling.keyed import keyed_generator, keyed_seed
from hpsearch.sampling.statistics import (
    absence_p,
    concentration_p,
    excess_p,
    linear_rank_p,
    midranks,
    rising_p,
    run_p,
    upward_p,
)


@given(places=st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_midranks_are_scipys_average_ranks(places):
    assert midranks(places).tolist() == scipy.stats.rankdata(places).tolist()


@given(total=st.integers(1, 60), data=st.data())
def test_absence_is_the_hypergeometric_law_at_zero(total, data):
    elite = data.draw(st.integers(0, total))
    of_kind = data.draw(st.integers(0, total))
    expected = scipy.stats.hypergeom(total, of_kind, elite).pmf(0)
    assert absence_p(total, elite, of_kind) == pytest.approx(expected, abs=1e-12)


@given(total=st.integers(1, 60), data=st.data())
def test_a_run_is_the_hypergeometric_law_at_its_full_length(total, data):
    diverged = data.draw(st.integers(0, total))
    outermost = data.draw(st.integers(0, diverged))
    expected = scipy.stats.hypergeom(total, diverged, outermost).pmf(outermost)
    assert run_p(total, diverged, outermost) == pytest.approx(expected, abs=1e-12)


def test_the_upward_test_agrees_with_the_rank_sum_test():
    generator = np.random.default_rng(0)
    for _ in range(10):
        places = generator.random(50)
        places[:6] += 0.2
        exact = scipy.stats.mannwhitneyu(places[:6], places[6:], alternative="greater").pvalue
        drawn = upward_p(places.tolist(), range(6), keyed_generator(0))
        assert drawn == pytest.approx(exact, abs=0.04)


@pytest.mark.parametrize("test", [concentration_p, upward_p])
def test_under_chance_a_p_value_is_below_a_twentieth_in_a_twentieth_of_cases(test):
    places = np.random.default_rng(1).random((400, 40))
    found = [test(row.tolist(), range(6), keyed_generator(i)) for i, row in enumerate(places)]
    # 20 are expected of 400; 4 standard deviations of the binomial law.
    assert 3 <= sum(p <= 0.05 for p in found) <= 37


def test_a_tight_elite_is_concentrated_and_a_spread_one_is_not():
    places = [float(place) for place in range(60)]
    assert concentration_p(places, range(30, 36), keyed_generator(0)) < 0.001
    assert concentration_p(places, range(0, 60, 10), keyed_generator(0)) > 0.3
    assert upward_p(places, range(54, 60), keyed_generator(0)) < 0.001
    assert upward_p(places, range(6), keyed_generator(0)) == 1.0


def test_equal_places_are_no_evidence():
    assert concentration_p([1.0] * 30, range(5), keyed_generator(0)) == 1.0
    assert upward_p([1.0] * 30, range(5), keyed_generator(0)) == 1.0


def test_an_elite_of_one_is_not_concentrated():
    assert concentration_p([1.0, 2.0], [0], keyed_generator(0)) == 1.0


@pytest.mark.parametrize("test", [absence_p, run_p])
def test_counts_that_cannot_be_are_refused(test):
    with pytest.raises(ValueError, match="total"):
        test(5, 6, 7)


def test_a_key_means_the_same_everywhere_and_its_parts_do_not_run_together():
    assert keyed_seed(0, "optimizer=sgd", 3) == 3396282927
    assert keyed_seed(1, 23) != keyed_seed(12, 3)
    assert keyed_seed("1", 2) != keyed_seed(1, 2)


def test_the_chance_that_places_rise_is_near_the_exact_one():
    places = [2.0, 1.0, 3.0, 5.0, 4.0, 7.0, 6.0]
    ranks, order = midranks(places), np.arange(7)
    all_orders = np.array(list(itertools.permutations(ranks)))
    sums = all_orders @ order
    exact = float(np.mean(sums >= ranks @ order - 1e-9))
    assert rising_p(places) == pytest.approx(exact, abs=0.02)
    assert rising_p(places[::-1]) == pytest.approx(1 - rising_p(places))
    assert rising_p([3.0] * 5) == rising_p([1.0]) == 1.0


@given(total=st.integers(1, 60), data=st.data())
def test_the_chance_of_so_many_failures_is_the_hypergeometric_tail(total, data):
    failed, drawn = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    least = data.draw(st.integers(0, drawn))
    expected = scipy.stats.hypergeom(total, failed, drawn).sf(least - 1)
    assert excess_p(total, failed, drawn, least) == pytest.approx(expected, abs=1e-9)


def test_the_chance_of_so_many_failures_of_thousands_has_no_thousands_of_digits():
    assert excess_p(10_000, 3000, 5000, 1500) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="must hold, but got 13"):
        excess_p(12, 13, 4, 2)


def test_the_chance_of_a_sum_of_scores_is_near_the_exact_one():
    scores = [1.0, 2.0, 3.0, 4.5, 4.5, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
    chosen = [0, 1, 2, 3, 5]
    sums = np.array([sum(one) for one in itertools.combinations(scores, 5)])
    far = abs(sum(scores[i] for i in chosen) - sums.mean())
    exact = float(np.mean(np.abs(sums - sums.mean()) >= far - 1e-9))
    assert linear_rank_p(scores, chosen) == pytest.approx(exact, abs=0.02)
    assert linear_rank_p([3.0] * 8, [0, 1]) == 1.0
    assert linear_rank_p(scores, range(12)) == 1.0


def test_with_midranks_it_is_wilcoxons_test():
    one, other = [1.0, 3.0, 3.5, 8.0, 9.0], [2.0, 4.0, 5.0, 6.0, 7.0, 10.0]
    expected = scipy.stats.mannwhitneyu(one, other, use_continuity=False, method="asymptotic")
    assert linear_rank_p(midranks([*one, *other]), range(5)) == pytest.approx(expected.pvalue)

"""Samplings: how often and in what order examples come, against counts and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workers.config.inputs import SAMPLINGS
from workers.training.feed.sampling import (
    ORDERS,
    REVISIT,
    balanced,
    hard,
    interleaved,
    replacement,
    shuffled,
)
from workers.training.keyed import generator

counts_of_classes = st.lists(st.integers(0, 40), min_size=2, max_size=8).filter(any)


def _classes(counts: list[int]) -> Tensor:
    """Class codes, in random order."""
    ordered = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return ordered[torch.randperm(len(ordered), generator=generator("classes"))]


def test_there_is_an_order_for_every_name() -> None:
    assert set(ORDERS) == set(SAMPLINGS)


@given(counts_of_classes, st.integers(0, 10**6))
def test_a_shuffled_or_interleaved_epoch_shows_each_example_once(
    counts: list[int], seed: int
) -> None:
    for order in (shuffled, interleaved):
        shown = order(_classes(counts), generator(seed))
        assert shown.sort().values.tolist() == list(range(sum(counts)))


def test_with_replacement_the_number_of_times_an_example_comes_is_poisson() -> None:
    shown = replacement(torch.zeros(200_000), generator(0))
    times = torch.bincount(shown, minlength=200_000)
    for k in range(4):
        share = float((times == k).double().mean())
        assert share == pytest.approx(math.exp(-1) / math.factorial(k), abs=0.005)


def test_balanced_draws_classes_equally_often_and_their_examples_too() -> None:
    classes = _classes([18_000, 1_800, 0, 200])
    shown = balanced(classes, generator(0))
    assert len(shown) == 20_000
    counts = torch.bincount(classes[shown], minlength=4)
    expected = len(shown) / 3
    assert counts[2] == 0
    assert (counts[[0, 1, 3]] - expected).abs().max() < 4 * math.sqrt(expected)
    times = torch.bincount(shown, minlength=len(classes))[classes == 3].double()
    assert (times - expected / 200).abs().max() < 5 * math.sqrt(expected / 200)


@given(st.integers(2, 10), st.integers(1, 20), st.integers(0, 100))
def test_interleaved_classes_of_one_size_come_in_rounds(
    num_classes: int, size: int, seed: int
) -> None:
    classes = _classes([size] * num_classes)
    rounds = classes[interleaved(classes, generator(seed))].view(size, num_classes)
    assert (rounds.sort(1).values == torch.arange(num_classes)).all()


@given(counts_of_classes, st.integers(0, 100))
def test_interleaved_shows_each_class_in_proportion_all_through_the_epoch(
    counts: list[int], seed: int
) -> None:
    classes = _classes(counts)
    shown = torch.nn.functional.one_hot(classes[interleaved(classes, generator(seed))])
    share = shown.double().mean(0)
    passed = torch.arange(1, len(classes) + 1)[:, None]
    # Each merge is even to within one example, and counts by the class's share in what is merged;
    # shares fall at least as the golden ratio's powers on the way to the root.
    assert ((shown.cumsum(0) - passed * share).abs() <= 2.7).all()


@pytest.mark.parametrize(
    "counts", [[80, 40, 40], [500, 300, 150, 50], [50] * 10, [9, 0, 9], list(range(10, 110, 10))]
)
def test_interleaved_examples_do_not_follow_one_of_their_class(counts: list[int]) -> None:
    classes = _classes(counts)
    shown = classes[interleaved(classes, generator(0))]
    assert not (shown[1:] == shown[:-1]).any()


@pytest.mark.parametrize("counts", [[300, 200, 200, 40], [110, 103, 330, 330, 200, 200, 700]])
def test_interleaved_repeats_a_class_rarely_where_sizes_do_not_fit(counts: list[int]) -> None:
    classes = _classes(counts)
    mixed, apart = (classes[order(classes, generator(0))] for order in (shuffled, interleaved))
    repeats = [int((shown[1:] == shown[:-1]).sum()) for shown in (mixed, apart)]
    assert repeats[1] < repeats[0] / 5


def test_interleaved_shuffles_the_examples_of_a_class() -> None:
    classes = _classes([30, 30])
    one, other = (interleaved(classes, generator(seed)) for seed in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one, interleaved(classes, generator(0)))


def _uniforms(count: int) -> Tensor:
    return torch.rand(count, generator=generator("uniform"), dtype=torch.float64)


def _drawn(losses_MN: Tensor, emphasis: list[float]) -> Tensor:
    count = losses_MN.shape[1]
    order_1N = torch.randperm(count, generator=generator("order"))[None]
    return hard(losses_MN, torch.tensor(emphasis), _uniforms(count), order_1N)


@pytest.mark.parametrize("emphasis", [0.0, 0.5, 1.0, 2.0])
def test_hard_examples_come_in_proportion_to_the_power_of_their_loss(emphasis: float) -> None:
    level = torch.arange(40_000) % 4
    losses = torch.tensor([0.1, 0.5, 1.0, 4.0], dtype=torch.float64)[level]
    drawn = _drawn(losses[None], [emphasis])[0]
    chances = (torch.tensor([0.1, 0.5, 1.0, 4.0]) + REVISIT * 1.4) ** emphasis
    found = torch.bincount(level[drawn], minlength=4) / 40_000
    assert torch.allclose(found, chances / chances.sum(), atol=0.01)


def test_hard_inverts_the_cumulative_sum_as_a_plain_loop_does() -> None:
    losses = torch.rand(3, 50, generator=generator(1), dtype=torch.float64)
    drawn = _drawn(losses, [1.0, 2.0, 0.3])
    for row, emphasis in enumerate([1.0, 2.0, 0.3]):
        weights = (losses[row] + REVISIT * losses[row].mean()).numpy() ** emphasis
        ends = np.cumsum(weights) / weights.sum()
        expected = [next(i for i, end in enumerate(ends) if u < end) for u in _uniforms(50)]
        assert drawn[row].tolist() == expected


def test_hard_shows_a_row_without_losses_each_example_once() -> None:
    losses = torch.stack([torch.zeros(60), torch.rand(60, generator=generator(2))])
    drawn = _drawn(losses, [1.0, 1.0])
    assert drawn[0].tolist() == torch.randperm(60, generator=generator("order")).tolist()
    assert len(set(drawn[1].tolist())) < 60


def test_hard_draws_for_a_row_do_not_depend_on_the_others() -> None:
    losses = torch.rand(3, 60, generator=generator(3))
    together = _drawn(losses, [1.0, 2.0, 0.5])
    assert torch.equal(together[1:2], _drawn(losses[1:2], [2.0]))
    same = _drawn(losses[[0, 0]], [1.0, 1.0])
    assert torch.equal(same[0], same[1])


def test_hard_parts_the_unit_interval_at_the_cumulative_shares() -> None:
    ends = torch.tensor([0.0, 0.25, 0.5, 1 - 2**-53], dtype=torch.float64)
    order = torch.arange(4)[None]
    assert hard(torch.ones(1, 4), torch.zeros(1), ends, order).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e308, 1e-300])
@pytest.mark.parametrize("emphasis", [0.0, 1.0, 80.0])
def test_hard_gives_places_of_examples_whatever_the_losses(loss: float, emphasis: float) -> None:
    losses = torch.full((2, 60), loss, dtype=torch.float64)
    losses[1, :30] = 1.0
    drawn = _drawn(losses, [emphasis, emphasis])
    assert drawn.min() >= 0
    assert drawn.max() < 60
    assert len(set(drawn[0].tolist())) > 30  # equal losses: all are drawn from
    if loss > 1 and emphasis:
        assert drawn[1].min() >= 30


def test_hard_comes_back_to_examples_that_were_fitted_without_a_loss() -> None:
    losses = torch.cat([torch.zeros(5_000), torch.ones(5_000)])[None]
    fitted = float((_drawn(losses, [1.0]) < 5_000).double().mean())
    assert fitted == pytest.approx(0.005 / 1.01, abs=0.003)
    assert fitted > 0

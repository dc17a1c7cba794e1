"""Keyed randomness: right distribution, no dependence on the group, all keys matter."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.keys import key
from workers.training.keyed import bits, combined, keep_mask

seeds = st.integers(0, 2**63 - 1)
counters = st.integers(0, 2**31)


@given(st.lists(seeds, min_size=2, max_size=5, unique=True), st.integers(0, 10**6))
def test_a_members_bits_do_not_depend_on_the_others(members: list[int], counter: int) -> None:
    together = bits(torch.tensor(members), 33, counter, 1)
    for row, seed in enumerate(members):
        assert torch.equal(together[row], bits(torch.tensor([seed]), 33, counter, 1)[0])


@given(seeds, st.integers(0, 1000), st.integers(0, 1000))
def test_every_counter_matters(seed: int, first: int, second: int) -> None:
    one = torch.tensor([seed])
    if first != second:
        assert not torch.equal(bits(one, 64, first, second), bits(one, 64, second, first))
        assert not torch.equal(bits(one, 64, first, 5), bits(one, 64, second, 5))
        assert not torch.equal(bits(one, 64, 5, first), bits(one, 64, 5, second))


@given(seeds, st.lists(counters, min_size=1, max_size=2), st.lists(counters, max_size=2))
def test_a_tensor_stands_for_the_counters_that_were_gathered_in_it(
    seed: int, first: list[int], others: list[int]
) -> None:
    """It is how a step that was recorded once is told of another moment."""
    one = torch.tensor([seed])
    moment = torch.tensor(combined(*first))
    assert torch.equal(bits(one, 3, moment, *others), bits(one, 3, *first, *others))


def test_bits_equal_the_published_splitmix64() -> None:
    # First outputs of the reference implementation (Vigna, splitmix64.c) from state 1234567; the
    # counter-based form starts one increment earlier.
    golden = 0x9E3779B97F4A7C15
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    state = (1234567 + golden) % 2**64
    seed = torch.tensor([state - 2**64 if state >= 2**63 else state])
    words = bits(seed, 6).view(torch.int64)[0]
    assert [int(word) % 2**64 for word in words] == reference


def test_the_kept_share_is_the_keep_probability() -> None:
    drop = torch.tensor([0.0, 0.1, 0.5, 0.9], dtype=torch.float64)
    kept = keep_mask(torch.arange(4), drop, 200_000, 3).double().mean(1)
    assert torch.allclose(kept, 1 - drop, atol=5e-3)
    assert kept[0] == 1.0


def test_masks_of_different_members_are_uncorrelated() -> None:
    drop = torch.full((2,), 0.5, dtype=torch.float64)
    a, b = keep_mask(torch.tensor([1, 2]), drop, 100_000, 0).double() - 0.5
    assert abs(float((a * b).mean())) < 0.25 * 0.02


def test_key_tells_types_and_places_apart() -> None:
    assert len({key(1, 2), key(2, 1), key("1", 2), key(12), key(1, 2, 0)}) == 5
    assert 0 <= key("x") < 2**63

"""Shares: nobody has more than is fair, nothing is left idle, and all have their turn."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hpsearch.service.shares import Demand, shares


def demands(*most: int, priorities: tuple[int, ...] = ()) -> list[Demand]:
    priorities = priorities or (0,) * len(most)
    return [
        Demand(search_id=id, priority=priority, most=number)
        for id, (number, priority) in enumerate(zip(most, priorities, strict=True))
    ]


def test_equal_searches_share_evenly() -> None:
    assert shares(demands(8, 8), 8, turn=0) == {0: 4, 1: 4}
    assert shares(demands(8), 8, turn=0) == {0: 8}
    assert shares([], 8, turn=0) == {}


def test_what_one_cannot_use_the_others_have() -> None:
    assert shares(demands(1, 8, 8), 7, turn=0) == {0: 1, 1: 3, 2: 3}


def test_a_step_of_priority_doubles_the_share() -> None:
    assert shares(demands(12, 12, priorities=(0, 1)), 12, turn=0) == {0: 4, 1: 8}


def test_those_that_take_turns_all_have_the_same_time() -> None:
    turns = [shares(demands(9, 9, 9), 2, turn) for turn in range(30)]
    assert all(sum(each.values()) == 2 for each in turns)
    assert Counter(id for each in turns for id, number in each.items() if number) == Counter(
        {0: 20, 1: 20, 2: 20}
    )


def test_a_higher_priority_does_not_wait_for_its_turn() -> None:
    for turn in range(4):
        given_now = shares(demands(1, 1, 1, priorities=(0, 3, 0)), 2, turn)
        assert given_now[1] == 1


def test_workers_of_half_a_gpu_are_twice_as_many() -> None:
    half = Demand(search_id=0, priority=0, most=9, each=0.5)
    whole = Demand(search_id=1, priority=0, most=9, each=1.0)
    assert shares([half, whole], 4.0, turn=0) == {0: 4, 1: 2}


MANY = st.lists(
    st.builds(
        Demand,
        search_id=st.integers(0, 10**6),
        priority=st.integers(-10, 10),
        most=st.integers(1, 20),
        each=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    ),
    max_size=8,
    unique_by=lambda demand: demand.search_id,
)


@given(many=MANY, capacity=st.integers(0, 40), turn=st.integers(0, 100))
def test_the_cluster_is_full_or_everybody_has_all(
    many: list[Demand], capacity: int, turn: int
) -> None:
    given_now = shares(many, capacity, turn)
    used = sum(given_now[demand.search_id] * demand.each for demand in many)
    assert used <= capacity
    assert all(0 <= given_now[demand.search_id] <= demand.most for demand in many)
    hungry = [demand for demand in many if given_now[demand.search_id] < demand.most]
    assert all(demand.each > capacity - used for demand in hungry)

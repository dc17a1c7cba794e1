"""Which trials are trained together."""

from __future__ import annotations

from typing import Any

import pytest
from coordinated import a_record, a_search
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.coordinator.groups import cost, to_train
from hpsearch.coordinator.packing import (
    GROUPS_A_SLOT,
    LEAST_WIDTH,
    MOST_WIDTH,
    Rows,
    group_size,
    halve,
    pack,
    rows_of,
)
from hpsearch.storage.records import NewTrial, SpeedRecord, TrialRecord


def _trial(number: int, **fields: Any) -> NewTrial:
    given: dict[str, Any] = {"params": {}, "replicate": 0, "start_epoch": 0, "target_epochs": 3}
    given |= {"epochs": fields.get("start_epoch", 0), **fields}
    given = {"until_epoch": given["target_epochs"], **given}
    return NewTrial(
        stage_id=1, number=number, branch="all", generation=1, group=-1, seed=0, **given
    )


def _groups(
    trials: list[NewTrial], num_slots: int = 1, width: int = 128, rows_per_trial: int = 1
) -> list[list[int]]:
    packed = pack(
        trials,
        {},
        first_group=7,
        num_slots=num_slots,
        rows=lambda config: Rows(most=width),
        rows_per_trial=rows_per_trial,
    )
    numbers = sorted({trial.group for trial in packed})
    assert numbers == list(range(7, 7 + len(numbers)))
    return [[t.number for t in packed if t.group == number] for number in numbers]


@given(
    batch_sizes=st.lists(st.sampled_from([16, 32, 64]), min_size=1, max_size=200),
    num_slots=st.integers(1, 8),
    width=st.integers(1, 128),
)
def test_every_trial_is_in_one_group_of_its_kind_that_is_not_too_wide(
    batch_sizes: list[int], num_slots: int, width: int
) -> None:
    trials = [_trial(i, params={"batch_size": size}) for i, size in enumerate(batch_sizes)]
    groups = _groups(trials, num_slots, width)
    assert sorted(number for group in groups for number in group) == list(range(len(trials)))
    for group in groups:
        assert len(group) <= min(width, -(-len(trials) // num_slots))
        assert len({batch_sizes[number] for number in group}) == 1


def test_what_cannot_share_minibatches_or_epochs_is_parted() -> None:
    trials = [
        _trial(0),
        _trial(1, replicate=1),
        _trial(2, start_epoch=1),
        _trial(3, target_epochs=4),
        _trial(4, params={"hidden_units": (9, 9)}),
        _trial(5, params={"optimizer": "adam", "learning_rate": 0.1, "dropout": 0.5}),
    ]
    assert _groups(trials) == [[0, 5], [1], [2], [3], [4]]


def _of_sizes(counts: dict[int, int]) -> list[NewTrial]:
    """So many trials of each batch size."""
    sizes = [size for size, count in counts.items() for _ in range(count)]
    return [_trial(i, params={"batch_size": size}) for i, size in enumerate(sizes)]


def test_of_few_groups_the_cheapest_are_parted_until_no_slot_is_left_without_one() -> None:
    trials = _of_sizes({32: 17, 64: 25, 128: 22})
    assert [len(group) for group in _groups(trials, num_slots=2)] == [17, 25, 11, 11]
    assert [len(group) for group in _groups(trials, num_slots=3)] == [17, 13, 12, 8, 7, 7]


@given(
    counts=st.dictionaries(st.sampled_from([8, 16, 32, 64]), st.integers(1, 90), min_size=1),
    num_slots=st.integers(1, 6),
)
def test_the_last_of_few_groups_leave_less_than_half_of_the_slots_without_one(
    counts: dict[int, int], num_slots: int
) -> None:
    groups = _groups(_of_sizes(counts), num_slots)
    last = len(groups) % num_slots
    are_many = len(groups) >= GROUPS_A_SLOT * num_slots
    assert last == 0 or last > num_slots / 2 or are_many or min(map(len, groups)) < num_slots


def test_slots_get_six_groups_each_unless_these_would_be_narrow() -> None:
    many = [_trial(i) for i in range(24 * LEAST_WIDTH)]
    assert [len(group) for group in _groups(many, num_slots=2)] == [2 * LEAST_WIDTH] * 12
    few = [_trial(i) for i in range(2 * LEAST_WIDTH)]
    assert [len(group) for group in _groups(few, num_slots=2)] == [LEAST_WIDTH] * 2


def _best(width: int, bytes: int = 0) -> SpeedRecord:
    return SpeedRecord(kind="mlp", device="cpu", width=width, seconds=1.0, bytes=bytes)


def test_a_kind_that_is_best_one_at_a_time_has_narrow_groups_for_balance() -> None:
    assert group_size(64, num_slots=2, rows=rows_of("auto", _best(1))) == 6
    assert group_size(64, num_slots=2, rows=rows_of("auto")) == 32
    assert group_size(6, num_slots=2, rows=rows_of("auto", _best(1))) == 1


def test_groups_of_a_known_kind_leave_room_to_try_a_wider_one() -> None:
    rows = rows_of("auto", _best(256))
    assert (rows.least, rows.most) == (256, 1024)
    assert group_size(10_000, num_slots=1, rows=rows) == 1024
    assert group_size(10_000, num_slots=1, rows=rows_of("auto")) == MOST_WIDTH
    assert group_size(3000, num_slots=2, rows=rows) == 256, "for balance"


def test_a_single_slot_needs_no_balance() -> None:
    assert group_size(100, num_slots=1, rows=rows_of("auto")) == 100
    assert group_size(100, num_slots=2, rows=rows_of("auto")) == LEAST_WIDTH


@given(
    num_trials=st.integers(1, 3000),
    num_slots=st.integers(1, 8),
    width=st.integers(1, 500),
    rows_per_trial=st.integers(1, 5),
)
def test_groups_of_a_known_kind_are_whole_blocks(
    num_trials: int, num_slots: int, width: int, rows_per_trial: int
) -> None:
    size = group_size(
        num_trials,
        num_slots=num_slots,
        rows=rows_of("auto", _best(width)),
        rows_per_trial=rows_per_trial,
    )
    block = -(-width // rows_per_trial)
    is_bounded = size in (-(-num_trials // num_slots), max(128, 4 * width) // rows_per_trial, 1)
    assert is_bounded or size % block == 0
    assert 1 <= size <= -(-num_trials // num_slots)


def test_stored_memory_bounds_a_group_but_not_below_what_was_trained() -> None:
    gibibyte = 2**30
    assert rows_of("auto", _best(256, bytes=gibibyte)).most == 512
    assert rows_of("auto", _best(256, bytes=9 * gibibyte)).most == 256
    assert rows_of("auto", _best(256, bytes=1)).most == 1024


def test_a_width_that_is_given_bounds_a_group_whatever_was_measured() -> None:
    assert group_size(900, num_slots=1, rows=rows_of(16, _best(256))) == 16


def test_trials_before_different_rungs_are_parted() -> None:
    trials = [_trial(0, until_epoch=1), _trial(1), _trial(2, until_epoch=1), _trial(3)]
    assert _groups(trials) == [[0, 2], [1, 3]]
    survivors = [a_record(number=i, id=i, epochs=i // 2) for i in range(4)]
    packed = pack(survivors, {}, first_group=3, num_slots=1)
    assert [trial.group for trial in packed] == [3, 3, 4, 4]


def test_folds_divide_the_width() -> None:
    trials = [_trial(i) for i in range(64)]
    assert [len(group) for group in _groups(trials)] == [64]
    assert [len(group) for group in _groups(trials, rows_per_trial=5)] == [22, 21, 21]
    assert [len(group) for group in _groups(trials[:3], width=4, rows_per_trial=5)] == [1, 1, 1]
    assert max(len(group) for group in _groups(trials, num_slots=6)) == 11
    narrow = max(len(group) for group in _groups(trials, num_slots=6, rows_per_trial=5))
    assert (narrow - 1) * 5 < LEAST_WIDTH <= narrow * 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"batch_size": 32}, {"batch_size": 64}),
        ({"optimizer": "sgd"}, {"optimizer": "gradient_descent"}),
        ({"optimizer": "gradient_descent"}, {"optimizer": "gradient_descent", "batch_size": 2}),
        ({}, {"lr_schedule": "grow_batch", "lr_decay": 0.5, "lr_step_size": 1}),
    ],
)
def test_fewer_updates_cost_less(one: dict[str, Any], other: dict[str, Any]) -> None:
    costs = [cost(a_search(), [a_record(params=params)] * 3) for params in (one, other)]
    assert costs[0] >= costs[1] > 0
    assert (costs[0] == costs[1]) == (one.get("optimizer") == "gradient_descent")


def test_cost_counts_rows_and_the_epochs_to_come() -> None:
    folded = a_search(data={"source": "digits", "validation": {"folds": 5}})
    trial = a_record(target_epochs=9)
    assert cost(folded, [trial]) == 5 * cost(a_search(), [trial])
    ahead = a_record(target_epochs=9, checkpoint_epoch=6)
    assert cost(folded, [trial, trial]) == pytest.approx(6 * cost(folded, [ahead]))


def test_cost_counts_the_epochs_to_the_next_rung_in_seconds() -> None:
    whole, rung = a_record(target_epochs=9), a_record(target_epochs=9, until_epoch=3)
    assert cost(a_search(), [whole]) == pytest.approx(3 * cost(a_search(), [rung]))
    assert cost(a_search(), [whole], 0.5) == pytest.approx(0.5 * cost(a_search(), [whole]))


def test_halving_parts_in_two_new_groups() -> None:
    assert halve([4, 5, 6], 9) == {4: 9, 5: 9, 6: 10}
    assert halve([4, 5], 9) == {4: 9, 5: 10}


def _stored(id: int, state: str, epochs: int, checkpoint: int) -> TrialRecord:
    return a_record(id=id, number=id, state=state, epochs=epochs, checkpoint_epoch=checkpoint)


def test_members_that_ended_after_the_checkpoint_are_trained_along_again() -> None:
    trials = [
        _stored(1, "running", 6, 4),
        _stored(2, "failed", 5, 4),  # after it: the stack had this row when it was written
        _stored(3, "failed", 3, 2),  # before it
        _stored(4, "failed", 4, 2),  # in the epoch after which it was written, without it
        _stored(5, "complete", 5, 4),  # stopped early, after it
        _stored(6, "complete", 4, 4),  # stopped with it
        _stored(7, "failed", 0, 0),  # refused: it never had a row
    ]
    assert [trial.id for trial in to_train(trials)] == [1, 2, 5]
    assert to_train([_stored(1, "complete", 9, 9)]) == []

"""How rows are parted, and how a width is measured and chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_cases import CPU

from workers.messages import Speed
from workers.training import widths
from workers.training.device_name import device_name


def _rows(runs: list[slice]) -> list[int]:
    return [row for run in runs for row in range(run.start, run.stop)]


def _sizes(runs: list[slice]) -> list[int]:
    return [run.stop - run.start for run in runs]


@given(num_rows=st.integers(1, 5000), width=st.none() | st.integers(1, 6000))
def test_rows_are_parted_evenly_into_as_few_runs_as_can_be(
    num_rows: int, width: int | None
) -> None:
    runs = widths.split(num_rows, width)
    assert _rows(runs) == list(range(num_rows))
    assert max(_sizes(runs)) <= (width or num_rows)
    assert max(_sizes(runs)) - min(_sizes(runs)) <= 1
    assert (len(runs) - 1) * (width or num_rows) < num_rows, "one run less would not hold them"


@given(num_rows=st.integers(1, 100_000))
def test_measured_runs_ascend_and_cover_the_rows(num_rows: int) -> None:
    runs = widths.ascending(num_rows)
    sizes = _sizes(runs)
    assert runs[0].start == 0
    assert runs[-1].stop == num_rows
    assert all(a.stop == b.start for a, b in pairwise(runs))
    assert all(wider > narrow for narrow, wider in pairwise(sizes))
    assert sizes[:-1] == [4**i for i in range(len(sizes) - 1)]
    assert sizes[-1] <= 2 * 4 ** (len(sizes) - 1), "the last is not so wide that one was left out"


@pytest.mark.parametrize(
    ("num_rows", "sizes"),
    [
        (1, [1]),
        (2, [2]),
        (3, [1, 2]),
        (22, [1, 4, 17]),
        (64, [1, 4, 16, 43]),
        (128, [1, 4, 16, 107]),
    ],
)
def test_what_is_left_joins_the_last_run_unless_it_is_wider(
    num_rows: int, sizes: list[int]
) -> None:
    assert _sizes(widths.ascending(num_rows)) == sizes


@given(num_steps=st.integers(1, 200), update_size=st.integers(1, 40))
def test_whole_updates_are_measured_or_the_whole_epoch(num_steps: int, update_size: int) -> None:
    steps = widths.num_measured(num_steps, update_size)
    assert steps == num_steps or (steps % update_size == 0 and 12 <= steps < num_steps)
    assert steps < 12 + update_size


def test_the_best_width_takes_the_least_time_a_row() -> None:
    measured = [(1, 1.0), (4, 2.0), (16, 6.0), (64, 40.0)]  # 1, 0.5, 0.375 and 0.625 a row
    assert widths.best([Speed(width=w, seconds=s) for w, s in measured]) == 16
    assert widths.best([Speed(width=w, seconds=float(w)) for w in (1, 4)]) == 4


class _Clock:
    """Time that passes as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "thread_time", lambda: self.now)

    def trains(self, seconds: list[float]) -> Callable[[int], None]:
        left, self.steps = iter(seconds), []

        def train(steps: int) -> None:
            self.steps.append(steps)
            self.now += next(left)

        return train


def test_a_step_takes_the_median_of_those_after_the_first_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    train = clock.trains([90.0, 80.0, 3.0, 70.0, 1.0, 2.0, 5.0])
    speed = widths.Gauge(CPU).speed(4, train, num_steps=7, update_size=1)
    assert (speed.width, speed.seconds) == (4, 3.0)
    assert clock.steps == [1] * 7


def test_steps_are_timed_by_the_update_and_none_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    speed = widths.Gauge(CPU).speed(1, clock.trains([6.0, 2.0]), num_steps=4, update_size=3)
    assert clock.steps == [3, 1]
    assert speed.seconds == 2.0, "of a single step"


def test_a_thread_of_its_own_is_timed_by_the_processor() -> None:
    def train(steps: int) -> None:
        time.sleep(0.05)  # as a core that another program has

    assert widths.Gauge(CPU).speed(1, train, num_steps=1, update_size=1).seconds < 0.05
    torch.set_num_threads(2)
    try:
        assert widths.Gauge(CPU).speed(1, train, num_steps=1, update_size=1).seconds >= 0.05
    finally:
        torch.set_num_threads(1)


def test_memory_is_what_a_width_makes_the_process_grow_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peaks = iter([100, 100, 130, 130, 190])
    monkeypatch.setattr(widths, "_peak_bytes", lambda device: next(peaks))
    gauge = widths.Gauge(CPU)
    found = [gauge.speed(w, lambda steps: None, 1, 1).bytes for w in (1, 4, 16, 64)]
    assert found == [0, 30, 0, 90]


def test_the_peak_of_the_process_is_in_bytes() -> None:
    before = widths._peak_bytes(CPU)
    held = torch.ones(before + 2**20, dtype=torch.uint8)  # all of it is written to
    assert len(held) <= widths._peak_bytes(CPU) < 2**40


def test_a_device_is_named_with_its_threads() -> None:
    assert device_name(CPU).startswith("cpu ")
    assert device_name(CPU).endswith(", 1 thread")
    torch.set_num_threads(2)
    try:
        assert device_name(CPU).endswith(", 2 threads")
    finally:
        torch.set_num_threads(1)


def _speeds(**us_a_row: float) -> list[Speed]:
    return [Speed(width=int(name[1:]), seconds=us * int(name[1:])) for name, us in us_a_row.items()]


@pytest.mark.parametrize(
    ("num_rows", "most", "width"),
    [
        (17, 100, 17),  # as two blocks they would be 9 and 8 wide
        (23, 100, 23),
        (24, 100, 12),
        (17, 16, 12),  # more do not fit
        (12, 100, 12),
    ],
)
def test_rows_that_are_not_twice_the_widest_that_was_best_go_on_as_one_block(
    num_rows: int, most: int, width: int
) -> None:
    assert widths.chosen(_speeds(w1=3.0, w4=2.0, w12=1.0), num_rows, most) == width


def test_rows_go_on_in_the_best_width_if_a_wider_one_was_slower() -> None:
    assert widths.chosen(_speeds(w1=3.0, w4=1.0, w12=2.0), 17, 100) == 4

"""Widths: how many rows are trained at once, and what a step of them takes.

How rows are parted is a pure function of their number, so that a group that is trained again
repeats its sums bit for bit. Called by ``stack`` and, in the steps that measure, by the loop.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import prod
from statistics import median

import torch

from workers.messages import Speed
from workers.training.models import Model

GROWTH = 4  # each width that is tried is so many times the one before
NUM_STEPS = 12  # at least, by which a width is judged
_COPIES = 6  # of activations and of weights, that a step has at once: at most
_NUM_WARM = 2  # updates that are not timed: they fill caches and reserve memory


def fitting(
    model: Model, num_examples: int, item_bytes: int, memory_bytes: int, device: torch.device
) -> int:
    """Rows whose step on so many examples surely fits into half of ``memory_bytes``; at least 1.

    By shapes alone, so that a group that is trained again measures the same widths. More than a
    step takes: a layer has its activations, what autograd keeps of them, and their gradients.
    """
    parameters = model.parameters
    num_weights = sum(prod(spec.shape) for spec in parameters)
    num_layers = 1 + max(spec.layer for spec in parameters)
    activations = _COPIES * num_layers * model.widest(device) * num_examples
    return max(1, memory_bytes // 2 // (item_bytes * (_COPIES * num_weights + activations)))


def split(num_rows: int, width: int | None) -> list[slice]:
    """Runs of at most ``width`` rows (None: all) that cover them, as few and as even as can be."""
    num_blocks = -(-num_rows // (width or num_rows))
    return _runs([num_rows * i // num_blocks for i in range(num_blocks + 1)])


def ascending(num_rows: int, most: int | None = None) -> list[slice]:
    """Runs of 1, 4, 16, ... rows that cover them, each wider than the one before.

    What is left in the end is a run of its own if it is the widest, else it joins the last. No run
    is wider than ``most``, which the last one then is: rows may be left.
    """
    sizes = [run.stop - run.start for run in _all_ascending(num_rows)]
    if most is None or sizes[-1] <= most:
        return _all_ascending(num_rows)
    narrow = [size for size in sizes if size < most]
    return _runs([*accumulate([*narrow, most], initial=0)])


def remaining(num_rows: int, first: int, width: int) -> list[slice]:
    """As ``split``, of the rows from ``first`` on."""
    if first == num_rows:
        return []
    return [slice(first + r.start, first + r.stop) for r in split(num_rows - first, width)]


def _all_ascending(num_rows: int) -> list[slice]:
    bounds, width = [0], 1
    while num_rows - bounds[-1] >= width:
        bounds.append(bounds[-1] + width)
        width *= GROWTH
    last = width // GROWTH
    if num_rows - bounds[-1] <= last:
        bounds.pop()
    return _runs([*bounds, num_rows])


def num_measured(num_steps: int, update_size: int) -> int:
    """How many of an epoch's minibatches measure: whole updates of ``update_size``, or all."""
    return min(num_steps, -(-NUM_STEPS // update_size) * update_size)


def best(speeds: Sequence[Speed]) -> int:
    """The width with the least seconds a row; the wider of two that are alike."""
    return min(speeds, key=lambda speed: (speed.seconds / speed.width, -speed.width)).width


def chosen(speeds: Sequence[Speed], num_rows: int, most: int) -> int:
    """The width that ``num_rows`` rows go on with, now that narrower runs of them were measured.

    The best; but if that is the widest that was tried, and all rows are less than twice as many,
    all of them, if at ``most`` so many fit: two even blocks would be narrower than what was best.
    """
    width = best(speeds)
    is_open = width == max(speed.width for speed in speeds)
    return num_rows if is_open and num_rows < 2 * width and num_rows <= most else width


def _runs(bounds: Sequence[int]) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(bounds)]


class Gauge:
    """Measures one width after the other, which ascend: seconds a step, and memory.

    It waits for the device after each update, so it is there for the first steps only.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._clock = device, _clock(device)
        self._start_bytes = self._highest_bytes = _peak_bytes(device)

    def speed(
        self, width: int, train: Callable[[int], None], num_steps: int, update_size: int
    ) -> Speed:
        """What ``train(steps)`` takes for so many, an update at a time; by the median update.

        Bytes are counted from what a GPU holds now; on a CPU it is by how much the process has
        grown since its narrowest width, 0 where this one did not make it grow.
        """
        self._open()
        seconds = []
        for first in range(0, num_steps, update_size):
            steps = min(update_size, num_steps - first)
            started = self._clock()
            train(steps)
            self._wait()
            seconds.append((self._clock() - started) / steps)
        timed = seconds[_NUM_WARM:] or seconds[-1:]
        return Speed(width=width, seconds=median(timed), bytes=self._grown())

    def _open(self) -> None:
        self._wait()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._start_bytes = torch.cuda.memory_allocated(self._device)

    def _grown(self) -> int:
        peak = _peak_bytes(self._device)
        if self._device.type == "cuda":
            return peak - self._start_bytes
        grows, self._highest_bytes = peak > self._highest_bytes, peak
        return peak - self._start_bytes if grows else 0

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _clock(device: torch.device) -> Callable[[], float]:
    """The processor's time where one thread computes: a program that takes the core now and then
    falls on the long steps of wide blocks, and makes them look slow."""
    is_alone = device.type == "cpu" and torch.get_num_threads() == 1
    is_fine = time.get_clock_info("thread_time").resolution <= 1e-6
    return time.thread_time if is_alone and is_fine else time.perf_counter


def _peak_bytes(device: torch.device) -> int:
    """The most that PyTorch has held on a GPU, or this process in memory; 0 where none can tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource  # not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB

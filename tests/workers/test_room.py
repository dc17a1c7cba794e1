"""Widths are tried as far as memory holds them, and workers that share a device share its room."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile
from training_cases import CPU, blobs, config, device_data, folded, group, images

from workers.config import TrainConfig
from workers.messages import Report
from workers.training import loop, widths
from workers.training.device import memory_bytes
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.kept import CPU_BYTES, KeptCheckpoints
from workers.training.loop import train

CONFIGS = [config(batch_size=5, learning_rate=0.001 * (1 + i)) for i in range(11)]


@given(num_rows=st.integers(1, 5000), most=st.integers(1, 6000))
def test_no_run_is_wider_than_the_most_and_all_rows_have_one(num_rows: int, most: int) -> None:
    tried = widths.ascending(num_rows, most)
    others = widths.remaining(num_rows, tried[-1].stop, most)
    runs = [*tried, *others]
    assert [row for run in runs for row in range(run.start, run.stop)] == list(range(num_rows))
    sizes = [run.stop - run.start for run in tried]
    assert max(run.stop - run.start for run in runs) <= most
    assert all(wider > narrow for narrow, wider in pairwise(sizes))
    assert not others or sizes[-1] == most, "nothing is left but where memory is short"


def _short(dataset: object, most: int) -> DeviceData:
    """Data on a device that has room for steps of so many rows of ``CONFIGS``."""
    data = device_data(dataset)
    training = GroupTraining(group(*CONFIGS), data)
    model, dtype = training.stack.model, training.stack.dtype
    fits = partial(widths.fitting, model, 5, dtype.itemsize, device=data.device)
    step = next(n for n in range(2**20) if fits(memory_bytes=1024 * n) > 1)
    own = sum(tensor.nbytes for tensor in training.stack.rows.values())
    data.memory_bytes = own + 1024 * step * most // 2 + 1024
    assert training._fitting(training._epoch(0)) == most
    return data


@pytest.mark.parametrize("dataset", [blobs, folded], ids=["split", "folds"])
def test_widths_that_memory_does_not_hold_are_not_tried(dataset: object) -> None:
    data = _short(dataset(), 3)
    one = group(*CONFIGS, epochs=2, measures=True)
    reports = list(train(one, data))
    assert [speed.width for speed in reports[0].speeds] == [1, 3]
    assert reports[0].width in (1, 3)
    expected = list(train(group(*CONFIGS, epochs=2), device_data(dataset())))
    for report, other in zip(reports, expected, strict=True):
        assert report.metrics["val_loss"] == pytest.approx(other.metrics["val_loss"], rel=1e-9)
        assert report.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=1e-9)
    again = group(*CONFIGS, epochs=2, measures=True, width=reports[0].width)
    repeated = list(train(again, data))
    assert [str(r.metrics) for r in repeated] == [str(r.metrics) for r in reports]


def test_a_row_is_tried_though_memory_seems_too_small_for_it() -> None:
    data = device_data()
    data.memory_bytes = 1
    (report,) = train(group(*CONFIGS, epochs=1, measures=True), data)
    assert [speed.width for speed in report.speeds] == [1]
    assert report.width == 1


def _cnn(**fields: object) -> TrainConfig:
    return config(model="cnn", channels=(6, 8), hidden_units=(10,), **fields)


HEAVY = {
    "linear": config(batch_size=50),
    "deep": config(batch_size=50, hidden_units=(300, 300, 300)),
    "by autograd": config(batch_size=50, hidden_units=(300,), normalization="layer", dropout=0.3),
    "inputs of their own": config(batch_size=50, mixup=0.2, input_noise=0.1, corruption=0.1),
    "weights": config(batch_size=1, hidden_units=(2000, 2000), optimizer="adam"),
    "images": _cnn(batch_size=30),
    "images, much kept": _cnn(
        batch_size=30, normalization="layer", activation="gelu", dropout=0.3, convs_per_block=2
    ),
}


@pytest.mark.parametrize("case", HEAVY)
def test_a_step_takes_no_more_than_was_thought(case: str) -> None:
    few = blobs(num_features=200, num_train=2 * HEAVY[case].batch_size)
    data, num_rows = device_data(images(side=16) if "images" in case else few), 5
    data.memory_bytes = 2**40
    training = GroupTraining(group(*[HEAVY[case]] * num_rows), data)
    item = training.stack.dtype.itemsize
    size = HEAVY[case].batch_size
    fit = widths.fitting(training.stack.model, size, item, 2**40, data.device)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        training.train_epoch(0)
    events = seen.profiler.kineto_results.events()
    taken = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    peak = max(accumulate(size for _, size in taken))
    a_row = 2**39 / fit
    gathered = 8 * 2**20  # of all rows together: see feed
    assert peak <= num_rows * a_row + gathered
    assert peak >= num_rows * a_row / 20, "nor is it so far off that nothing would be tried"


def test_workers_share_what_there_is() -> None:
    whole = memory_bytes(CPU)
    assert 2**28 < whole < 2**50
    assert memory_bytes(CPU, 4) == whole // 4
    assert DeviceData(blobs(), CPU, num_sharing=4).memory_bytes == whole // 4
    assert KeptCheckpoints.of_device(CPU)._limit_bytes == min(CPU_BYTES, whole // 8)
    many = 10 * whole // CPU_BYTES
    assert KeptCheckpoints.of_device(CPU, many)._limit_bytes == whole // many // 8 < CPU_BYTES


class _Full:
    """Trains as the loop does, but finds no memory as often as it is told, while some is kept."""

    def __init__(self, kept: KeptCheckpoints | None, times: int) -> None:
        self.kept, self.times, self.train = kept, times, loop._train

    def __call__(self, *given: object) -> Iterator[Report]:
        if self.times:
            self.times -= 1
            raise torch.OutOfMemoryError
        assert self.kept is None or not self.kept.num_bytes
        yield from self.train(*given)


def test_training_goes_before_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptCheckpoints(1000)
    kept.put("a", {"weights": torch.ones(10)}, {})
    expected = list(train(group(config()), device_data()))
    monkeypatch.setattr(loop, "_train", _Full(kept, times=1))
    reports = list(train(group(config()), device_data(), kept))
    assert [str(r.metrics) for r in reports] == [str(r.metrics) for r in expected]


@pytest.mark.parametrize(("num_kept", "times"), [(0, 1), (10, 2)])
def test_where_nothing_is_kept_a_full_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, num_kept: int, times: int
) -> None:
    kept = KeptCheckpoints(1000)
    if num_kept:
        kept.put("a", {"weights": torch.ones(num_kept)}, {})
    full = _Full(kept, times)
    monkeypatch.setattr(loop, "_train", full)
    with pytest.raises(torch.OutOfMemoryError):
        list(train(group(config()), device_data(), kept))
    assert full.times == 0
    assert kept.num_bytes == 0

"""Training on streamed examples: as on those in memory, to the last bit."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from check_cases import a_subject
from training_cases import CPU, config, group

from workers.data import DataConfig, DataError, load
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training.checks.cost import cost
from workers.training.checks.fit_twenty import fit_twenty
from workers.training.checks.inputs import inputs
from workers.training.feed import DeviceData, streamed_part
from workers.training.group_training import GroupTraining
from workers.training.loop import train

AUGMENTED = {"flip": 0.5, "translation": 0.2, "mixup": 0.3, "input_noise": 0.1}


def _data(source: str, *, stream: bool, loaders: int = 0, **fields: object) -> DeviceData:
    given = {"source": f"streamed_data:{source}", "preprocess": ("zero_center",), **fields}
    held = {"loader_workers": loaders} if stream else {}
    return DeviceData(load(DataConfig(stream=stream, **held, **given), seed=5), CPU)


def _both(one: TrialGroup, source: str = "blobs", loaders: int = 0) -> list[list[Report]]:
    return [
        list(train(one, _data(source, stream=stream, loaders=loaders))) for stream in (True, False)
    ]


def _assert_equal(streamed: list[Report], held: list[Report]) -> None:
    assert len(streamed) == len(held) > 0
    for one, other in zip(streamed, held, strict=True):
        for name, values in other.metrics.items():
            assert np.array_equal(one.metrics[name], values, equal_nan=True), name


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several a minibatch, and minibatches that end within one."""
    monkeypatch.setattr(streamed_part, "PIECE_BYTES", 7 * 48)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 16, 50, 120])
@pytest.mark.parametrize("num_trials", [1, 5])
def test_streamed_and_held_examples_train_alike(
    num_trials: int, batch_size: int, precision: str
) -> None:
    """Of 120 examples, 16 leave a smaller minibatch at the end, and 50 as well."""
    rates = np.geomspace(1e-3, 1e-1, num_trials)
    configs = [
        config(learning_rate=rate, batch_size=batch_size, precision=precision) for rate in rates
    ]
    _assert_equal(*_both(group(*configs, epochs=2)))


@pytest.mark.parametrize(
    "fields",
    [
        AUGMENTED,
        {"sampling": "replacement"},
        {"sampling": "interleaved"},
        {"lr_schedule": "grow_batch", "lr_decay": 0.5},
        {"accumulation_steps": 3},
    ],
)
def test_all_that_changes_minibatches_does_so_alike(fields: dict[str, object]) -> None:
    configs = [config(learning_rate=rate, **fields) for rate in (0.01, 0.1)]
    _assert_equal(*_both(group(*configs), source="images"))


@pytest.mark.parametrize("width", [1, None])
def test_losses_and_metrics_of_ones_own_see_them_alike(width: int | None) -> None:
    own = {"loss": "torch.nn:CrossEntropyLoss"}
    given = group(config(**own), config(**own), epochs=2, width=width)
    metrics = (("right", "own_losses:Accuracy"),)
    streamed, held = _both(replace(given, own_metrics=metrics))
    _assert_equal(streamed, held)
    assert held[-1].metrics["right"] == held[-1].metrics["val_accuracy"]


@pytest.mark.parametrize("loaders", [1, 3])
def test_processes_that_read_ahead_change_nothing(loaders: int) -> None:
    state = torch.get_rng_state()
    _assert_equal(*_both(group(config(), config(dropout=0.3), epochs=2), "both", loaders))
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from the global generator"


@pytest.mark.parametrize("width", [1, 2, 3])
def test_blocks_go_in_step_and_each_example_is_read_once_for_all(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = streamed_part._Reader.__getitem__

    def counted(self: object, rows: np.ndarray) -> object:
        read.extend(rows.tolist())
        return original(self, rows)

    monkeypatch.setattr(streamed_part._Reader, "__getitems__", counted)
    mixed = [config(), config(input_noise=0.1), config(), config(), config(input_noise=0.2)]
    streamed, held = _both(group(*mixed, epochs=2, width=width))
    _assert_equal(streamed, held)
    assert len(read) == 2 * 150


def test_a_group_that_measures_reads_the_steps_it_measures_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.training.widths.chosen", lambda speeds, num_rows, most: 2)
    _assert_equal(*_both(group(*[config(batch_size=4)] * 5, epochs=2, measures=True)))


def test_a_restart_from_a_checkpoint_goes_on_alike(tmp_path: Path) -> None:
    configs = [config(learning_rate=rate, optimizer="adam") for rate in (0.001, 0.01)]
    whole = group(*configs, epochs=4, checkpoint_stem=f"{tmp_path}/g", checkpoint_every=2)
    expected = list(train(whole, _data("blobs", stream=False)))
    file = list(train(replace(whole, end_epoch=2), _data("blobs", stream=True)))[-1].checkpoint
    assert file is not None
    members = tuple(
        replace(member, resume=CheckpointSlice(file=file, row=row))
        for row, member in enumerate(whole.members)
    )
    going_on = replace(whole, members=members, start_epoch=2)
    _assert_equal(list(train(going_on, _data("blobs", stream=True))), expected[2:])


@pytest.mark.parametrize("loaders", [0, 2])
def test_an_example_that_cannot_be_read_is_told_by_its_index(loaders: int) -> None:
    data = _data("raises_later", stream=True, loaders=loaders, preprocess=())
    with pytest.raises(DataError, match=r"example (73|74|78|79) of .*: the file is damaged"):
        list(train(group(config()), data))


def test_orders_of_ones_own_are_refused() -> None:
    (report,) = train(group(config(sampling="hard")), _data("blobs", stream=True))
    assert "hard shows each trial examples of its own" in str(report.refused[0])


def test_the_checks_look_at_streamed_examples() -> None:
    streamed, held = (a_subject(_data("blobs", stream=stream)) for stream in (True, False))
    assert inputs(streamed) == inputs(held)
    assert fit_twenty(streamed) == fit_twenty(held)
    found = cost(streamed)
    assert found.verdict == "pass"
    assert streamed.data.seconds_to_read() > 0
    assert found.evidence["seconds_per_epoch"] > 0


GROWTH = """
import sys
from pathlib import Path
sys.path[:0] = ["tests"]
import torch
from training_cases import config, group
from workers.data import DataConfig, load
from workers.training.feed import DeviceData
from workers.training.loop import train

def peak_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])

def search(count):
    source = {"source": "streamed_data:long", "path": str(count), "preprocess": ("standardize",)}
    data = load(DataConfig(stream=sys.argv[1] == "True", loader_workers=0, **source), seed=0)
    data = DeviceData(data, torch.device("cpu"))
    list(train(group(config(batch_size=8, precision="float32"), epochs=1), data))

torch.set_num_threads(1)
search(3000)
before = peak_bytes()
search(10_000)
print(peak_bytes() - before)
"""


@pytest.mark.parametrize("stream", [True, False])
def test_memory_does_not_grow_with_the_data_that_are_streamed(stream: bool) -> None:
    """7000 examples more are 280 MB."""
    command = [sys.executable, "-c", GROWTH, str(stream)]
    growth = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert growth < 140e6 if stream else growth > 250e6


def test_loaders_end_with_an_epoch_that_is_left() -> None:
    data = _data("blobs", stream=True, loaders=2)
    training = GroupTraining(group(config(batch_size=4)), data)
    batches = training._feed.minibatches(training.stack.columns, 0, torch.float64)
    next(batches)
    assert len(torch.multiprocessing.active_children()) == 2
    del batches, training
    gc.collect()
    assert not torch.multiprocessing.active_children()

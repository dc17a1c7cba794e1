"""Checkpoints that a worker has in memory stand for their files, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_cases import CPU, MIXES, blobs, config, device_data, folded, group, mixed

from workers.actor import TrainingWorker
from workers.messages import CheckpointSlice, Member, Report, TrialGroup
from workers.training import checkpoints
from workers.training.checkpoints import CheckpointError
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.kept import CPU_BYTES, KeptCheckpoints
from workers.training.loop import train
from workers.training.stack import Stack

METADATA = {"epoch": "1"}


def _first_part(part: str, data: DeviceData, folder: Path, kept: KeptCheckpoints) -> list[Report]:
    """Two groups of one search, whose checkpoints lie in two files."""
    reports = []
    for number, (first, seed) in enumerate(((0, 100), (3, 200))):
        one = group(*mixed(part), epochs=2, checkpoint_stem=str(folder / f"g{number}"))
        members = tuple(
            replace(member, trial=first + i, seed=seed + i) for i, member in enumerate(one.members)
        )
        reports.append(list(train(replace(one, members=members), data, kept))[-1])
    return reports


def _survivors(part: str, reports: list[Report], folder: Path) -> TrialGroup:
    """Some members of each group together, in another order."""
    files = {t: (r.checkpoint, r.trials.index(t)) for r in reports for t in r.trials}
    going_on = [t for r in reversed(reports) for t in reversed(r.trials) if t not in r.stopped]
    configs = mixed(part)
    members = tuple(
        Member(
            trial=t,
            seed=100 * (1 + t // 3) + t % 3,
            config=configs[t % 3],
            resume=CheckpointSlice(file=files[t][0], row=files[t][1]),
        )
        for t in going_on[1:]
    )
    one = group(config(), epochs=4, start_epoch=2, checkpoint_stem=str(folder / "next"))
    return replace(one, members=members)


@pytest.mark.parametrize("dataset", [blobs, folded], ids=["split", "folds"])
@pytest.mark.parametrize("part", MIXES)
def test_rows_filled_from_memory_are_those_of_the_file(
    part: str, dataset: object, tmp_path: Path
) -> None:
    data, kept = device_data(dataset()), KeptCheckpoints(CPU_BYTES)
    reports = _first_part(part, data, tmp_path, kept)
    survivors = _survivors(part, reports, tmp_path)
    from_files = GroupTraining(survivors, data)
    _assert_rows_of_files(from_files.stack)
    for report in reports:
        Path(report.checkpoint).unlink()
    from_memory = GroupTraining(survivors, data, kept)
    assert from_memory.stack.updates == from_files.stack.updates > 0
    assert from_memory.stack.rows.keys() == from_files.stack.rows.keys()
    for name, matrix in from_files.stack.rows.items():
        assert torch.equal(from_memory.stack.rows[name], matrix), name


def _assert_rows_of_files(stack: Stack) -> None:
    """Each member's rows against those of its slice, one by one."""
    folds = stack.num_folds
    for place, member in enumerate(stack.members):
        stored, first = load_file(member.resume.file), member.resume.row * folds
        for name in stack.needs(member) | {"chance"}:
            own = stack.rows[name][stack.rows_of(place)]
            assert torch.equal(own, stored[name][first : first + folds]), name


def test_what_is_kept_does_not_change_while_training_goes_on(tmp_path: Path) -> None:
    data, kept = device_data(), KeptCheckpoints(CPU_BYTES)
    one = group(config(), epochs=4, checkpoint_stem=str(tmp_path / "g"), checkpoint_every=2)
    file = list(train(one, data, kept))[1].checkpoint
    member = replace(one.members[0], resume=CheckpointSlice(file=file, row=0))
    half = replace(one, members=(member,), start_epoch=2)
    kept_rows = GroupTraining(half, data, kept).stack.rows["weights"]
    assert torch.equal(kept_rows, GroupTraining(half, data).stack.rows["weights"])


@pytest.mark.parametrize("wrong", ["seed", "epoch", "row", "optimizer"])
def test_memory_is_checked_as_the_file_is(tmp_path: Path, wrong: str) -> None:
    data, kept = device_data(), KeptCheckpoints(CPU_BYTES)
    one = group(config(), config(), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    file = list(train(one, data, kept))[-1].checkpoint
    member = replace(one.members[0], resume=CheckpointSlice(file=file, row=0))
    if wrong == "seed":
        member = replace(member, seed=5)
    elif wrong == "row":
        member = replace(member, resume=CheckpointSlice(file=file, row=2))
    elif wrong == "optimizer":
        member = replace(member, config=config(optimizer="adam"))
    epoch = 1 if wrong == "epoch" else 2
    going_on = replace(one, members=(member,), start_epoch=epoch, end_epoch=4)
    said = []
    for memory in (None, kept):
        with pytest.raises(CheckpointError) as raised:
            GroupTraining(going_on, data, memory)
        said.append(str(raised.value))
    # Of a row that is not there, Python's own words differ.
    assert said[0] == said[1] or wrong == "row"
    assert all(file in sentence for sentence in said)


def test_without_file_and_memory_the_file_is_named(tmp_path: Path) -> None:
    data = device_data()
    one = group(config(), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    file = list(train(one, data))[-1].checkpoint
    Path(file).unlink()
    member = replace(one.members[0], resume=CheckpointSlice(file=file, row=0))
    with pytest.raises(CheckpointError, match="g-2"):
        GroupTraining(
            replace(one, members=(member,), start_epoch=2), data, KeptCheckpoints(CPU_BYTES)
        )


def test_a_checkpoint_that_was_not_written_is_not_kept(tmp_path: Path) -> None:
    blocked = tmp_path / "no folder"
    blocked.write_text("")
    kept = KeptCheckpoints(CPU_BYTES)
    training = GroupTraining(group(config()), device_data())
    with pytest.raises(checkpoints.CheckpointNotWritten):
        checkpoints.write(training.stack, str(blocked / "g"), 1, kept)
    assert kept.num_bytes == 0


def _rows(num_bytes: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.ones(num_bytes, dtype=torch.uint8)}


def test_the_checkpoint_that_was_used_least_lately_goes_first() -> None:
    kept = KeptCheckpoints(100)
    for name in "abc":
        kept.put(name, _rows(30), METADATA)
    assert kept.get("a") is not None
    kept.put("d", _rows(40), METADATA)
    assert [name for name in "abcd" if kept.get(name)] == ["a", "c", "d"]
    kept.put("e", _rows(100), METADATA)
    assert [name for name in "abcde" if kept.get(name)] == ["e"]


def test_a_checkpoint_larger_than_the_limit_is_not_kept_and_takes_no_others_place() -> None:
    kept = KeptCheckpoints(100)
    kept.put("a", _rows(90), METADATA)
    kept.put("b", _rows(101), METADATA)
    assert kept.get("a") is not None
    assert kept.get("b") is None
    kept.put("a", _rows(101), METADATA)
    assert kept.get("a") is None, "what was there before is another checkpoint"


class _Full(torch.Tensor):
    """On a device that has no memory left."""

    def clone(self) -> torch.Tensor:
        raise torch.OutOfMemoryError


def test_where_memory_is_full_nothing_is_kept_and_nobody_is_told() -> None:
    kept = KeptCheckpoints(100)
    kept.put("a", _rows(10), METADATA)
    kept.put("b", {"weights": torch.ones(10).as_subclass(_Full)}, METADATA)
    assert kept.num_bytes == 0


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 80)), max_size=12))
def test_the_limit_holds_and_the_last_is_there(sizes: list[tuple[str, int]]) -> None:
    kept = KeptCheckpoints(60)
    for name, size in sizes:
        kept.put(name, _rows(size), METADATA)
        assert kept.num_bytes <= 60
        last = kept.get(name)
        assert (last is not None) == (size <= 60)
        assert last is None or len(last.rows["weights"]) == size


def test_a_worker_goes_on_from_what_it_wrote_though_the_file_is_gone(tmp_path: Path) -> None:
    worker = TrainingWorker(blobs(), num_threads=1, name="a worker")
    assert worker.device_name().startswith("c")
    one = group(config(), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    file = list(worker.train(one))[-1].checkpoint
    Path(file).unlink()
    member = replace(one.members[0], resume=CheckpointSlice(file=file, row=0))
    going_on = replace(one, members=(member,), start_epoch=2, end_epoch=4)
    reports = list(worker.train(going_on))
    whole = list(train(replace(one, end_epoch=4), DeviceData(blobs(), CPU)))
    if worker._data.device == CPU:
        assert [r.metrics["val_loss"] for r in reports] == [
            r.metrics["val_loss"] for r in whole[2:]
        ]
    assert [report.epoch for report in reports] == [3, 4]
    worker._settings.close()

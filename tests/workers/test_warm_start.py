"""Starting from the weights of an earlier trial or of any file, whole or in part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from training_cases import CPU, blobs, config, device_data, folded, group

from workers.config import TrainConfig
from workers.data import Dataset
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training.checkpoints import CheckpointError
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.loop import train


def _trained(folder: Path, *configs: TrainConfig, dataset: Dataset | None = None) -> Report:
    stem = str(folder / "first")
    one = group(*configs, epochs=2, checkpoint_stem=stem)
    return list(train(one, device_data(dataset)))[-1]


def _started(
    source: CheckpointSlice, c: TrainConfig, data: DeviceData | None = None
) -> dict[str, torch.Tensor]:
    """The weights and buffers of a group of one that starts from ``source``."""
    training = GroupTraining(_group(source, c), data or device_data())
    return training.stack.views("weights") | training.stack.buffers


def _refusal(source: CheckpointSlice, c: TrainConfig, data: DeviceData | None = None) -> str:
    training = GroupTraining(_group(source, c), data or device_data())
    assert not training.stack.members
    (refusal,) = training.refused
    return refusal.message


def _group(source: CheckpointSlice, c: TrainConfig) -> TrialGroup:
    one = group(c)
    return replace(one, members=(replace(one.members[0], warm_start=source),))


def _in_file(file: str, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)


def test_all_layers_and_running_statistics_are_those_of_the_trial(tmp_path: Path) -> None:
    c = config(normalization="batch")
    report = _trained(tmp_path, c, replace(c, learning_rate=0.05))
    found = _started(CheckpointSlice(file=report.checkpoint, row=1), c)
    weights = torch.cat([found[n].flatten() for n in found if "running" not in n])
    buffers = torch.cat([found[n].flatten() for n in found if "running" in n])
    assert torch.equal(weights, _in_file(report.checkpoint, "weights")[1])
    assert torch.equal(buffers, _in_file(report.checkpoint, "buffers")[1])


def test_the_head_of_a_users_own_model_is_its_last_module(tmp_path: Path) -> None:
    """Its layers have names, or numbers that do not count them."""
    own = {"model": "own_nets:Perceptron", "warm_start_layers": "all_but_head"}
    report = _trained(tmp_path, TrainConfig.of({"model": "own_nets:Perceptron"}))
    source = CheckpointSlice(file=report.checkpoint, row=0)
    other = DeviceData(blobs(num_classes=3), CPU)
    found = _started(source, TrainConfig.of({**own, "outputs": 3}), other)
    stored = _in_file(source.file, "weights")[0, : 9 * 12].view(9, 12)
    assert torch.equal(found["layers.0.weight"][0], stored)
    assert found["layers.3.weight"].shape[1] == 3
    everything = {"model": "own_nets:Perceptron", "outputs": 3}
    assert "take over all_but_head" in _refusal(source, TrainConfig.of(everything), other)


def test_all_but_the_head_takes_a_network_of_other_classes(tmp_path: Path) -> None:
    report = _trained(tmp_path, config())
    source = CheckpointSlice(file=report.checkpoint, row=0)
    other = DeviceData(blobs(num_classes=3), CPU)
    found = _started(source, config(warm_start_layers="all_but_head"), other)
    fresh = GroupTraining(group(config()), other).stack.views("weights")
    stored = _in_file(report.checkpoint, "weights")[0, : 9 * 12].view(9, 12)
    assert torch.equal(found["0.weight"][0], stored)
    assert torch.equal(found["1.weight"], fresh["1.weight"])
    assert "take over all_but_head" in _refusal(source, config(), other)


def test_a_plain_state_dict_is_taken_by_its_names(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (9, 12), "0.bias": (9,), "1.weight": (4, 9), "1.bias": (4,)}
    tensors = {n: torch.randn(s, generator=draw, dtype=torch.float32) for n, s in shapes.items()}
    file = str(tmp_path / "mine.safetensors")
    save_file(tensors, file)
    found = _started(CheckpointSlice(file=file, row=0), config())
    for name, tensor in tensors.items():
        assert torch.equal(found[name][0].float(), tensor)


def test_frozen_layers_keep_what_they_took_over(tmp_path: Path) -> None:
    report = _trained(tmp_path, config())
    source = CheckpointSlice(file=report.checkpoint, row=0)
    training = GroupTraining(_group(source, config(frozen_layers=1)), device_data())
    before = {name: view.clone() for name, view in training.stack.views("weights").items()}
    training.train_epoch(0)
    after = training.stack.views("weights")
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["1.weight"], before["1.weight"])


def test_folds_go_on_from_the_same_folds(tmp_path: Path) -> None:
    report = _trained(tmp_path, config(), config(learning_rate=0.05), dataset=folded())
    source = CheckpointSlice(file=report.checkpoint, row=1)
    stored = _in_file(report.checkpoint, "weights")
    found = _started(source, config(), device_data(folded()))
    assert torch.equal(found["0.weight"].flatten(1), stored[3:6, : 9 * 12])
    alone = _started(source, config())
    assert torch.equal(alone["0.weight"].flatten(1), stored[3:4, : 9 * 12])


def test_a_file_that_is_no_checkpoint_is_refused_with_its_name(tmp_path: Path) -> None:
    report = _trained(tmp_path, config())
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(Path(report.checkpoint).read_bytes()[:50])
    for source, text in (
        (CheckpointSlice(file=str(broken), row=0), "broken.safetensors cannot be read"),
        (CheckpointSlice(file=report.checkpoint, row=7), "has no row 7"),
        (CheckpointSlice(file=str(tmp_path / "none.safetensors"), row=0), "cannot be read"),
    ):
        assert text in _refusal(source, config())


def test_a_network_of_other_layers_is_refused(tmp_path: Path) -> None:
    report = _trained(tmp_path, config())
    source = CheckpointSlice(file=report.checkpoint, row=0)
    text = _refusal(source, config(hidden_units=(7, 4)))
    assert "the model has 0.weight as [7, 12], but" in text
    assert "has it as [9, 12]" in text
    assert "all_but_head" not in text, "it would not help"


def test_a_normalization_that_one_side_lacks_is_refused(tmp_path: Path) -> None:
    report = _trained(tmp_path, config(normalization="batch"))
    source = CheckpointSlice(file=report.checkpoint, row=0)
    text = _refusal(source, config())
    assert "the model has 0.gain not at all, but" in text
    report = _trained(tmp_path, config())
    source = CheckpointSlice(file=report.checkpoint, row=0)
    assert "has it not at all" in _refusal(source, config(normalization="batch"))


def test_a_member_that_cannot_start_warm_fails_alone(tmp_path: Path) -> None:
    source = CheckpointSlice(file=str(tmp_path / "none.safetensors"), row=0)
    one = group(config(), config(), epochs=2)
    members = (replace(one.members[0], warm_start=source), one.members[1])
    refused, *rest = train(replace(one, members=members), device_data())
    assert [refusal.trial for refusal in refused.refused] == [0]
    assert [report.trials for report in rest] == [(1,), (1,)]
    alone = list(train(replace(one, members=members[:1]), device_data()))
    assert [len(report.refused) for report in alone] == [1]


def test_the_weights_taken_over_are_those_that_were_validated(tmp_path: Path) -> None:
    c = config(ema_decay=0.9, learning_rate=0.2)
    report = _trained(tmp_path, c)
    source = CheckpointSlice(file=report.checkpoint, row=0)
    training = GroupTraining(_group(source, config()), device_data())
    assert training.evaluate()["val_loss"].tolist() == report.metrics["val_loss"]


def test_a_plain_state_dict_has_no_rows(tmp_path: Path) -> None:
    file = str(tmp_path / "mine.safetensors")
    save_file({"0.weight": torch.zeros(9, 12)}, file)
    assert "has no #7" in _refusal(CheckpointSlice(file=file, row=7), config())


@pytest.mark.parametrize(
    "metadata",
    [
        {"layout": "{}"},
        {"layout": "[]", "folds": "1"},
        {"layout": '{"weights": [["0.weight", [3, 3]]]}', "folds": "1"},
        {"layout": '{"weights": [["0.weight", null]]}', "folds": "1"},
        {"layout": "{}", "folds": "x"},
    ],
    ids=lambda m: str(m),
)
def test_metadata_that_are_not_ours_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    file = str(tmp_path / "odd.safetensors")
    save_file({"weights": torch.zeros(1, 157)}, file, metadata)
    text = _refusal(CheckpointSlice(file=file, row=0), config())
    assert "names its layers wrongly" in text or "not at all" in text


def test_a_checkpoint_of_an_older_version_is_called_one(tmp_path: Path) -> None:
    file = str(tmp_path / "old.safetensors")
    save_file({"weights": torch.zeros(1, 157)}, file, {"epoch": "2", "step": "9"})
    assert "of an older version" in _refusal(CheckpointSlice(file=file, row=0), config())


def test_a_trial_does_not_go_on_from_the_rows_of_another(tmp_path: Path) -> None:
    report = _trained(tmp_path, config(), config(learning_rate=0.05))
    one = group(config(), epochs=3)
    swapped = replace(one.members[0], resume=CheckpointSlice(file=report.checkpoint, row=1))
    going_on = replace(one, members=(swapped,), start_epoch=2)
    with pytest.raises(CheckpointError, match=r"row 1 of .* is of another trial"):
        list(train(going_on, device_data()))

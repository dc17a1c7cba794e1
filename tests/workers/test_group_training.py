"""Parts that show in the loop as a whole: accumulation, folds, stopping, refusals, precision."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_cases import MIXES, blobs, config, device_data, folded, group, images, line, mixed

from workers.data import Dataset
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training import group_training
from workers.training.checkpoints import CheckpointError
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.loop import train


def _trained(one: TrialGroup, data: DeviceData) -> list[Report]:
    return list(train(one, data))


def _curve(reports: list[Report], trial: int, name: str) -> list[object]:
    return [r.metrics[name][r.trials.index(trial)] for r in reports if trial in r.trials]


def test_accumulating_minibatches_equals_one_large_batch() -> None:
    data = device_data()
    parts = _trained(group(config(batch_size=8, accumulation_steps=4)), data)
    whole = _trained(group(config(batch_size=32)), data)
    assert _curve(parts, 0, "val_loss") == pytest.approx(_curve(whole, 0, "val_loss"), rel=1e-10)


def test_gradient_descent_takes_one_step_an_epoch_on_all_examples() -> None:
    training = GroupTraining(
        group(config(optimizer="gradient_descent", learning_rate=0.1)), device_data()
    )
    before = training.stack.views("weights")["1.bias"][0].clone()
    (batch,) = training._feed.minibatches(training.stack.columns, 0, torch.float64)
    assert len(batch) == 70
    training.train_epoch(0)
    assert training.stack.updates == 1
    assert not torch.equal(before, training.stack.views("weights")["1.bias"][0])


def test_a_batch_that_grows_makes_fewer_updates() -> None:
    c = config(lr_schedule="grow_batch", batch_size=10, lr_decay=0.5, lr_step_size=1)
    training = GroupTraining(group(c), device_data())
    updates = []
    for epoch in range(4):
        training.train_epoch(epoch)
        updates.append(training.stack.updates)
    assert updates == [7, 7 + 4, 7 + 4 + 2, 7 + 4 + 2 + 1]


@pytest.mark.parametrize("dataset", [blobs, folded], ids=["split", "folds"])
@pytest.mark.parametrize("part", MIXES)
def test_a_trial_trains_alone_as_in_company(part: str, dataset: object) -> None:
    data = device_data(dataset())
    whole = group(*mixed(part))
    together = _trained(whole, data)
    for trial in range(3):
        alone = _trained(replace(whole, members=(whole.members[trial],)), data)
        for name in ("train_loss", "val_loss", "learning_rate", "gradient_norm"):
            expected = _curve(alone, trial, name)
            assert _curve(together, trial, name) == pytest.approx(expected, rel=1e-9), name
    assert any(_curve(together, 0, "val_loss") != _curve(together, i, "val_loss") for i in (1, 2))


@pytest.mark.parametrize("dataset", [blobs, folded], ids=["split", "folds"])
@pytest.mark.parametrize("part", MIXES)
def test_a_group_that_was_stopped_goes_on_to_the_last_bit(
    part: str, dataset: object, tmp_path: Path
) -> None:
    data = device_data(dataset())
    whole = group(*mixed(part), epochs=4, checkpoint_stem=f"{tmp_path}/g", checkpoint_every=2)
    uninterrupted = _trained(whole, data)
    at = uninterrupted[1]
    going_on = [t for t in at.trials if t not in at.stopped]
    members = tuple(
        replace(
            whole.members[t], resume=CheckpointSlice(file=at.checkpoint, row=at.trials.index(t))
        )
        for t in going_on
    )
    second = _trained(replace(whole, members=members, start_epoch=2), data)
    for trial in going_on:
        for name in ("train_loss", "val_loss", "learning_rate"):
            assert _curve(second, trial, name) == _curve(uninterrupted[2:], trial, name), name


@pytest.mark.parametrize("model", ["cnn", "mlp", "logistic_regression"])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "group", "instance", "weight"])
def test_every_model_learns_with_every_normalization(model: str, normalization: str) -> None:
    if normalization == "instance" and model != "cnn":
        pytest.skip("instance normalization is for images")
    c = config(
        model=model,
        normalization=normalization,
        hidden_units=(8,),
        channels=(4, 4),
        optimizer="adam",
        learning_rate=0.01,
    )
    reports = _trained(group(c, replace(c, learning_rate=0.003), epochs=8), device_data(images()))
    for trial in range(2):
        losses = _curve(reports, trial, "train_loss")
        assert losses[-1] < 0.8 * losses[0]


def test_a_regression_is_learned_on_its_own_scale() -> None:
    c = config(optimizer="adam", learning_rate=0.03)
    reports = _trained(
        group(c, replace(c, loss="huber"), epochs=30, metric="val_r2", mode="max"),
        device_data(line()),
    )
    for trial in range(2):
        assert _curve(reports, trial, "val_r2")[-1] > 0.9
        assert 0.5 < _curve(reports, trial, "val_mae")[-1] < 20, "in the target's unit"
    assert "val_accuracy" not in reports[0].metrics


def test_folds_report_their_mean_and_spread_and_each_ones_objective() -> None:
    data = device_data(folded())
    training = GroupTraining(group(config(), config(learning_rate=0.1)), data)
    training.train_epoch(0)
    losses = training.evaluate()["val_loss"].unflatten(0, (2, 3))
    report = _trained(group(config(), config(learning_rate=0.1), epochs=1), data)[0]
    assert report.metrics["val_loss"] == pytest.approx(losses.mean(1).tolist(), rel=1e-12)
    assert report.metrics["spread"] == pytest.approx(losses.std(1).tolist(), rel=1e-12)
    assert losses.std(1).min() > 0
    for of_trial, expected in zip(report.metrics["by_fold"], losses.tolist(), strict=True):
        assert of_trial == pytest.approx(expected, rel=1e-12)
    assert "by_fold" not in _trained(group(config(), epochs=1), device_data())[0].metrics


def test_a_trial_with_a_diverged_fold_has_diverged() -> None:
    reports = _trained(
        group(config(optimizer="sgd", learning_rate=1e200), config()), device_data(folded())
    )
    assert [end.trial for end in reports[0].diverged] == [0]
    assert all(report.trials == (1,) for report in reports)


def test_patience_ends_a_trial_in_good_health_and_spares_the_others() -> None:
    flat = config(learning_rate=1e-12, patience=2, min_delta=1e-6)
    reports = _trained(group(flat, config(patience=50), epochs=6), device_data())
    assert [report.stopped for report in reports] == [(), (), (0,), (), (), ()]
    assert [report.trials for report in reports] == [(0, 1)] * 3 + [(1,)] * 3


def test_a_plateau_lowers_the_rate_when_the_metric_stalls() -> None:
    c = config(
        learning_rate=1e-9, lr_schedule="plateau", lr_patience=1, lr_decay=0.5, min_delta=1e-3
    )
    rates = _curve(_trained(group(c, epochs=6), device_data()), 0, "learning_rate")
    assert rates == pytest.approx([1e-9, 1e-9, 1e-9, 5e-10, 5e-10, 2.5e-10])


REFUSED = [
    ({"model": "cnn"}, blobs, "needs images"),
    ({"model": "cnn", "kernel_size": 9}, images, "must be at most 8"),
    ({"model": "cnn", "kernel_size": 2}, images, "must be odd"),
    ({"model": "cnn", "channels": (2, 2, 2, 2), "kernel_size": 1}, images, "cannot pool"),
    ({"normalization": "group", "norm_groups": 2}, blobs, "does not divide 9"),
    ({"normalization": "instance"}, blobs, "needs images"),
    ({"normalization": "batch", "batch_size": 1}, blobs, "at least 2"),
    ({"lr_multipliers": (1.0,) * 3}, blobs, "each of the 2 layers"),
    ({"frozen_layers": 2}, blobs, "must leave one of the 2 layers"),
    ({"loss": "mse"}, blobs, "use cross_entropy or hinge"),
    ({"loss": "hinge"}, line, "use mse or huber"),
    ({"lr_schedule": "grow_batch", "lr_decay": 2.0}, blobs, "must be in (0, 1]"),
    ({"flip": 0.5}, blobs, "needs images"),
    ({"sampling": "balanced"}, line, "needs classes"),
    ({"precision": "tf32"}, blobs, "needs a GPU"),
]


@pytest.mark.parametrize(("fields", "dataset", "sentence"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_cannot_be_trained_is_refused_alone(
    fields: dict[str, object], dataset: object, sentence: str
) -> None:
    if torch.cuda.is_available() and "precision" in fields:
        pytest.skip("this GPU may have it")
    data = device_data(dataset())
    healthy = config()
    refused, *rest = _trained(group(healthy, replace(healthy, **fields), epochs=2), data)
    assert [one.trial for one in refused.refused] == [1]
    assert sentence in refused.refused[0].message
    assert [report.trials for report in rest] == [(0,), (0,)]


def test_a_group_of_refused_members_alone_ends_at_once() -> None:
    reports = _trained(group(config(loss="mse")), device_data())
    assert len(reports) == 1
    assert not reports[0].trials


def test_bfloat16_autocast_learns_like_float32() -> None:
    c = config(precision="float32", optimizer="adam", learning_rate=0.01)
    exact = _trained(group(c, epochs=6), device_data())
    rounded = _trained(group(replace(c, precision="bfloat16"), epochs=6), device_data())
    losses, others = _curve(exact, 0, "train_loss"), _curve(rounded, 0, "train_loss")
    assert losses != others
    assert others == pytest.approx(losses, rel=0.1)


def test_the_moving_average_is_what_validation_sees() -> None:
    plain = _trained(group(config(learning_rate=0.05)), device_data())
    averaged = _trained(group(config(learning_rate=0.05, ema_decay=0.9)), device_data())
    assert _curve(plain, 0, "train_loss") == _curve(averaged, 0, "train_loss")
    assert _curve(plain, 0, "val_loss") != _curve(averaged, 0, "val_loss")


def _fractions(dataset: Dataset, **fields: object) -> tuple[float, float]:
    report = _trained(group(config(**fields), epochs=1), device_data(dataset))[0]
    return report.metrics["dead_fraction"][0], report.metrics["saturated_fraction"][0]


def test_dead_and_saturated_units_are_counted() -> None:
    dead, _ = _fractions(blobs(), bias_init=-1e3, learning_rate=1e-9)
    assert dead == 1.0
    dead, _ = _fractions(blobs(), learning_rate=1e-9)
    assert dead < 0.3
    dead, saturated = _fractions(
        blobs(), activation="tanh", initialization="normal", init_scale=50.0, learning_rate=1e-9
    )
    assert math.isnan(dead)
    assert saturated > 0.9
    _, saturated = _fractions(blobs(), activation="tanh", learning_rate=1e-9)
    assert saturated < 0.3
    dead, _ = _fractions(images(), model="cnn", bias_init=-1e3, learning_rate=1e-9, pooling="none")
    assert dead == 1.0


def test_units_are_counted_alike_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    one = group(config(activation="relu"), config(activation="relu"), epochs=1)
    whole = _trained(one, device_data())[0].metrics
    monkeypatch.setattr(group_training, "_NEAR_THE_CACHE", 100)
    in_chunks = _trained(one, device_data())[0].metrics
    assert in_chunks["dead_fraction"] == whole["dead_fraction"]
    assert in_chunks["val_loss"] == pytest.approx(whole["val_loss"])


def test_a_trial_that_stops_early_leaves_its_last_weights(tmp_path: Path) -> None:
    flat = config(learning_rate=1e-12, patience=1, min_delta=1e-6)
    one = group(flat, config(), epochs=5, checkpoint_stem=str(tmp_path / "g"), checkpoint_every=9)
    reports = _trained(one, device_data())
    assert [report.stopped for report in reports] == [(), (0,), (), (), ()]
    assert [bool(report.checkpoint) for report in reports] == [False, True, False, False, True]


def test_a_checkpoint_without_an_optimizers_state_is_refused(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    one = group(config(optimizer="adam"), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    file = _trained(one, device_data())[-1].checkpoint
    with safe_open(file, framework="pt") as opened:
        kept = {n: opened.get_tensor(n) for n in opened.keys() if "scalar" not in n}  # noqa: SIM118
        metadata = opened.metadata()
    save_file(kept, file, metadata)
    member = replace(one.members[0], resume=CheckpointSlice(file=file, row=0))
    going_on = replace(one, members=(member,), start_epoch=2, end_epoch=3)
    with pytest.raises(CheckpointError, match="older version"):
        _trained(going_on, device_data())


def test_the_batch_of_a_long_growth_is_the_whole_part() -> None:
    c = config(lr_schedule="grow_batch", batch_size=8, lr_decay=0.1, lr_step_size=1)
    assert [c.minibatch_size(epoch, 1000) for epoch in (0, 1, 2, 3, 5000)] == [
        8,
        80,
        800,
        1000,
        1000,
    ]


def test_an_update_of_several_minibatches_has_the_rate_of_its_first() -> None:
    c = config(batch_size=8, accumulation_steps=3, lr_schedule="polynomial", learning_rate=1.0)
    training = GroupTraining(group(c, epochs=1), device_data())
    rate = training.train_epoch(0)["learning_rate"].item()
    assert rate == pytest.approx(1 - 6 / 9)  # nine minibatches, the last update begins at the sixth


def test_layer_gradient_norms_are_first_layer_to_last() -> None:
    report = _trained(group(config(hidden_units=(9, 7)), epochs=1), device_data())[0]
    (norms,) = report.metrics["layer_gradient_norms"]
    assert len(norms) == 3
    assert math.hypot(*norms) == pytest.approx(report.metrics["gradient_norm"][0])


def test_a_trial_that_is_trained_again_from_its_start_repeats_its_rates() -> None:
    c = config(lr_schedule="cosine", learning_rate=0.1)
    first = _trained(group(c, epochs=3), device_data())
    again = _trained(group(c, epochs=6, budgets=(3, 6)), device_data())
    alone = _trained(group(c, epochs=6), device_data())
    rates = _curve(again, 0, "learning_rate")
    assert rates[:3] == _curve(first, 0, "learning_rate")
    assert rates[3:] == _curve(alone, 0, "learning_rate")[3:]
    assert rates[:3] != _curve(alone, 0, "learning_rate")[:3]
    assert _curve(again, 0, "val_loss")[:3] == _curve(first, 0, "val_loss")

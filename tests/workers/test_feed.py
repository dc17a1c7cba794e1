"""The feed: what each row sees of its fold, in what order, and what it must never see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from training_cases import CPU, blobs, config, device_data, folded, images, line

from workers.config.inputs import SAMPLINGS
from workers.data import Dataset
from workers.data.dataset import Transform
from workers.training.columns import Columns
from workers.training.feed import Batch, Feed
from workers.training.feed import feed as feed_of_groups
from workers.training.keyed import generator

DOUBLE = torch.float64
FOLDS = 3


def _columns(folds: list[int] | None = None, rows: int = 1, **fields: object) -> Columns:
    folds = [0] * rows if folds is None else folds
    return Columns([config(**fields)] * len(folds), range(len(folds)), folds, CPU, DOUBLE)


def _epoch(feed: Feed, columns: Columns, epoch: int = 0, losses: Tensor | None = None) -> Batch:
    """All minibatches of an epoch in one."""
    batches = list(feed.minibatches(columns, epoch, DOUBLE, losses))
    names = ("x_mBF", "y_mB", "index_mB")
    return Batch(**{name: torch.cat([getattr(b, name) for b in batches], 1) for name in names})


def _transforms(num_features: int, *, projected: bool) -> tuple[Transform, ...]:
    draw = np.random.default_rng(3)
    for_folds = draw.normal(size=(FOLDS, num_features + 2, num_features)).astype(np.float32)
    return tuple(
        Transform(shift=own[0], scale=own[1], projection=own[2:] if projected else None)
        for own in for_folds
    )


def _numbered(num_rows: int = 90) -> Dataset:
    """Folds whose inputs are the numbers of their rows."""
    dataset = folded(FOLDS, num_rows)
    numbers = np.arange(num_rows, dtype=np.float32)[:, None]
    return replace(dataset, x_train=numbers, x_validation=numbers[:0])


def test_an_epoch_without_folds_has_the_order_of_its_key_and_one_copy_for_all_rows() -> None:
    data = device_data()
    seen = _epoch(Feed(data, 7), _columns(rows=5), epoch=2)
    order = torch.randperm(70, generator=generator(7, "order", 2))
    assert torch.equal(seen.index_mB, order[None])
    assert torch.equal(seen.x_mBF[0], torch.from_numpy(blobs().x_train)[order].double())
    assert torch.equal(seen.y_mB[0], torch.from_numpy(blobs().y_train)[order])


def test_orders_differ_by_epoch_and_by_seed() -> None:
    data, columns = device_data(), _columns()
    orders = [_epoch(Feed(data, seed), columns, epoch) for seed in (7, 8) for epoch in (0, 1)]
    assert len({tuple(seen.index_mB[0].tolist()) for seen in orders}) == 4


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"batch_size": 16}, [16, 16, 16, 16, 6]),
        ({"batch_size": 35}, [35, 35]),
        ({"batch_size": 500}, [70]),
        ({"optimizer": "gradient_descent"}, [70]),
        ({"lr_schedule": "grow_batch", "lr_decay": 0.5, "lr_step_size": 1}, [32, 32, 6]),
    ],
)
def test_the_last_minibatch_is_smaller_and_steps_are_counted(
    fields: dict[str, object], sizes: list[int]
) -> None:
    feed, columns = Feed(device_data(), 7), _columns(**fields)
    assert [len(batch) for batch in feed.minibatches(columns, 1, DOUBLE)] == sizes
    assert feed.num_steps(columns, 1) == len(sizes)


def test_images_stay_as_stored_until_they_are_scaled_shifted_and_scaled() -> None:
    draw = np.random.default_rng(0)
    dataset = replace(
        images(),
        x_train=draw.integers(0, 256, (60, 2, 8, 8), dtype=np.uint8),
        unit=1 / 255,
        transforms=(
            Transform(shift=draw.random(128, np.float32), scale=np.full(128, 3, np.float32)),
        ),
    )
    data = device_data(dataset)
    seen = _epoch(Feed(data, 7), _columns())
    expected = dataset.inputs(dataset.x_train)[seen.index_mB[0].numpy()]
    np.testing.assert_allclose(seen.x_mBF[0], expected, rtol=1e-5, atol=1e-6)
    assert data.train.x_RF.dtype == torch.uint8


def test_a_projection_without_folds_is_the_datasets() -> None:
    draw = np.random.default_rng(0)
    projection = draw.normal(size=(12, 12)).astype(np.float32)
    dataset = replace(blobs(), transforms=(Transform(projection=projection),))
    seen = _epoch(Feed(device_data(dataset), 7), _columns(rows=2))
    expected = dataset.inputs(dataset.x_train)[seen.index_mB[0].numpy()]
    np.testing.assert_allclose(seen.x_mBF[0], expected, rtol=1e-4, atol=1e-4)


def _losses(num_rows: int) -> Tensor:
    return torch.rand(num_rows, 60, generator=generator("losses"))


# Hard both before there are losses and after.
EVERY_SAMPLING = [*((name, None) for name in SAMPLINGS), ("hard", torch.zeros(6, 60))]
EVERY_SAMPLING += [("hard", _losses(6))]


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize(("sampling", "losses"), EVERY_SAMPLING)
def test_no_fold_ever_trains_on_a_row_it_validates_on(
    sampling: str, losses: Tensor | None, epoch: int
) -> None:
    dataset, folds = _numbered(), [0, 1, 2, 2, 1, 0]
    feed, columns = Feed(device_data(dataset), 7), _columns(folds, sampling=sampling)
    seen = _epoch(feed, columns, epoch, losses)
    assert dataset.fold_rows is not None
    for row, fold in enumerate(folds):
        trained = set(seen.x_mBF[row, :, 0].int().tolist())
        assert trained
        assert trained.isdisjoint(dataset.fold_rows[fold].tolist())
        validated = torch.cat([x[row, :, 0] for x, _ in feed.validation(columns, 7, DOUBLE)])
        assert validated.int().tolist() == dataset.fold_rows[fold].tolist()


@pytest.mark.parametrize("fields", [{}, {"mixup": 0.3}, {"input_noise": 0.2}], ids=str)
@pytest.mark.parametrize("at_once_bytes", [1, 4 * 16 * 12 * 8, 2**30])
@pytest.mark.parametrize("folds", [None, [0, 2, 1]], ids=["whole", "folds"])
@pytest.mark.parametrize("start", [0, 2])
def test_minibatches_are_the_same_however_many_are_gathered_at_once(
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, object],
    at_once_bytes: int,
    folds: list[int] | None,
    start: int,
) -> None:
    """Against the examples at the places that each names, gathered by hand."""
    data = device_data(None if folds is None else folded(FOLDS))
    columns = _columns(folds, **fields)
    monkeypatch.setattr(feed_of_groups, "_GATHERED_BYTES", at_once_bytes)
    whole = _epoch(Feed(data, 7), columns, 1).index_mB.split(16, dim=1)
    found = list(Feed(data, 7).minibatches(columns, 1, DOUBLE, start=start))
    for batch, index_mB in zip(found, whole[start:], strict=True):
        x_mBF, y_mB = data.train.at(index_mB, torch.tensor(folds or [0]))
        assert torch.equal(batch.index_mB, index_mB)
        assert torch.equal(batch.y_mB, y_mB)
        assert torch.equal(batch.x_mBF, x_mBF.double()) == (not fields)
        assert (batch.partner_mB is not None) == ("mixup" in fields)


@pytest.mark.parametrize("sampling", ["shuffled", "interleaved"])
def test_an_epoch_shows_each_fold_all_its_training_rows_once(sampling: str) -> None:
    dataset = _numbered(num_rows=91)
    seen = _epoch(Feed(device_data(dataset), 7), _columns([0, 1, 2], sampling=sampling))
    assert dataset.fold_rows is not None
    for fold in range(FOLDS):
        expected = np.delete(np.arange(91), dataset.fold_rows[fold])
        assert seen.x_mBF[fold, :, 0].sort().values.tolist() == expected.tolist()
        assert seen.index_mB[fold].sort().values.tolist() == list(range(61))
        assert seen.x_mBF[fold, seen.index_mB[fold].argsort(), 0].tolist() == expected.tolist()


def test_each_fold_has_an_order_of_its_own() -> None:
    seen = _epoch(Feed(device_data(folded()), 7), _columns([0, 1, 1]))
    assert not torch.equal(seen.index_mB[0], seen.index_mB[1])
    assert torch.equal(seen.index_mB[1], seen.index_mB[2])


@pytest.mark.parametrize("losses", [None, _losses(4)])
@pytest.mark.parametrize("projected", [False, True])
def test_inputs_are_preprocessed_with_the_statistics_of_the_rows_own_fold(
    projected: bool, losses: Tensor | None
) -> None:
    folds = [2, 0, 1, 2]
    dataset = replace(folded(FOLDS), transforms=_transforms(12, projected=projected))
    feed = Feed(device_data(dataset), 7)
    columns = _columns(folds, sampling="hard" if losses is not None else "shuffled")
    seen = _epoch(feed, columns, 1, losses)
    x_validation = torch.cat([x for x, _ in feed.validation(columns, 11, DOUBLE)], 1)
    assert dataset.fold_rows is not None
    for row, fold in enumerate(folds):
        training_rows = np.delete(np.arange(90), dataset.fold_rows[fold])[seen.index_mB[row]]
        expected = dataset.inputs(dataset.x_train[training_rows], fold)
        np.testing.assert_allclose(seen.x_mBF[row], expected, rtol=1e-4, atol=1e-4)
        assert seen.y_mB[row].tolist() == dataset.y_train[training_rows].tolist()
        held_out = dataset.inputs(dataset.x_train[dataset.fold_rows[fold]], fold)
        np.testing.assert_allclose(x_validation[row], held_out, rtol=1e-4, atol=1e-4)


def test_images_are_preprocessed_with_their_folds_statistics_when_they_are_augmented_too() -> None:
    whole = replace(
        folded(FOLDS), x_train=images(90).x_train, transforms=_transforms(128, projected=False)
    )
    seen = _epoch(Feed(device_data(whole), 7), _columns([2, 0], flip=1.0))
    assert whole.fold_rows is not None
    for row, fold in enumerate([2, 0]):
        training_rows = np.delete(np.arange(90), whole.fold_rows[fold])[seen.index_mB[row]]
        mirrored = whole.x_train[training_rows][..., ::-1]
        expected = whole.inputs(mirrored, fold)
        np.testing.assert_allclose(seen.x_mBF[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_row_sees_the_same_when_the_others_are_gone(sampling: str) -> None:
    feed = Feed(device_data(folded()), 7)
    losses = _losses(3) if sampling == "hard" else None
    together = _epoch(feed, _columns([0, 1, 2], sampling=sampling), 3, losses)
    only = None if losses is None else losses[2:]
    alone = _epoch(feed, _columns([2], sampling=sampling), 3, only)
    for name in ("x_mBF", "y_mB", "index_mB"):
        assert torch.equal(getattr(together, name)[2:], getattr(alone, name))


def test_numbers_to_predict_are_standardized_with_their_folds_statistics() -> None:
    whole = line(num_train=60)
    rows = np.arange(60).reshape(3, 20)
    training = [np.delete(whole.y_train, held_out) for held_out in rows]
    dataset = replace(
        whole,
        x_validation=whole.x_validation[:0],
        y_validation=whole.y_validation[:0],
        fold_rows=rows,
        transforms=whole.transforms * 3,
        target_mean=np.array([y.mean(dtype=np.float64) for y in training]),
        target_scale=np.array([y.std(dtype=np.float64) for y in training]),
    )
    data = device_data(dataset)
    feed, columns = Feed(data, 7), _columns([0, 1, 2])
    seen = _epoch(feed, columns)
    held_out = torch.cat([y for _, y in feed.validation(columns, 7, DOUBLE)], 1)
    for fold, y in enumerate(training):
        assert abs(float(seen.y_mB[fold].mean())) < 1e-6
        assert float(seen.y_mB[fold].std(correction=0)) == pytest.approx(1.0)
        scale, mean = dataset.target_scale[fold], dataset.target_mean[fold]
        np.testing.assert_allclose(
            seen.y_mB[fold] * scale + mean, y[seen.index_mB[fold]], rtol=1e-6
        )
        np.testing.assert_allclose(
            held_out[fold] * scale + mean, whole.y_train[rows[fold]], rtol=1e-6
        )
    assert data.target_scale_k.tolist() == dataset.target_scale.tolist()
    assert data.class_counts_kC is None


def test_numbers_to_predict_have_the_type_of_the_inputs() -> None:
    feed, columns = Feed(device_data(line()), 7), _columns()
    batch = next(feed.minibatches(columns, 0, torch.float32))
    x, y = next(feed.validation(columns, 8, torch.float32))
    assert {batch.x_mBF.dtype, batch.y_mB.dtype, x.dtype, y.dtype} == {torch.float32}


@pytest.mark.parametrize("chunk", [1, 16, 40, 1000])
def test_validation_comes_whole_and_in_order_in_chunks_of_any_size(chunk: int) -> None:
    chunks = list(Feed(device_data(), 7).validation(_columns(rows=3), chunk, DOUBLE))
    assert max(y.shape[1] for _, y in chunks) <= chunk
    assert torch.equal(
        torch.cat([x for x, _ in chunks], 1)[0], torch.from_numpy(blobs().x_validation).double()
    )
    assert torch.cat([y for _, y in chunks], 1)[0].tolist() == blobs().y_validation.tolist()


def test_what_the_data_say_of_themselves_is_counted_fold_by_fold() -> None:
    dataset = folded(FOLDS)
    data = device_data(dataset)
    assert (data.num_train, data.num_validation, data.num_folds) == (60, 30, 3)
    assert data.train_targets_kN.shape == (3, 60)
    assert data.class_counts_kC is not None
    assert dataset.fold_rows is not None
    for fold, held_out in enumerate(dataset.fold_rows):
        counts = np.bincount(np.delete(dataset.y_train, held_out), minlength=4)
        assert data.class_counts_kC[fold].tolist() == counts.tolist()


@pytest.mark.parametrize("folds", [1, FOLDS])
def test_fewer_examples_are_those_at_the_given_places_of_each_fold(folds: int) -> None:
    data = device_data(_numbered() if folds > 1 else None)
    places = torch.stack([torch.tensor([4, 9, 30]) + fold for fold in range(folds)])
    fewer = data.only(places)
    assert (fewer.num_train, fewer.shape.num_train) == (3, 3)
    columns, feed = _columns(list(range(folds))), Feed(fewer, 7)
    seen = _epoch(feed, columns)
    index = places.gather(1, seen.index_mB)
    x_all, y_all = data.train.at(index, data.all_folds_k)
    assert torch.equal(seen.x_mBF, x_all.double())
    assert torch.equal(seen.y_mB, y_all)
    assert seen.index_mB.sort(1).values.tolist() == [[0, 1, 2]] * folds
    assert fewer.class_counts_kC is not None
    assert fewer.class_counts_kC.sum(1).tolist() == [3] * folds

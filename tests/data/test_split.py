from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.config import DataConfig, DataError
from workers.data.examples import Examples
from workers.data.parts import part
from workers.data.split import allocate, choose, deal

class_sizes = st.lists(st.integers(1, 40), min_size=2, max_size=12)
seeds = st.integers(0, 2**63)


def labels(sizes: list[int], shuffle: int = 0) -> np.ndarray:
    y = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(shuffle).permutation(y).astype(np.int64)


def split(y: np.ndarray, seed: int, **fields: object) -> tuple[np.ndarray, np.ndarray]:
    """The row numbers of the training and the validation part."""
    x = np.arange(len(y), dtype=np.float32)[:, None]
    examples = Examples(x=x, y=y, class_names=tuple(map(str, range(int(y.max()) + 1))))
    config = DataConfig(source="digits", **fields)  # type: ignore[arg-type]
    parts = part(examples, config, seed)
    (x_train, y_train), (x_validation, y_validation) = parts.train, parts.validation
    train, validation = x_train[:, 0].astype(int), x_validation[:, 0].astype(int)
    assert (y[train] == y_train).all()
    assert (y[validation] == y_validation).all()
    return train, validation


@given(sizes=class_sizes, seed=seeds, data=st.data())
def test_parts_are_disjoint_whole_and_of_the_exact_size(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    sizes = [*sizes, 2]
    count = data.draw(st.integers(1, sum(sizes) - len(sizes)))
    train, validation = split(labels(sizes), seed, validation=count)
    assert len(validation) == count
    assert sorted([*train, *validation]) == list(range(sum(sizes)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@given(sizes=class_sizes, seed=seeds, data=st.data())
def test_every_class_keeps_a_row_to_train_on(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    sizes = [*sizes, 2]
    y = labels(sizes)
    count = data.draw(st.integers(1, sum(sizes) - len(sizes)))
    train, _ = split(y, seed, validation=count)
    assert set(y[train]) == set(range(len(sizes)))


@given(
    sizes=st.lists(st.integers(2, 60), min_size=2, max_size=12),
    seed=seeds,
    fraction=st.floats(0.02, 0.5),
)
def test_validation_is_stratified_within_one_row_a_class(
    sizes: list[int], seed: int, fraction: float
) -> None:
    y = labels(sizes)
    _, validation = split(y, seed, validation=fraction)
    wanted = max(1, round(fraction * len(y)))
    got = np.bincount(y[validation], minlength=len(sizes))
    assert got.sum() == wanted
    assert (np.abs(got - np.array(sizes) * wanted / len(y)) < 1).all()


@given(sizes=class_sizes, seed=seeds, data=st.data())
def test_limit_is_exact_stratified_and_counts_both_parts(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    sizes = [*sizes, max(sizes) + 4, max(sizes) + 4]  # two that no limit here parts with
    y = labels(sizes)
    limit = data.draw(st.integers(len(sizes) + 4, len(y)))
    train, validation = split(y, seed, validation=2, limit=limit)
    kept = np.concatenate([train, validation])
    assert (len(kept), len(set(kept)), len(validation)) == (limit, limit, 2)
    got = np.bincount(y[kept], minlength=len(sizes))
    assert (np.abs(got - np.array(sizes) * limit / len(y)) < 1).all()


@given(sizes=st.lists(st.integers(20, 40), min_size=2, max_size=5), seed=seeds)
def test_the_same_key_gives_the_same_split_whatever_the_global_generator_does(
    sizes: list[int], seed: int
) -> None:
    y = labels(sizes)
    np.random.seed(1)
    first = split(y, seed, validation=0.3)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    second = split(y, seed, validation=0.3)
    assert [part.tolist() for part in first] == [part.tolist() for part in second]
    assert (np.random.get_state()[1] == state).all()


@given(sizes=st.lists(st.integers(30, 60), min_size=2, max_size=5), seed=seeds)
def test_another_key_gives_another_split(sizes: list[int], seed: int) -> None:
    y = labels(sizes)
    _, one = split(y, seed, validation=0.5)
    _, other = split(y, seed + 1, validation=0.5)
    assert one.tolist() != other.tolist()


@settings(max_examples=20)
@given(seed=seeds)
def test_limit_and_validation_are_keyed_apart(seed: int) -> None:
    y = labels([100, 100])
    limited = split(y, seed, validation=1, limit=50)
    held_out = split(y, seed, validation=50)[1]
    assert sorted(np.concatenate(limited)) != held_out.tolist()


def test_a_split_is_the_one_that_stored_searches_were_made_with() -> None:
    """A changed split would silently change what a resumed search compares."""
    train, validation = split(labels([50, 30, 20]), 7, validation=10)
    digest = hashlib.sha256(np.concatenate([train, validation]).astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "e1ccb2d7e2a6ff73"


def test_the_choice_within_a_class_is_even() -> None:
    y = labels([6, 4])
    taken = np.array([3, 1])
    seen = np.zeros(10)
    for seed in range(4000):
        seen[choose(y, taken, (seed,))] += 1
    expected = np.where(y == 0, 0.5, 0.25)
    assert np.abs(seen / 4000 - expected).max() < 0.04  # five standard deviations


def test_equal_remainders_go_to_the_lower_class() -> None:
    counts = np.array([10, 10, 10])
    assert allocate(counts, 4, counts).tolist() == [2, 1, 1]


def test_what_a_full_class_cannot_give_the_others_give() -> None:
    counts = np.array([2, 1, 1, 8])
    assert allocate(counts, 8, counts - 1).tolist() == [1, 0, 0, 7]


@pytest.mark.parametrize("sizes", [[1, 9], [9, 1]])
def test_a_class_with_one_example_goes_to_train(sizes: list[int]) -> None:
    y = labels(sizes)
    for seed in range(20):
        train, _ = split(y, seed, validation=0.5)
        assert int(np.argmin(sizes)) in y[train]


@st.composite
def dealt(draw: st.DrawFn) -> tuple[np.ndarray, int, int, np.ndarray]:
    """Labels, a number of folds, a seed, and the folds."""
    y = labels(draw(class_sizes), draw(st.integers(0, 9)))
    num_folds, seed = draw(st.integers(2, min(9, len(y)))), draw(seeds)
    return y, num_folds, seed, deal(y, num_folds, (seed, 4))


@given(dealt())
def test_folds_are_disjoint_of_equal_size_and_leave_at_most_k_minus_1_rows(
    case: tuple[np.ndarray, int, int, np.ndarray],
) -> None:
    y, num_folds, _, folds = case
    assert folds.shape == (num_folds, len(y) // num_folds)
    assert len(np.unique(folds)) == folds.size > len(y) - num_folds
    assert folds.min() >= 0
    assert folds.max() < len(y)
    assert (np.diff(folds, axis=1) > 0).all()


@given(dealt())
def test_each_fold_has_the_proportional_count_of_each_class_rounded_up_or_down(
    case: tuple[np.ndarray, int, int, np.ndarray],
) -> None:
    y, _, _, folds = case
    sizes = np.bincount(y)
    for rows in folds:
        got = np.bincount(y[rows], minlength=len(sizes))
        exact = sizes * len(rows)  # / len(y), in integers
        assert (got >= exact // len(y)).all()
        assert (got <= -(-exact // len(y))).all()


@given(dealt())
def test_folds_depend_on_the_key_alone(case: tuple[np.ndarray, int, int, np.ndarray]) -> None:
    y, num_folds, seed, folds = case
    np.random.seed(seed % 2**32)
    assert deal(y, num_folds, (seed, 4)).tolist() == folds.tolist()


@given(seed=seeds)
def test_another_key_deals_other_folds(seed: int) -> None:
    y = labels([30, 40])
    assert deal(y, 2, (seed, 4)).tolist() != deal(y, 2, (seed + 1, 4)).tolist()


def test_every_row_is_dealt_to_every_fold_and_left_over_equally_often() -> None:
    y = labels([7, 4])  # 11 rows, 3 folds of 3, 2 left over
    seen = np.zeros((4, 11))
    for seed in range(3000):
        folds = deal(y, 3, (seed,))
        for fold, rows in enumerate(folds):
            seen[fold, rows] += 1
    left_over = 3000 - seen[:3].sum(axis=0)
    # Largest remainders leave over 1 row of each class: 2 * 7/11 and 2 * 4/11, rounded.
    expected = np.where(y == 0, 3000 / 7, 3000 / 4)
    assert np.abs(left_over - expected).max() < 120  # five standard deviations
    for label in (0, 1):
        counts = seen[:3, y == label]
        assert np.abs(counts - counts.mean(axis=1, keepdims=True)).max() < 150


def test_folds_are_those_that_stored_searches_were_made_with() -> None:
    digest = hashlib.sha256(deal(labels([50, 30, 21]), 5, (7, 4)).astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "fa909469fc56d97d"


@given(sizes=st.lists(st.integers(2, 40), min_size=2, max_size=6), seed=seeds, data=st.data())
def test_every_class_keeps_a_row_that_each_fold_trains_on(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    y = labels(sizes)
    folds = deal(y, data.draw(st.integers(2, len(y))), (seed,))
    for rows in folds:
        assert set(np.delete(y, rows)) == set(range(len(sizes)))


def parted(y: np.ndarray, **fields: object) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of the training part, and the folds that are dealt from them."""
    x = np.arange(len(y), dtype=np.float32)[:, None]
    names = () if y.dtype.kind == "f" else tuple(map(str, range(int(y.max()) + 1)))
    config = DataConfig(source="digits", **fields)  # type: ignore[arg-type]
    parts = part(Examples(x=x, y=y, class_names=names), config, 3)
    rows = parts.train[0][:, 0].astype(int)
    assert parts.train[1].tolist() == y[rows].tolist()
    assert parts.fold_rows is None or len(parts.validation[0]) == len(parts.validation[1]) == 0
    return rows, parts.fold_rows


def test_folds_count_the_rows_that_the_limit_leaves() -> None:
    y = labels([60, 40])
    rows, folds = parted(y, folds=5, limit=52)
    assert folds is not None
    assert len(rows) == 52
    assert folds.shape == (5, 10)
    assert folds.max() < 52
    counts = [np.bincount(y[rows[fold]]).tolist() for fold in folds]
    assert counts == [[6, 4]] * 5


def test_a_regression_is_split_and_dealt_by_chance_alone() -> None:
    y = np.linspace(0, 1, 103).astype(np.float32)
    rows, folds = parted(y, folds=4, limit=101)
    assert folds is not None
    assert (len(rows), folds.shape) == (101, (4, 25))
    rows, folds = parted(y, validation=30)
    assert folds is None
    assert len(rows) == 73
    assert rows.tolist() != list(range(73))


@pytest.mark.parametrize(
    ("sizes", "folds", "words"),
    [
        ([3, 2], 6, "at most the number of rows, 5, but got 6"),
        ([9, 1], 2, "class '1' has 1"),
    ],
)
def test_folds_that_cannot_be_dealt_are_refused(sizes: list[int], folds: int, words: str) -> None:
    with pytest.raises(DataError, match="; ") as caught:
        parted(labels(sizes), folds=folds)
    assert caught.value.key == "folds"
    assert words in str(caught.value)

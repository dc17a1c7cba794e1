"""``load``: from a DataConfig and a seed to the Dataset of a search.

Called by whoever owns a device, once a search. A new source is a reader and a line in READERS.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workers.data.cifar10 import read_cifar10
from workers.data.config import DataConfig, DataError
from workers.data.dataset import Dataset, Transform
from workers.data.digits import read_digits
from workers.data.examples import Array, Examples, Int64Array
from workers.data.mnist import read_mnist
from workers.data.npz import read_npz
from workers.data.preprocess import shift_and_scale
from workers.data.split import allocate, choose
from workers.data.table import read_csv, read_parquet

READERS: dict[str, Callable[[DataConfig], Examples]] = {
    "digits": read_digits,
    "mnist": read_mnist,
    "cifar10": read_cifar10,
    "csv": read_csv,
    "parquet": read_parquet,
    "npz": read_npz,
}
# What each choice of rows is keyed by, beside the seed; a changed number changes every split.
VALIDATION_KEY, LIMIT_KEY, GIVEN_LIMIT_KEY = 1, 2, 3
Part = tuple[Array, Int64Array]


def load(config: DataConfig, seed: int) -> Dataset:
    """Read, limit, split and measure the examples: the same Dataset for the same arguments.

    ``seed`` >= 0 keys the choice of rows. Raises DataError, one sentence, for any file that cannot
    be used as ``config`` says.
    """
    try:
        examples = READERS[config.source](config)
    except OSError as error:
        raise DataError(
            f"path must be readable, but {config.path} is not ({error}); correct data.path", "path"
        ) from error
    train, validation = _parts(examples, config, seed)
    shift, scale = shift_and_scale(train[0], examples.unit, config.preprocess)
    return Dataset(
        x_train=train[0],
        y_train=train[1],
        x_validation=validation[0],
        y_validation=validation[1],
        class_names=examples.class_names,
        unit=examples.unit,
        preprocess=config.preprocess,
        transforms=(Transform(shift=shift, scale=scale),),
    )


def _parts(examples: Examples, config: DataConfig, seed: int) -> tuple[Part, Part]:
    if examples.x_validation is None or examples.y_validation is None:
        return _split(examples, config, seed)
    train = examples.x, examples.y
    validation = examples.x_validation, examples.y_validation
    train, validation = _limit_given(train, validation, config.limit, seed)
    _check_classes(train[1], config.limit)
    _check_given(validation[1], config.limit)
    return train, validation


def _split(examples: Examples, config: DataConfig, seed: int) -> tuple[Part, Part]:
    """Train and validation rows by class; every class keeps a row to train on."""
    y = examples.y
    rows = _limited_rows(y, config.limit, (seed, LIMIT_KEY))
    _check_classes(y[rows], config.limit)
    counts = _counts(y[rows])
    room = np.maximum(counts - 1, 0)
    total = _num_validation(config.validation, len(rows), int(room.sum()))
    chosen = choose(y[rows], allocate(counts, total, room), (seed, VALIDATION_KEY))
    validation, train = rows[chosen], np.delete(rows, chosen)
    return (examples.x[train], y[train]), (examples.x[validation], y[validation])


def _limit_given(train: Part, validation: Part, limit: int | None, seed: int) -> tuple[Part, Part]:
    """The parts of a given split, each cut in proportion so that both together have ``limit``."""
    if limit is None:
        return train, validation
    sizes = np.array([len(train[1]), len(validation[1])])
    _check_limit(limit, int(sizes.sum()))
    shares = allocate(sizes, limit, sizes)
    return (
        _cut(train, int(shares[0]), (seed, LIMIT_KEY)),
        _cut(validation, int(shares[1]), (seed, GIVEN_LIMIT_KEY)),
    )


def _cut(part: Part, limit: int, key: tuple[int, ...]) -> Part:
    rows = _limited_rows(part[1], limit, key)
    return part[0][rows], part[1][rows]


def _limited_rows(y: Int64Array, limit: int | None, key: tuple[int, ...]) -> Int64Array:
    if limit is None:
        return np.arange(len(y))
    _check_limit(limit, len(y))
    counts = _counts(y)
    return choose(y, allocate(counts, limit, counts), key)


def _counts(y: Int64Array) -> Int64Array:
    return np.bincount(y).astype(np.int64)


def _num_validation(validation: int | float, num_rows: int, most: int) -> int:
    count = validation if isinstance(validation, int) else max(1, round(validation * num_rows))
    if count > most:
        raise DataError(
            "validation must leave a row of each class to train on, so at most "
            f"{most} of {num_rows} rows, but got {validation} ({count} rows); lower it",
            "validation",
        )
    return count


def _check_limit(limit: int, num_rows: int) -> None:
    if limit > num_rows:
        raise DataError(
            f"limit must be at most the number of rows, {num_rows}, but got {limit}; "
            "lower it or leave it out",
            "limit",
        )


def _check_classes(y: Int64Array, limit: int | None) -> None:
    num_classes = len(np.unique(y))
    if num_classes < 2:
        raise DataError(
            f"training needs rows of at least 2 classes, but got {num_classes} in {len(y)} rows; "
            + _more_rows(limit),
            _fault(limit),
        )


def _check_given(y_validation: Int64Array, limit: int | None) -> None:
    if not len(y_validation):
        raise DataError(
            f"validation needs at least 1 row, but got 0; {_more_rows(limit)}", _fault(limit)
        )


def _more_rows(limit: int | None) -> str:
    return "use data with more" if limit is None else f"raise the limit of {limit}"


def _fault(limit: int | None) -> str:
    return "path" if limit is None else "limit"

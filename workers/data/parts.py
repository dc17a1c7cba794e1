"""``part``: the rows of a source as a training and a validation part, or as folds.

Called by ``workers.data.loading`` once a search. Classes are stratified; the numbers of a
regression are one stratum, so that their choice is plainly random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Array, Examples, Int64Array
from workers.data.split import allocate, choose, deal
from workers.data.streamed import Streamed

# What each choice of rows is keyed by, beside the seed; a changed number changes every split.
VALIDATION_KEY, LIMIT_KEY, GIVEN_LIMIT_KEY, FOLDS_KEY = 1, 2, 3, 4
Part = tuple[Array | Streamed, Array]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """Examples and targets of each part; ``fold_rows`` [k, n] count the rows of ``train``."""

    train: Part
    validation: Part
    fold_rows: Int64Array | None = None


def part(examples: Examples, config: DataConfig, seed: int) -> Parts:
    """Limit the rows, then set some aside as ``config`` says; keyed by ``seed`` >= 0.

    Every class keeps a row that each fold trains on. Raises DataError where rows are too few.
    """
    if examples.x_validation is not None and examples.y_validation is not None:
        given = (examples.x, examples.y), (examples.x_validation, examples.y_validation)
        return _given(*given, config, seed)
    rows = _limited_rows(_strata(examples.y), config.limit, (seed, LIMIT_KEY))
    _check_rows(examples.y[rows], config.limit)
    if config.folds is None:
        return _split(examples, rows, config.validation, seed)
    x, y = examples.x[rows], examples.y[rows]
    _check_folds(_strata(y), config.folds, examples.class_names)
    folds = deal(_strata(y), config.folds, (seed, FOLDS_KEY))
    return Parts(train=(x, y), validation=(x[:0], y[:0]), fold_rows=folds)


def _split(examples: Examples, rows: Int64Array, validation: int | float, seed: int) -> Parts:
    """The parts of ``rows``, stratified; every class keeps a row to train on."""
    x, y = examples.x, examples.y
    strata = _strata(y[rows])
    counts = _counts(strata)
    room = np.maximum(counts - 1, 0)
    total = _num_validation(validation, len(rows), int(room.sum()))
    chosen = choose(strata, allocate(counts, total, room), (seed, VALIDATION_KEY))
    held_out, train = rows[chosen], np.delete(rows, chosen)
    return Parts(train=(x[train], y[train]), validation=(x[held_out], y[held_out]))


def _given(train: Part, validation: Part, config: DataConfig, seed: int) -> Parts:
    """The parts of a given split, each cut in proportion so that both together have ``limit``."""
    if config.folds is not None:
        raise DataError(
            f"folds are dealt from all rows, but {config.path} brings a validation part of its own "
            f"and got folds {config.folds}; leave folds out, or x_validation and y_validation",
            "folds",
        )
    if config.limit is not None:
        sizes = np.array([len(train[1]), len(validation[1])])
        _check_limit(config.limit, int(sizes.sum()))
        shares = allocate(sizes, config.limit, sizes)
        train = _cut(train, int(shares[0]), (seed, LIMIT_KEY))
        validation = _cut(validation, int(shares[1]), (seed, GIVEN_LIMIT_KEY))
    _check_rows(train[1], config.limit)
    _check_given(validation[1], config.limit)
    return Parts(train=train, validation=validation)


def _cut(whole: Part, limit: int, key: tuple[int, ...]) -> Part:
    rows = _limited_rows(_strata(whole[1]), limit, key)
    return whole[0][rows], whole[1][rows]


def _limited_rows(strata: Int64Array, limit: int | None, key: tuple[int, ...]) -> Int64Array:
    if limit is None:
        return np.arange(len(strata))
    _check_limit(limit, len(strata))
    counts = _counts(strata)
    return choose(strata, allocate(counts, limit, counts), key)


def _strata(y: Array) -> Int64Array:
    """What rows are kept in proportion by: their class, or nothing."""
    return y if _are_classes(y) else np.zeros(len(y), dtype=np.int64)


def _are_classes(y: Array) -> bool:
    return y.dtype.kind == "i"


def _counts(strata: Int64Array) -> Int64Array:
    return np.bincount(strata).astype(np.int64)


def _num_validation(validation: int | float, num_rows: int, most: int) -> int:
    count = validation if isinstance(validation, int) else max(1, round(validation * num_rows))
    if count > most:
        raise DataError(
            "validation must leave a row of each class to train on, so at most "
            f"{most} of {num_rows} rows, but got {validation} ({count} rows); lower it",
            "validation",
        )
    return count


def _check_folds(strata: Int64Array, num_folds: int, class_names: tuple[str, ...]) -> None:
    if num_folds > len(strata):
        raise DataError(
            f"folds must be at most the number of rows, {len(strata)}, but got {num_folds}; "
            "lower it",
            "folds",
        )
    lonely = np.flatnonzero(_counts(strata) == 1)
    if lonely.size:
        raise DataError(
            "folds need two rows of each class, one of which is always trained on, but "
            f"class {class_names[lonely[0]]!r} has 1; add rows of it or drop it",
            "folds",
        )


def _check_limit(limit: int, num_rows: int) -> None:
    if limit > num_rows:
        raise DataError(
            f"limit must be at most the number of rows, {num_rows}, but got {limit}; "
            "lower it or leave it out",
            "limit",
        )


def _check_rows(y: Array, limit: int | None) -> None:
    if _are_classes(y):
        num, what = len(np.unique(y)), "classes"
    else:
        num, what = len(y), "numbers"
    if num < 2:
        raise DataError(
            f"training needs rows of at least 2 {what}, but got {num} in {len(y)} rows; "
            + _more_rows(limit),
            _fault(limit),
        )


def _check_given(y_validation: Array, limit: int | None) -> None:
    if not len(y_validation):
        raise DataError(
            f"validation needs at least 1 row, but got 0; {_more_rows(limit)}", _fault(limit)
        )


def _more_rows(limit: int | None) -> str:
    return "use data with more" if limit is None else f"raise the limit of {limit}"


def _fault(limit: int | None) -> str:
    return "path" if limit is None else "limit"

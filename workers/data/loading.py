"""``load``: from a DataConfig and a seed to the Dataset of a search.

Called by whoever owns a device, once a search. A new source is a reader and a line in READERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from workers.data.cifar10 import read_cifar10
from workers.data.config import DataConfig, DataError
from workers.data.dataset import Dataset
from workers.data.digits import read_digits
from workers.data.examples import Array, Examples
from workers.data.mnist import read_mnist
from workers.data.npz import read_npz
from workers.data.own import read_own
from workers.data.parts import Parts, part
from workers.data.preprocess import fit, fit_target
from workers.data.streamed import Streamed
from workers.data.table import read_csv, read_parquet

READERS: dict[str, Callable[[DataConfig], Examples]] = {
    "digits": read_digits,
    "mnist": read_mnist,
    "cifar10": read_cifar10,
    "csv": read_csv,
    "parquet": read_parquet,
    "npz": read_npz,
}


def load(config: DataConfig, seed: int) -> Dataset:
    """Read, limit, split and measure the examples: the same Dataset for the same arguments.

    ``seed`` >= 0 keys the choice of rows. Raises DataError, one sentence, for any file that cannot
    be used as ``config`` says.
    """
    try:
        examples = READERS.get(config.source, read_own)(config)
    except OSError as error:
        raise DataError(
            f"path must be readable, but {config.path} is not ({error}); correct data.path", "path"
        ) from error
    return _measured(examples, part(examples, config, seed), config.preprocess)


def _measured(examples: Examples, parts: Parts, preprocess: tuple[str, ...]) -> Dataset:
    """The Dataset of ``parts``, with the statistics of the rows that each fold trains on."""
    is_regression = not examples.class_names
    transforms, targets = [], []
    for x, y in _training_rows(parts):
        transforms.append(fit(x, examples.unit, preprocess))
        targets.append(fit_target(y, is_regression=is_regression))
    return Dataset(
        x_train=parts.train[0],
        y_train=parts.train[1],
        x_validation=parts.validation[0],
        y_validation=parts.validation[1],
        class_names=examples.class_names,
        unit=examples.unit,
        preprocess=preprocess,
        transforms=tuple(transforms),
        target_mean=np.array([mean for mean, _ in targets]),
        target_scale=np.array([scale for _, scale in targets]),
        fold_rows=parts.fold_rows,
    )


def _training_rows(parts: Parts) -> Iterator[tuple[Array | Streamed, Array]]:
    """Examples and targets that each fold trains on, one fold after the other."""
    x, y = parts.train
    if parts.fold_rows is None:
        yield x, y
        return
    assert not isinstance(x, Streamed), "folds are of examples in memory"
    for held_out in parts.fold_rows:
        yield np.delete(x, held_out, axis=0), np.delete(y, held_out)

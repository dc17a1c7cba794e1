"""The test part of a source: examples that no decision of a search has seen.

Read by the report of a search that is complete, once and for its winner alone; ``load`` never does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from workers.config.own import imported, is_own
from workers.data.cifar10 import read_test_batch
from workers.data.config import DataConfig, DataError
from workers.data.dataset import Dataset
from workers.data.examples import Array, Int64Array
from workers.data.labels import read_numbers
from workers.data.mnist import read_test_images
from workers.data.npz import TEST, read_arrays, test_examples


def with_test_part(dataset: Dataset, config: DataConfig) -> Dataset | None:
    """``dataset`` with the test part of its source in the place of the validation part.

    None where the source has no test part that is known here, and with folds, which leave no one
    network. Raises DataError for a test part that cannot be read, or has unknown classes.
    """
    if dataset.fold_rows is not None:
        return None
    try:
        found = _read(config)
    except OSError as error:
        raise DataError(
            f"the test part must be readable, but is not ({error}); mend the files", "path"
        ) from error
    if found is None:
        return None
    x, labels = found
    if x.shape[1:] != dataset.x_train.shape[1:] or x.dtype != dataset.x_train.dtype:
        raise DataError(
            "the test part must be like the training part, but its examples are "
            f"{x.dtype} {list(x.shape[1:])}, not {dataset.x_train.dtype} "
            f"{list(dataset.x_train.shape[1:])}; save them alike",
            "path",
        )
    return replace(dataset, x_validation=x, y_validation=_targets(labels, dataset))


def _read(config: DataConfig) -> tuple[Array, Array] | None:
    """Examples and labels, as they are named; None where there are none."""
    path = Path(config.path or "").expanduser()
    if config.source == "mnist":
        return read_test_images(path)
    if config.source == "cifar10":
        return read_test_batch(path)
    arrays = _arrays(config, path)
    return test_examples(arrays, path) if set(TEST) <= set(arrays) else None


def _arrays(config: DataConfig, path: Path) -> Mapping[str, Array]:
    """Those of an .npz file, or that a user's function gives as a mapping."""
    if config.source == "npz":
        return read_arrays(path)
    if not is_own(config.source):
        return {}
    make = imported(config.source)
    given = make() if config.path is None else make(config.path)
    return {name: np.asarray(given[name]) for name in TEST} if _has_test(given) else {}


def _has_test(given: object) -> bool:
    return isinstance(given, dict) and set(TEST) <= set(given)


def _targets(labels: Array, dataset: Dataset) -> Array:
    """Numbers of a regression, or the codes of classes that the training part has."""
    if dataset.is_regression:
        return read_numbers(labels, "the test part", "path")
    codes = {name: code for code, name in enumerate(dataset.class_names)}
    names = [str(label) for label in labels.tolist()]
    unknown = sorted(set(names) - codes.keys())
    if unknown:
        raise DataError(
            f"the test part must have the classes of the training part, but has {unknown[0]!r} "
            "too; drop those rows",
            "path",
        )
    found: Int64Array = np.array([codes[name] for name in names], dtype=np.int64)
    return found

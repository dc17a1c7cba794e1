"""Examples from a function of the user's own: arrays, tensors, or map-style datasets.

Read by ``workers.data.loading`` where the source is a MODULE:NAME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.config.own import OwnError, imported, said
from workers.data.config import DataConfig, DataError
from workers.data.examples import Array, Examples
from workers.data.npz import WANTED, examples_of

NAMES = {2: ("x", "y"), 4: ("x", "y", "x_validation", "y_validation")}
RETURNS = "(x, y) or (x, y, x_validation, y_validation), or one or two datasets of pairs"


def read_own(config: DataConfig) -> Examples:
    """What the function gives, called with ``config.path`` if there is one; as of an .npz file.

    Raises DataError for a function that cannot be imported or called, or gives something else.
    """
    try:
        make = imported(config.source)
        given = make() if config.path is None else make(config.path)
        arrays = _arrays(given)
    except OwnError as error:
        raise DataError(f"source {error}", "source") from error
    except (Exception, SystemExit) as error:  # whatever a user's function does
        raise DataError(
            f"source {config.source} must return {RETURNS}, but that raises {said(error)}",
            "source",
        ) from error
    if arrays is None:
        what = type(given).__name__
        raise DataError(f"source {config.source} must return {RETURNS}, not a {what}", "source")
    try:
        return examples_of(arrays, config, config.source)
    except DataError as error:
        raise DataError(str(error), "source") from error


def _arrays(given: object) -> dict[str, Array] | None:
    """By the names of an .npz file's, or None where it is nothing of the kind."""
    if isinstance(given, dict) and set(given) <= set(WANTED):
        return {name: np.asarray(value) for name, value in given.items()}
    if not isinstance(given, tuple | list):
        given = (given,)
    if len(given) in (1, 2) and all(map(_is_dataset, given)):
        given = [part for dataset in given for part in _unzipped(dataset)]
    names = NAMES.get(len(given))
    return None if names is None else dict(zip(names, map(np.asarray, given), strict=True))


def _is_dataset(one: object) -> bool:
    """A map-style one, torch's or any that is alike; arrays have a shape beside, lists are such."""
    if isinstance(one, list | tuple):
        return False
    return hasattr(one, "__getitem__") and hasattr(one, "__len__") and not hasattr(one, "shape")


def _unzipped(dataset: Sequence[tuple[Any, Any]]) -> tuple[Array, Array]:
    """All inputs and all targets, in memory."""
    pairs = [dataset[place] for place in range(len(dataset))]
    inputs, targets = zip(*pairs, strict=True)
    return np.stack([np.asarray(x) for x in inputs]), np.asarray([np.asarray(y) for y in targets])

"""Examples from a function of the user's own: arrays, tensors, or map-style datasets.

Read by ``workers.data.loading`` where the source is a MODULE:NAME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from workers.config.own import OwnError, imported, said
from workers.data.config import DataConfig, DataError, check_can_stream
from workers.data.examples import Array, Examples
from workers.data.memory import free_bytes
from workers.data.npz import TEST, WANTED, examples_of
from workers.data.streamed import (
    MapStyle,
    Opened,
    Streamed,
    check_repeats,
    example,
    targets_of,
)

NAMES = {2: ("x", "y"), 4: ("x", "y", "x_validation", "y_validation")}
RETURNS = "(x, y) or (x, y, x_validation, y_validation), or one or two datasets of pairs"
# Of examples in memory: as they are read, their parts, and those again where they are trained on.
COPIES = 4
Arrays = dict[str, Array | Streamed]


def read_own(config: DataConfig) -> Examples:
    """What the function gives, called with ``config.path`` if there is one; as of an .npz file.

    Of datasets that do not fit in memory, or are to be streamed, the inputs are. Raises DataError
    for a function that cannot be imported or called, or gives something else.
    """
    try:
        make = imported(config.source)
        given = make() if config.path is None else make(config.path)
        arrays = _arrays(given, config)
    except OwnError as error:
        raise DataError(f"source {error}", "source") from error
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's function does
        raise DataError(
            f"source {config.source} must return {RETURNS}, but that raises {said(error)}",
            "source",
        ) from error
    if arrays is None:
        raise _refused(given, config.source)
    try:
        return examples_of(arrays, config, config.source)
    except DataError as error:
        raise DataError(str(error), "source") from error


def _refused(given: object, source: str) -> DataError:
    """That it is nothing of the kind."""
    one = given[0] if isinstance(given, tuple | list) and given else given
    if hasattr(one, "__iter__") and hasattr(one, "__getitem__") and not hasattr(one, "__len__"):
        return DataError(
            f"source {source} must return datasets with a length, whose examples can be read in "
            f"any order, but {type(one).__name__} can only be gone through from its start; give it "
            "__len__ and __getitem__",
            "source",
        )
    what = type(given).__name__
    return DataError(f"source {source} must return {RETURNS}, not a {what}", "source")


def _arrays(given: object, config: DataConfig) -> Arrays | None:
    """By the names of an .npz file's, or None where it is nothing of the kind."""
    if isinstance(given, tuple | list) and all(map(_is_dataset, given)) and len(given) in (1, 2):
        return _of_datasets(given, config)
    if _is_dataset(given) and not isinstance(given, dict):
        return _of_datasets([given], config)
    if config.stream is True and _are_arrays(given):
        raise DataError(
            f"stream: true needs map-style datasets, but source {config.source} returns something "
            "else, which is in memory already; leave stream out",
            "stream",
        )
    if isinstance(given, dict) and set(given) <= {*WANTED, *TEST}:
        return {name: np.asarray(value) for name, value in given.items() if name in WANTED}
    names = NAMES.get(len(given)) if isinstance(given, tuple | list) else None
    if names is None or not isinstance(given, tuple | list):
        return None
    return dict(zip(names, map(np.asarray, given), strict=True))


def _of_datasets(datasets: Sequence[MapStyle], config: DataConfig) -> Arrays:
    """Inputs and targets of one for training, and of one for validation if there is one."""
    opened = Opened(config.source, config.path, datasets)
    rows = [_rows(opened, number, config) for number in range(len(datasets))]
    is_streamed = _do_not_fit(rows) if config.stream == "auto" else config.stream
    if is_streamed:
        check_can_stream(config)
    parts: list[Array | Streamed] = []
    for one, dataset in zip(rows, datasets, strict=True):
        if is_streamed:
            check_repeats(one)
            parts += [one, targets_of(one, dataset)]
        else:
            x, targets = one.read_pairs(slice(None))
            parts += [x, np.asarray(targets)]
    return dict(zip(NAMES[len(parts)], parts, strict=True))


def _rows(opened: Opened, number: int, config: DataConfig) -> Streamed:
    """All examples of a dataset, of which the first is read."""
    dataset = opened[number]
    if not len(dataset):
        raise DataError(f"source {config.source} returns a dataset without examples", "source")
    first, _ = example(dataset, 0, config.source)
    return Streamed(
        opened=opened,
        number=number,
        places=np.arange(len(dataset)),
        given_shape=first.shape,
        given_dtype=first.dtype,
        loader_workers=None if config.loader_workers == "auto" else config.loader_workers,
    )


def _do_not_fit(parts: Sequence[Streamed]) -> bool:
    free = free_bytes()
    return free is not None and COPIES * sum(map(_held_bytes, parts)) > free


def _held_bytes(rows: Streamed) -> int:
    """What the examples take in memory."""
    return len(rows) * int(np.prod(rows.shape[1:])) * rows.dtype.itemsize


def _are_arrays(given: object) -> bool:
    return isinstance(given, dict) or (isinstance(given, tuple | list) and len(given) in NAMES)


def _is_dataset(one: object) -> TypeGuard[MapStyle]:
    """A map-style one, torch's or any that is alike; arrays have a shape beside, lists are such."""
    if isinstance(one, list | tuple | dict):
        return False
    return hasattr(one, "__getitem__") and hasattr(one, "__len__") and not hasattr(one, "shape")

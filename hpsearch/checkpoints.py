"""What a search leaves besides numbers: the trained weights of a trial, as numpy arrays.

``hpsearch.weights`` for notebooks and programs; nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from hpsearch.coordinator.warm_starts import trial_checkpoint
from hpsearch.errors import HpsearchError
from hpsearch.settings import checkpoint_root, database_url
from workers.messages import CheckpointSlice

Weights = dict[str, np.ndarray[Any, np.dtype[Any]]]


def weights(search: str | int, number: int, *, fold: int = 0, db: str | None = None) -> Weights:
    """The trained network of trial ``number`` of ``search`` (a name or an id), tensor by tensor.

    Names count the layers: "0.weight" [out, in] and "0.bias" [out] as in torch, then "0.gain",
    "0.shift", "0.running_mean", "0.running_var" of a normalization and "0.slope" of prelu [units or
    1]. docs/specs.md shows how to load them. They are of the epoch at which the trial ended, which
    need not be its ``best_epoch``, and their moving average where it kept one: what its last
    validation measured. With folds, ``fold`` chooses one, from 0.
    Raises StorageError for a search that does not exist, HpsearchError for a trial without weights.
    """
    from hpsearch.api import connect

    repository = connect(db).repository
    record = repository.find_search(search)
    try:
        root = checkpoint_root(database_url(db))
        source = trial_checkpoint(repository, record, int(number), root)  # int: pandas has its own
        return dict(_tensors(source, fold))
    except ValueError as error:
        raise HpsearchError(f"weights of number {number} of {record.name}: {error}") from error
    except (OSError, SafetensorError) as error:
        raise HpsearchError(f"{source.file} cannot be read: {error}") from error


def _tensors(source: CheckpointSlice, fold: int) -> Iterator[tuple[str, Any]]:
    """Names and tensors of one row; a file has a matrix of all rows' weights, one of buffers."""
    with safe_open(source.file, framework="numpy") as file:
        metadata, names = file.metadata(), set(file.keys())
        num_folds = int(metadata["folds"])
        if not 0 <= fold < num_folds:
            raise ValueError(f"fold must be from 0 to {num_folds - 1} (got {fold})")
        matrices: Mapping[str, str] = {"weights": "average"} if "average" in names else {}
        for kind, layout in json.loads(metadata["layout"]).items():
            if layout:
                row = source.row * num_folds + fold
                yield from _cut(file.get_slice(matrices.get(kind, kind))[row : row + 1], layout)


def _cut(row_1P: Any, layout: Sequence[tuple[str, Sequence[int]]]) -> Iterator[tuple[str, Any]]:
    ends = accumulate(prod(shape) for _, shape in layout)
    parts = np.split(row_1P[0], [*ends][:-1])
    for (name, shape), part in zip(layout, parts, strict=True):
        yield name, part.reshape(shape).copy()  # writable, as torch wants it

"""What a search leaves besides numbers: the trained weights of a trial, as numpy arrays.

``hpsearch.weights`` for notebooks and programs; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from hpsearch.coordinator.warm_starts import trial_checkpoint
from hpsearch.errors import HpsearchError
from hpsearch.settings import checkpoint_root, command, database_url
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository
from workers.checkpoint_layout import named_tensors
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
    if record.spec.trainable is not None:
        export = command(f"export {record.id} -o FOLDER", database_url(db))
        raise HpsearchError(
            f"weights are of networks that are trained here, but search {record.name} has the "
            f"trainable {record.spec.trainable}: have what it wrote by {export}"
        )
    return weights_in(checkpoint_of(repository, record, number, db), fold)


def weights_in(source: CheckpointSlice, fold: int = 0) -> Weights:
    """As :func:`weights`, of a trial that lies there."""
    try:
        return dict(_tensors(source, fold))
    except (OSError, SafetensorError) as error:
        raise HpsearchError(
            f"the checkpoint {source.file} must be readable, but is not ({error}): put a copy of "
            "it in its place, or choose another trial"
        ) from error


def checkpoint_of(
    repository: Repository, record: SearchRecord, number: int, db: str | None = None
) -> CheckpointSlice:
    """Where the trained network of trial ``number`` lies. Raises HpsearchError if nowhere."""
    root = checkpoint_root(database_url(db))
    try:
        return trial_checkpoint(repository, record, int(number), root)  # int: pandas has its own
    except ValueError as error:
        raise HpsearchError(f"number {error}") from error


def _tensors(source: CheckpointSlice, fold: int) -> Iterator[tuple[str, Any]]:
    """Names and tensors of one row."""
    with safe_open(source.file, framework="numpy") as file:
        metadata = file.metadata()
        num_folds = int(metadata["folds"])
        if not 0 <= fold < num_folds:
            last = num_folds - 1
            raise HpsearchError(f"fold must be from 0 to {last}, but got {fold}: give one of these")
        row = source.row * num_folds + fold
        for name, tensor_1 in named_tensors(file, metadata, slice(row, row + 1)):
            yield name, tensor_1[0].copy()  # writable, as torch wants it

"""Checkpoints: a stack's rows in one safetensors file, and new stacks from rows of any such files.

Written by the loop every few epochs; a file appears whole or not at all. What the worker wrote last
it may have in memory too, and then its file is not opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workers.checkpoint_layout import dump_layout
from workers.messages import Member
from workers.training.kept import KeptCheckpoints
from workers.training.stack import Stack


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, or is not of the members that are to go on from it."""


class CheckpointNotWritten(RuntimeError):
    """The folder cannot be written or is full: no fault of a member, it stops the search."""


def write(stack: Stack, name: str, epoch: int, kept: KeptCheckpoints | None = None) -> None:
    """Write all rows, in the order of ``stack.members``, to a temporary name and rename it.

    Of several devices all call this, for each may have a part of a row; the first writes the whole.
    ``kept`` has a copy of them from then on. Raises CheckpointNotWritten.
    """
    rows, metadata = stack.all_rows(), _metadata(stack, epoch)
    if stack.mesh.whole.rank > 0:
        return
    try:
        _write(rows, Path(name), metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointNotWritten(f"{name} cannot be written: {error}") from error
    if kept is not None:
        kept.put(name, rows, metadata)


def _write(rows: Mapping[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    save_file({name: tensor.contiguous() for name, tensor in rows.items()}, temporary, metadata)
    with temporary.open("rb") as written:
        os.fsync(written.fileno())  # a power cut may not leave a name without its contents
    os.replace(temporary, file)


def _metadata(stack: Stack, epoch: int) -> dict[str, str]:
    weights, buffers = (
        [(spec.name, spec.shape) for spec in specs]
        for specs in (stack.model.parameters, stack.model.buffers)
    )
    return {
        "epoch": str(epoch),
        "step": str(stack.updates),
        "folds": str(stack.num_folds),
        "seeds": json.dumps([member.seed for member in stack.members]),
        "layout": dump_layout(weights, buffers),
    }


def read(stack: Stack, epoch: int, kept: KeptCheckpoints | None = None) -> None:
    """Fill each member's rows of ``stack`` from its slice, which must be of ``epoch``.

    From memory where ``kept`` has what was written to the file, else from the file.
    """
    updates = {
        _read_file(stack, file, wanted, epoch, kept)
        for file, wanted in _by_file(stack.members).items()
    }
    if len(updates) > 1:
        raise CheckpointError(f"members of a group must have equally many updates, got {updates}")
    stack.updates = updates.pop()


def _by_file(members: Sequence[Member]) -> dict[str, dict[int, int]]:
    """For each file the places of its members, and their rows in it."""
    files: dict[str, dict[int, int]] = {}
    for place, member in enumerate(members):
        if member.resume is None:
            raise CheckpointError(f"trial {member.trial} is to go on but names no checkpoint")
        files.setdefault(member.resume.file, {})[place] = member.resume.row
    return files


def _read_file(
    stack: Stack, name: str, wanted: Mapping[int, int], epoch: int, kept: KeptCheckpoints | None
) -> int:
    """Copy the rows of the members that go on from this file; give its number of updates."""
    found = kept.get(name) if kept is not None else None
    try:
        if found is not None:
            return _fill(stack, name, wanted, epoch, found.metadata, found.rows)
        with safe_open(name, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118  # no dict
            return _fill(stack, name, wanted, epoch, file.metadata() or {}, slices)
    except (OSError, SafetensorError, IndexError) as error:
        raise CheckpointError(f"{name} cannot be read: {error}") from error


def _fill(
    stack: Stack,
    name: str,
    wanted: Mapping[int, int],
    epoch: int,
    metadata: Mapping[str, str],
    stored: Mapping[str, Any],
) -> int:
    """Copy the rows that are ``wanted`` of ``stored``, which are tensors or slices of a file.

    The file of a mixed group may have a slot more than a member's optimizer has use for, and this
    stack one more than the file: it belongs to others.
    """
    needed = set().union(*(stack.needs(stack.members[place]) for place in wanted))
    if metadata.get("epoch") != str(epoch) or not needed <= stored.keys():
        raise CheckpointError(
            f"{name} is not a checkpoint of epoch {epoch}, or of an older version"
        )
    seeds = json.loads(metadata["seeds"]) if "seeds" in metadata else None
    for place, row in wanted.items():
        if seeds is not None and seeds[row] != stack.members[place].seed:
            raise CheckpointError(f"row {row} of {name} is of another trial")
    to, of = _rows(wanted.keys(), stack.num_folds), _rows(wanted.values(), stack.num_folds)
    first, stop = min(of), max(of) + 1
    for key in stack.rows.keys() & stored.keys():
        rows = stored[key][first:stop][[row - first for row in of]]
        stack.rows[key][to] = stack.device_columns(key, rows).to(stack.rows[key])
    return int(metadata["step"])


def _rows(places: Iterable[int], folds: int) -> list[int]:
    return [place * folds + fold for place in places for fold in range(folds)]

"""Checkpoints: a stack's rows in one safetensors file, and new stacks from rows of any such files.

Written by the loop every few epochs; a file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workers.checkpoint_layout import dump_layout
from workers.messages import CheckpointSlice, Member
from workers.training.stack import Stack


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, or is not of the members that are to go on from it."""


class CheckpointNotWritten(RuntimeError):
    """The folder cannot be written or is full: no fault of a member, it stops the search."""


def write(stack: Stack, name: str, epoch: int) -> None:
    """Write all rows, in the order of ``stack.members``, to a temporary name and rename it.

    Raises CheckpointNotWritten.
    """
    try:
        _write(stack, Path(name), epoch)
    except (OSError, SafetensorError) as error:
        raise CheckpointNotWritten(f"{name} cannot be written: {error}") from error


def _write(stack: Stack, file: Path, epoch: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    tensors = {name: tensor.contiguous() for name, tensor in stack.rows.items()}
    save_file(tensors, temporary, _metadata(stack, epoch))
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


def read(stack: Stack, epoch: int) -> None:
    """Fill each member's rows of ``stack`` from its slice, which must be of ``epoch``."""
    updates = set()
    for place, member in enumerate(stack.members):
        if member.resume is None:
            raise CheckpointError(f"trial {member.trial} is to go on but names no checkpoint")
        updates.add(_read_rows(stack, place, member, member.resume, epoch))
    if len(updates) > 1:
        raise CheckpointError(f"members of a group must have equally many updates, got {updates}")
    stack.updates = updates.pop()


def _read_rows(
    stack: Stack, place: int, member: Member, source: CheckpointSlice, epoch: int
) -> int:
    """Copy one member's rows; give its number of updates.

    The file of a mixed group may have a slot more than this member's optimizer has use for, and
    this stack one more than the file: it belongs to others.
    """
    folds, rows = stack.num_folds, stack.rows_of(place)
    try:
        with safe_open(source.file, framework="pt") as file:
            found, names = file.metadata() or {}, set(file.keys())
            if found.get("epoch") != str(epoch) or not stack.needs(member) <= names:
                raise CheckpointError(
                    f"{source.file} is not a checkpoint of epoch {epoch}, or of an older version"
                )
            if "seeds" in found and json.loads(found["seeds"])[source.row] != member.seed:
                raise CheckpointError(f"row {source.row} of {source.file} is of another trial")
            stored = slice(source.row * folds, (source.row + 1) * folds)
            for name in stack.rows.keys() & names:
                stack.rows[name][rows].copy_(file.get_slice(name)[stored.start : stored.stop])
            return int(found["step"])
    except (OSError, SafetensorError, IndexError) as error:
        raise CheckpointError(f"{source.file} cannot be read: {error}") from error

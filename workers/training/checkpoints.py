"""Checkpoints: a stack's rows in one safetensors file, and new stacks from rows of any such files.

Written by the loop every few epochs; a file appears whole or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workers.messages import CheckpointSlice
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
    save_file(tensors, temporary, {"epoch": str(epoch), "step": str(stack.step)})
    with temporary.open("rb") as written:
        os.fsync(written.fileno())  # a power cut may not leave a name without its contents
    os.replace(temporary, file)


def read(stack: Stack, epoch: int) -> None:
    """Fill each row of ``stack`` from its member's slice, which must be of ``epoch``."""
    steps = set()
    for row, member in enumerate(stack.members):
        if member.resume is None:
            raise CheckpointError(f"trial {member.trial} is to go on but names no checkpoint")
        steps.add(_read_row(stack.rows, row, member.resume, epoch))
    if len(steps) > 1:
        raise CheckpointError(f"members of a group must have equally many updates, got {steps}")
    stack.step = steps.pop()


def _read_row(rows: dict[str, Tensor], row: int, source: CheckpointSlice, epoch: int) -> int:
    """Copy one member's row; give its number of updates.

    The file of a mixed group may have a slot more than this member's optimizer has use for, and
    this stack one more than the file: it belongs to others.
    """
    try:
        with safe_open(source.file, framework="pt") as file:
            found, names = file.metadata() or {}, set(file.keys())
            if found.get("epoch") != str(epoch) or "weights" not in names:
                raise CheckpointError(f"{source.file} is not a checkpoint of epoch {epoch}")
            for name in rows.keys() & names:
                rows[name][row].copy_(file.get_slice(name)[source.row])
            return int(found["step"])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{source.file} cannot be read: {error}") from error

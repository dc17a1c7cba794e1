"""Checkpoints: a stack's rows in one safetensors file, and new stacks from rows of any such files.

Written by the loop at the end of a segment; a file appears whole or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workers.messages import CheckpointSlice, TrialGroup
from workers.training.stack import Stack


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, or is not of the members that are to go on from it."""


def write_due(stack: Stack, group: TrialGroup, epoch: int) -> str | None:
    """Write the stack after ``epoch`` if a checkpoint is due then; the file's name, or None."""
    passed = epoch - group.start_epoch
    due = epoch == group.end_epoch or passed % group.checkpoint_every == 0
    if group.checkpoint_stem is None or not due:
        return None
    file = f"{group.checkpoint_stem}-{epoch}.safetensors"
    write(stack, Path(file), epoch)
    return file


def write(stack: Stack, file: Path, epoch: int) -> None:
    """Write all rows, in the order of ``stack.members``, to a temporary name and rename it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    tensors = {name: tensor.contiguous() for name, tensor in stack.rows.items()}
    save_file(tensors, temporary, {"epoch": str(epoch), "step": str(stack.step)})
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

    A file of a mixed group may hold a slot that this member's optimizer has no use for, and lack
    none that it has.
    """
    try:
        with safe_open(source.file, framework="pt") as file:
            found = file.metadata()
            if found["epoch"] != str(epoch):
                raise CheckpointError(f"{source.file} is of epoch {found['epoch']}, not {epoch}")
            for name in rows.keys() & set(file.keys()):
                rows[name][row].copy_(file.get_slice(name)[source.row])
            return int(found["step"])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{source.file} cannot be read: {error}") from error

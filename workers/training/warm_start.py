"""Warm start: weights of a new member taken from a checkpoint of ours, or from any state dict.

Called by the loop for the members that name one; layers are matched by their names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from workers.checkpoint_layout import named_tensors
from workers.config.combination import ConfigError
from workers.messages import CheckpointSlice, Member, Refusal
from workers.training.checkpoints import CheckpointError
from workers.training.shares import Shares
from workers.training.stack import Stack


def warm_start(stack: Stack) -> tuple[Refusal, ...]:
    """Overwrite the fresh weights and buffers of every member that has a ``warm_start``.

    The optimizer starts anew. Members whose file cannot be read, lacks a layer of the model or has
    it in another shape are refused and dropped.
    """
    refused = []
    for place, member in enumerate(stack.members):
        if member.warm_start is not None:
            try:
                _start(stack, member, member.warm_start, stack.rows_of(place))
            except (CheckpointError, ConfigError) as error:
                refused.append(Refusal(trial=member.trial, message=f"warm_start: {error}"))
    stack.drop({refusal.trial for refusal in refused})
    return tuple(refused)


def _start(stack: Stack, member: Member, source: CheckpointSlice, rows: slice) -> None:
    """Copy what is wanted; ConfigError if the file's layers are others than the model's."""
    views = stack.views("weights") | stack.buffers
    shapes = {spec.name: spec.shape for spec in stack.model.parameters}
    shapes |= {spec.name: spec.shape for spec in stack.model.buffers}
    found = _tensors(source, stack.num_folds)
    head = max(spec.layer for spec in stack.parameters)
    takes_head = member.config.warm_start_layers == "all"
    heads = {_owner(spec.name) for spec in stack.parameters if spec.layer == head}
    wanted = [name for name in views if takes_head or _owner(name) not in heads]
    lacking = [name for name in wanted if not _fits(shapes[name], found.get(name))]
    # A gain, a slope or running statistics that the model has no place for: not the same function.
    spare = [n for n in found if n not in views and 0 <= _layer(n) < head + takes_head]
    if lacking or spare:
        raise ConfigError("warm_start", _mismatch(shapes, found, (*lacking, *spare), source, heads))
    parts = _device_parts(stack, found)
    for name in wanted:
        views[name][rows].copy_(parts[name])


def _device_parts(stack: Stack, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with this device's units of the parameters that devices part."""
    specs = [spec for spec in stack.model.parameters if spec.name in found]
    names = [spec.name for spec in specs]
    parts = Shares(specs, stack.mesh.model).device_tensors([found[name] for name in names])
    return {**found, **dict(zip(names, parts, strict=True))}


def _fits(shape: tuple[int, ...], tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.shape[1:] == shape


def _owner(name: str) -> str:
    """The module that has the tensor, which of ours is the number of its layer."""
    return name.rpartition(".")[0]


def _layer(name: str) -> int:
    """The number that a tensor's name begins with; -1 for a name of other making."""
    first = name.partition(".")[0]
    return int(first) if first.isdecimal() else -1


def _mismatch(
    shapes: Mapping[str, tuple[int, ...]],
    found: Mapping[str, Tensor],
    names: Sequence[str],
    source: CheckpointSlice,
    heads: Collection[str],
) -> str:
    there = {name: tensor.shape[1:] for name, tensor in found.items()}
    model, file = (
        f"as {list(known[names[0]])}" if names[0] in known else "not at all"
        for known in (shapes, there)
    )
    only_head = all(_owner(name) in heads for name in names)
    remedy = ", or take over all_but_head" if only_head else ""
    return (
        f"the model has {names[0]} {model}, but {source.file} has it {file}; start from a network "
        f"of the same layers and normalization{remedy}"
    )


def _tensors(source: CheckpointSlice, num_folds: int) -> dict[str, Tensor]:
    """The tensors of a trial by name, [folds or 1, *shape]."""
    try:
        with safe_open(source.file, framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
            if "layout" in metadata:
                return _of_checkpoint(file, metadata, source, num_folds)
            if "weights" in names:
                raise CheckpointError(
                    f"{source.file} is a checkpoint of an older version, which names no layers"
                )
            if source.row:
                raise CheckpointError(f"{source.file} is one state dict and has no #{source.row}")
            return {name: file.get_tensor(name).unsqueeze(0) for name in names}
    except (OSError, SafetensorError, IndexError) as error:
        raise CheckpointError(f"{source.file} cannot be read: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{source.file} names its layers wrongly: {error}") from error


def _of_checkpoint(
    file: Any, metadata: Mapping[str, str], source: CheckpointSlice, num_folds: int
) -> dict[str, Tensor]:
    """One trial's tensors; its first fold for a group with another number of folds."""
    stored_folds = int(metadata["folds"])
    first = source.row * stored_folds
    rows = slice(first, first + (stored_folds if stored_folds == num_folds else 1))
    tensors: dict[str, Tensor] = dict(named_tensors(file, metadata, rows))
    if not all(len(tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{source.file} has no row {source.row}")
    return tensors

"""Layers of a user's module whose units several devices can part, and how they are called then.

Called by ``own``. Such a layer is a plain nn.Linear or convolution whose weights nothing but its
own call reads, which is tried: a module may read a layer's weights past it, or share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workers.training.models.own_module import passed
from workers.training.parallel import Devices
from workers.training.parallel.layers import entered, left

# Where the units of each kind's outputs lie, counted from the end.
_AXES: dict[type[nn.Module], int] = {nn.Linear: -1, nn.Conv1d: -2, nn.Conv2d: -3, nn.Conv3d: -4}


def layers_with_parts(net: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """Those of ``net`` by name; ``x`` are some examples that it is tried on."""
    plain = {name: module for name, module in net.named_modules() if _is_plain(module)}
    if not plain or _are_read_by_themselves(net, plain, x):
        return plain
    return {n: m for n, m in plain.items() if _are_read_by_themselves(net, {n: m}, x)}


@contextmanager
def parted(layers: Mapping[str, nn.Module], devices: Devices) -> Iterator[None]:
    """Within it each of the layers computes the device's units, and gives those of all."""
    if devices.num == 1:
        yield
        return
    hooks = []
    for module in layers.values():
        units, axis = _num_units(module), _AXES[type(module)]
        hooks.append(module.register_forward_pre_hook(partial(_enter, units, devices)))
        hooks.append(module.register_forward_hook(partial(_leave, axis, units, devices)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _num_units(module: nn.Module) -> int:
    """Of such a layer."""
    return len(next(module.parameters()))  # its weight


def _enter(units: int, devices: Devices, module: nn.Module, given: tuple[Any, ...]) -> Any:
    return (entered(given[0], units, devices), *given[1:])


def _leave(
    axis: int, units: int, devices: Devices, module: nn.Module, given: object, h: Tensor
) -> Tensor:
    return left(h, axis, units, devices)


def _is_plain(module: nn.Module) -> bool:
    is_grouped = getattr(module, "groups", 1) > 1
    if type(module) not in _AXES or is_grouped:
        return False
    return all(tensor.requires_grad for tensor in module.parameters())


@torch.no_grad()
def _are_read_by_themselves(net: nn.Module, layers: Mapping[str, nn.Module], x: Tensor) -> bool:
    """Whether ``net`` gives the same where all but the layers' own calls see NaN for weights."""
    names = {
        f"{name}.{of}" for name, module in layers.items() for of, _ in module.named_parameters()
    }
    named = dict(net.named_parameters())
    if not names <= named.keys():  # shared, and known by another name
        return False
    hidden = {n: torch.full_like(t, torch.nan) if n in names else t for n, t in named.items()}
    try:
        for training in (True, False):
            expected, _ = passed(net.train(training), named, x)
            with _called_by_copies(layers):
                found, _ = passed(net, hidden, x)
            if not torch.equal(found, expected):
                return False
    except Exception:  # whatever a module's code does with such weights
        return False
    return True


@contextmanager
def _called_by_copies(layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Within it, a call of one of the layers is a call of a copy, with the weights that it has."""
    calls: dict[nn.Module, Callable[..., Any]] = {
        module: deepcopy(module).forward for module in layers.values()
    }
    try:
        for module, call in calls.items():
            module.forward = call
        yield
    finally:
        for module in calls:
            del module.forward

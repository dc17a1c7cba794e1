"""Layers of a user's module whose units several devices can part, and how they are called then.

Called by ``own``. Such a layer is a plain nn.Linear or convolution; that its weights are read by
its own call alone is tried, with devices that are only threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workers.config.own import said
from workers.training.models.base import ParameterSpec
from workers.training.models.own_module import CLOSE, Tensors, is_untouched, slopes
from workers.training.parallel import ALONE, Devices
from workers.training.parallel.layers import entered, gathered
from workers.training.parallel.pretended import on_pretended
from workers.training.shares import Shares

# Where the units of each kind's outputs lie, counted from the end.
_AXES: dict[type[nn.Module], int] = {nn.Linear: -1, nn.Conv1d: -2, nn.Conv2d: -3, nn.Conv3d: -4}
Together = Callable[[nn.Module, Mapping[str, Tensor], Tensor], tuple[Tensor, Tensors]]


def layers_with_units(net: nn.Module) -> dict[str, nn.Module]:
    """The plain ones of ``net`` by name, which share no weights with others."""
    tensors = (t for module in net.modules() for t in module._parameters.values() if t is not None)
    owners = Counter(map(id, tensors))
    return {
        name: module
        for name, module in net.named_modules()
        if _is_plain(module) and all(owners[id(tensor)] == 1 for tensor in module.parameters())
    }


@contextmanager
def parted(layers: Mapping[str, nn.Module], devices: Devices) -> Iterator[None]:
    """Within it each such layer computes the device's units, and gives those of all."""
    if devices.num == 1:
        yield
        return
    hooks = []
    for module in layers.values():
        units, axis = len(next(module.parameters())), _AXES[type(module)]
        enter, leave = partial(_enter, units, devices), partial(_leave, axis, units, devices)
        hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def refuses_split(
    make: Callable[[], nn.Module],
    specs: tuple[ParameterSpec, ...],
    rows: Mapping[str, Tensor],
    x: Tensor,
    together: Together,
) -> str | None:
    """Why devices cannot part the layers of a module; None if they can.

    ``rows`` of it, [2, *shape] by name, are passed ``x`` forth and back on one device, and on two
    that are threads, each with its units: both must give the same.
    """
    past: set[str] = set()
    net = make()
    with _noted(layers_with_units(net), past):
        expected = _learned(net, specs, rows, x, together, ALONE)
    if past:
        return f"it reads the weights of {min(past)} past its call"
    nets = [make(), make()]
    try:
        both = on_pretended(
            2, lambda devices: _learned(nets[devices.rank], specs, rows, x, together, devices)
        )
    except Exception as error:  # whatever a module's code does with some of its units
        return f"with some of its units it raises {said(error)}"
    close = partial(torch.allclose, rtol=CLOSE, atol=CLOSE, equal_nan=True)
    if all(close(a, b) for found in both for a, b in zip(found, expected, strict=True)):
        return None
    return "two devices with some of its units each do not give what one with all of them gives"


def _learned(
    net: nn.Module,
    specs: tuple[ParameterSpec, ...],
    rows: Mapping[str, Tensor],
    x: Tensor,
    together: Together,
    devices: Devices,
) -> list[Tensor]:
    """The outputs of rows in training, and the whole gradient of all parameters by them."""
    shares = Shares(specs, devices)
    parts = shares.device_tensors([rows[spec.name] for spec in specs])
    leaves = [part.clone().requires_grad_() for part in parts]
    given = {name: tensor.clone() for name, tensor in rows.items()}
    given |= {spec.name: leaf for spec, leaf in zip(specs, leaves, strict=True)}
    net.train()
    with parted(layers_with_units(net), devices):
        outputs_2BC, _ = together(net, given, x[None])
        gradients = slopes(outputs_2BC, leaves)
    flat = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
    return [outputs_2BC.detach(), shares.all_columns(flat)]


def _enter(
    units: int, devices: Devices, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    h = args[0] if args else kwargs["input"]
    return (entered(h, units, devices),), {}


def _leave(
    axis: int, units: int, devices: Devices, module: nn.Module, given: object, h: Tensor
) -> Tensor:
    return gathered(h, axis, units, devices)


def _is_plain(module: nn.Module) -> bool:
    if type(module) not in _AXES or not is_untouched(module) or getattr(module, "groups", 1) > 1:
        return False
    names = {name for name, _ in module.named_parameters()}
    trains = all(tensor.requires_grad for tensor in module.parameters())
    return names in ({"weight"}, {"weight", "bias"}) and trains


@contextmanager
def _noted(layers: Mapping[str, nn.Module], past: set[str]) -> Iterator[None]:
    """Within it, names of layers whose weights are read outside of their calls come to ``past``."""
    kinds = {name: type(module) for name, module in layers.items()}
    for name, module in layers.items():
        module.__class__ = _noting(kinds[name], name, past)
    try:
        yield
    finally:
        for name, module in layers.items():
            module.__class__ = kinds[name]


def _noting(kind: type[nn.Module], place: str, past: set[str]) -> type[nn.Module]:
    class Noting(kind):  # type: ignore[valid-type, misc]  # a class that is not known here
        is_called = False

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.is_called = True
            try:
                return super().forward(*args, **kwargs)
            finally:
                self.is_called = False

        def __getattr__(self, name: str) -> Any:
            if name in ("weight", "bias") and not self.is_called:
                past.add(place)
            return super().__getattr__(name)

    return Noting

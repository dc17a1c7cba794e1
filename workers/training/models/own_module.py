"""A user's module as a function of its tensors: built, called on one row, and on rows together.

Called by ``own``. Tensors are taken by name; what becomes of them is given beside the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.parameter import is_lazy

from workers.config.combination import ConfigError
from workers.config.own import said
from workers.training.models.own_dropout import KeyedDropout, keyed

Given = TypeVar("Given")
Tensors = dict[str, Tensor]
CLOSE = 1e-3  # relative: stacked and alone, or parts and the whole, may round otherwise
_PLACES = f".{KeyedDropout.BUFFER}"


def built(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    """A new module, in float32; lazy ones see examples of ``shape``. Raises ConfigError."""
    try:
        net = make()
    except (Exception, SystemExit) as error:
        rule = "must be built with these arguments, but that raises"
        raise ConfigError("model", f"{rule} {said(error)}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError("model", f"must be an nn.Module, but is of type {type(net).__name__}")
    net = keyed(net.float())
    if any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers())):
        attempt(lambda: net.eval()(torch.zeros(2, *shape)), shape)
    if not any(True for _ in trained(net)):
        what = type(net).__name__
        raise ConfigError("model", f"must have parameters that are trained, but {what} has none")
    if any(tensor.is_complex() for _, tensor in (*trained(net), *net.named_buffers())):
        raise ConfigError("model", "must have real numbers, but has complex ones; keep two of each")
    return net


def attempt(call: Callable[[], Given], shape: tuple[int, ...]) -> Given:
    """What ``call``, a pass of examples of ``shape``, gives. Raises ConfigError."""
    try:
        return call()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's module does
        rule = f"must take examples of shape {list(shape)}, but that raises"
        raise ConfigError("model", f"{rule} {said(error)}") from error


def is_untouched(module: nn.Module) -> bool:
    """Whether its calls are those of its class: no hooks on it, no forward of its own."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks) and "forward" not in vars(module)


def trained(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters, but those that the module itself has frozen."""
    return ((name, tensor) for name, tensor in net.named_parameters() if tensor.requires_grad)


def kept(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What is a row's own beside that: counters and indices are no numbers to average."""
    drops = {f"{name}{_PLACES}" for name, module in net.named_modules() if _is_keyed(module)}
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if not tensor.requires_grad and tensor.is_floating_point() and name not in drops:
            yield name, tensor


def passed(net: nn.Module, tensors: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensors]:
    """Outputs [B, C], and the tensors as they are then; a module may leave out a single C."""
    after = _wherever_named(net, tensors)  # functional_call puts there what the module sets anew
    found: Tensor = functional_call(net, after, (x,), tie_weights=False)
    if not isinstance(found, Tensor):
        raise TypeError(f"outputs must be a tensor, but are of type {type(found).__name__}")
    after = {name: after[name] for name in tensors}
    return found.unsqueeze(1) if found.dim() == 1 else found, after


def slopes(outputs: Tensor, leaves: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of some sum of the outputs by each of the leaves; 0 where none enters it."""
    weights = torch.linspace(-1, 1, outputs.numel(), device=outputs.device).view_as(outputs)
    return torch.autograd.grad(
        (outputs * weights).sum(), list(leaves), allow_unused=True, materialize_grads=True
    )


def check_gradients(net: nn.Module, again: nn.Module, row: Mapping[str, Tensor], x: Tensor) -> None:
    """A row must learn by the gradients that the module itself has with the row's numbers.

    ``again`` is the same module built anew, and given them. Where a part of it is computed anew on
    the way back, that is by the numbers of ``net``, for a row's are gone then. Raises ConfigError.
    """
    with torch.no_grad():
        for name, tensor in (*trained(again), *kept(again)):
            tensor.copy_(row[name])
    leaves = {name: row[name].clone().requires_grad_() for name, _ in trained(again)}
    given = {name: tensor.clone() for name, tensor in row.items()} | leaves
    found, _ = passed(net.train(), given, x)
    expected = again.train()(x).view_as(found)
    of_row, of_module = slopes(found, leaves.values()), [t for _, t in trained(again)]
    for one, other in zip(of_row, slopes(expected, of_module), strict=True):
        if not torch.allclose(one, other, rtol=CLOSE, atol=CLOSE, equal_nan=True):
            rule = "must have the gradients of a row that it is called with, but has others"
            remedy = "take torch.utils.checkpoint away, or whatever else computes it anew"
            raise ConfigError("model", f"{rule}; {remedy}")


def one_by_one(net: nn.Module, rows: Mapping[str, Tensor], x_mB: Tensor) -> tuple[Tensor, Tensors]:
    """Outputs [M, B, C] without vmap, and the rows as they are then."""
    num_rows = len(next(iter(rows.values())))
    found = [
        passed(net, {name: tensor[row] for name, tensor in rows.items()}, x_B)
        for row, x_B in enumerate(x_mB.expand(num_rows, *x_mB.shape[1:]))
    ]
    after = {name: torch.stack([row[name] for _, row in found]) for name in rows}
    return torch.stack([outputs for outputs, _ in found]), after


def stacked(net: nn.Module, rows: Mapping[str, Tensor], x_mB: Tensor) -> tuple[Tensor, Tensors]:
    """As ``one_by_one``, by vmap; all rows see the same examples where m is 1."""
    in_dims, x = ((0, None), x_mB[0]) if x_mB.shape[0] == 1 else ((0, 0), x_mB)
    found: tuple[Tensor, Tensors] = vmap(partial(passed, net), in_dims=in_dims)(dict(rows), x)
    return found


def _wherever_named(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors by all names that they have in different modules of ``net``, which share them.

    functional_call would do so too, but takes a module in two places for two, and then leaves it
    with tensors that are no parameters any more.
    """
    first = {id(t): name for name, t in (*net.named_parameters(), *net.named_buffers())}
    found = dict(tensors)
    for place, module in net.named_modules():
        for own, tensor in (*module._parameters.items(), *module._buffers.items()):
            known = first.get(id(tensor))
            if known is not None and known in tensors:
                found[f"{place}.{own}".lstrip(".")] = tensors[known]
    return found


def _is_keyed(module: nn.Module) -> bool:
    return isinstance(module, KeyedDropout)

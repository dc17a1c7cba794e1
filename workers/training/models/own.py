"""A network of the user's own: any nn.Module, its rows stacked by torch.func.vmap.

Made by ``build_model`` where ``model`` is MODULE:NAME. The module is built once for its shapes; its
tensors are then rows like those of other models, and a pass calls it on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from workers.config import TrainConfig
from workers.config.combination import ConfigError, DataShape
from workers.config.domain import Domain
from workers.config.own import OwnError, arguments, imported, said
from workers.training.models.base import BufferSpec, ParameterSpec, Pass, Pullback
from workers.training.models.own_dropout import KeyedDropout, keyed
from workers.training.models.own_layers import plain_layers

# PyTorch's shortcut for transformers in validation, a kernel that no rows can share.
torch.backends.mha.set_fastpath_enabled(False)
_TRIED = 2, 3  # examples that are passed through, to see which axes are theirs
_CLOSE = 1e-3  # relative: stacked and alone may round otherwise


class OwnModel:
    """What ``make`` builds, for examples of ``shape``; it gives [B, num_outputs].

    Rows that vmap refuses, for the reason ``refusal``, go through it one after the other. Raises
    ConfigError if the module cannot be built, or does not take or give these.
    """

    def __init__(
        self, make: Callable[[], nn.Module], shape: tuple[int, ...], num_outputs: int
    ) -> None:
        self._make, self._shape = make, shape
        self._net = keyed(_built(make))
        self._drops = {
            name: module
            for name, module in self._net.named_modules()
            if isinstance(module, KeyedDropout)
        }
        self._widest = 1
        self._look(num_outputs)
        self._plain = plain_layers(self._net)
        self.refusal = self._refusal()

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        named = dict(self._net.named_parameters())
        owners = list(dict.fromkeys(name.rpartition(".")[0] for name in named))
        return tuple(
            ParameterSpec(
                name=name,
                shape=tuple(tensor.shape),
                layer=owners.index(name.rpartition(".")[0]),
                kind="weight" if tensor.dim() > 1 else "bias" if "bias" in name else "gain",
            )
            for name, tensor in named.items()
        )

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        return tuple(
            BufferSpec(name=name, shape=tuple(tensor.shape), start=0.0)
            for name, tensor in _buffers(self._net)
        )

    @property
    def widest(self) -> int:
        return self._widest

    def fresh(self, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The tensors of a new module by name, drawn by itself from ``generator``'s next number."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            net = keyed(_built(self._make))
        return {name: tensor.detach() for name, tensor in (*net.named_parameters(), *_buffers(net))}

    def forward(self, given: Pass, x_mBF: Tensor) -> Tensor:
        if self._plain is not None:
            return self._plain.forward(self._as_plain(given), x_mBF.transpose(1, 2)).transpose(1, 2)
        net = self._net.to(x_mBF.device).train(given.training)
        # Of their own, for vmap updates copies of what does not lie densely in memory.
        buffers = {name: buffer.clone() for name, buffer in given.buffers.items()}
        rows, x = {**given.weights, **buffers}, torch.unflatten(x_mBF, 2, self._shape)
        if given.training:
            rows |= self._factors(given, x.shape[1])
        together = _one_by_one if self.refusal is not None or len(given.columns) == 1 else _stacked
        outputs_MBC = together(net, rows, x)
        if given.training:
            for name, buffer in given.buffers.items():
                buffer.copy_(buffers[name])
        return outputs_MBC

    def vjp(self, given: Pass, x_mBF: Tensor) -> tuple[Tensor, Pullback] | None:
        if self._plain is None:
            return None
        outputs_MCB, pullback = self._plain.vjp(self._as_plain(given), x_mBF.transpose(1, 2))
        return outputs_MCB.transpose(1, 2), lambda g_MBC: pullback(g_MBC.transpose(1, 2))

    def _as_plain(self, given: Pass) -> Pass:
        """By the names of our layers, which come in the same order."""
        assert self._plain is not None
        names = (spec.name for spec in self._plain.parameters)
        weights = dict(zip(names, given.weights.values(), strict=True))
        return replace(given, weights=weights, dropout=None, observe=None)

    def _factors(self, given: Pass, num_examples: int) -> dict[str, Tensor]:
        """Those of each dropout for this minibatch, by the name of its buffer."""
        factors = {}
        for layer, (name, drop) in enumerate(self._drops.items()):
            counters = (*given.moment, layer)
            place = f"{name}.{KeyedDropout.BUFFER}"
            factors[place] = drop.drawn(given.columns, counters, num_examples)
        return factors

    def _look(self, num_outputs: int) -> None:
        """Pass some examples through, to see what sizes and shapes there are on the way."""
        hooks = [m.register_forward_hook(self._saw) for m in self._net.modules()]
        try:
            with torch.no_grad():
                for self._num_examples in _TRIED:
                    x = torch.zeros(self._num_examples, *self._shape)
                    found = _outputs(self._net.train(), {}, x)
        except Exception as error:
            rule = f"must take examples of shape {list(self._shape)}, but that raises"
            raise ConfigError("model", f"{rule} {said(error)}") from error
        finally:
            for hook in hooks:
                hook.remove()
        if found.shape != (_TRIED[-1], num_outputs):
            rule = f"must give [{_TRIED[-1]}, {num_outputs}] for {_TRIED[-1]} examples"
            raise ConfigError("model", f"{rule}, but gives {list(found.shape)}")

    def _saw(self, module: nn.Module, given: tuple[object, ...], output: object) -> None:
        if isinstance(module, KeyedDropout) and isinstance(given[0], Tensor):
            module.shapes[self._num_examples] = given[0].shape
        if isinstance(output, Tensor):
            self._widest = max(self._widest, output.numel() // self._num_examples)

    def _refusal(self) -> str | None:
        """Try two rows, in training forth and back and in validation, against one alone."""
        x, rows = torch.rand(_TRIED[-1], *self._shape), self.fresh(torch.Generator())
        inside = [""]
        hooks = [
            module.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
            for name, module in self._net.named_modules()
        ]
        try:
            stacked = [self._two(rows, x, training) for training in (True, False)]
        except Exception as error:  # whatever vmap and autograd refuse
            where = f"{type(self._net.get_submodule(inside[-1])).__name__} {inside[-1]}".strip()
            return self._told(where, said(error))
        finally:
            for hook in hooks:
                hook.remove()
        for training, found in zip((True, False), stacked, strict=True):
            alone = {name: tensor.clone() for name, tensor in rows.items()}
            expected = _outputs(self._net.train(training), alone, x)
            if not torch.allclose(found[0], expected, rtol=_CLOSE, atol=_CLOSE):
                return "two rows of it, stacked, do not give what one gives alone"
        return None

    def _two(self, rows: Mapping[str, Tensor], x: Tensor, training: bool) -> Tensor:
        both = {name: torch.stack([tensor, tensor]) for name, tensor in rows.items()}
        leaves = [both[spec.name].requires_grad_() for spec in self.parameters]
        net = self._net.train(training)
        outputs_2BC: Tensor = vmap(partial(_outputs, net), in_dims=(0, None))(both, x)
        torch.autograd.grad(outputs_2BC.sum(), leaves, allow_unused=True)
        return outputs_2BC.detach()

    def _told(self, where: str, reason: str) -> str:
        if "randomness" in reason:
            rule = f"draws random numbers of its own in {where}, which no restart repeats"
            raise ConfigError("model", f"{rule}; use nn.Dropout, whose draws are keyed")
        return f"its {where} cannot be stacked ({reason})"


def own_model(config: TrainConfig, data: DataShape) -> OwnModel:
    """The model that ``config.model`` names, with its arguments."""
    shape = data.feature_shape or (data.num_features,)
    try:
        made, (domains, _) = imported(config.model), arguments(config.model)
    except OwnError as error:
        raise ConfigError("model", str(error)) from error
    return _own_model(made, _whole(config.arguments, domains), shape, data.num_outputs)


@lru_cache(maxsize=64)
def _own_model(
    made: Callable[..., nn.Module],
    given: tuple[tuple[str, Any], ...],
    shape: tuple[int, ...],
    num_outputs: int,
) -> OwnModel:
    """``given`` are its arguments: lists as tuples, which it is given as lists."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in given}
    return OwnModel(partial(made, **values), shape, num_outputs)


def _whole(
    given: tuple[tuple[str, Any], ...], domains: Mapping[str, Domain]
) -> tuple[tuple[str, Any], ...]:
    """The arguments, whole floats as integers where those are asked for: samplers give floats."""
    return tuple(
        (key, int(value) if domains[key].integer and isinstance(value, float) else value)
        for key, value in given
    )


def _built(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        net = make()
    except Exception as error:
        rule = "must be built with these arguments, but that raises"
        raise ConfigError("model", f"{rule} {said(error)}") from error
    if not isinstance(net, nn.Module) or not any(True for _ in net.parameters()):
        what = type(net).__name__
        raise ConfigError("model", f"must be an nn.Module with parameters, but is a {what}")
    return net.float()


def _buffers(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What is a row's own beside its parameters: counters and indices are no numbers to average."""
    for name, tensor in net.named_buffers():
        if tensor.is_floating_point() and not name.endswith(KeyedDropout.BUFFER):
            yield name, tensor


def _one_by_one(net: nn.Module, rows: Mapping[str, Tensor], x_mB: Tensor) -> Tensor:
    """[M, B, C] without vmap."""
    num_rows = len(next(iter(rows.values())))
    found = [
        _outputs(net, {name: tensor[row] for name, tensor in rows.items()}, x_B)
        for row, x_B in enumerate(x_mB.expand(num_rows, *x_mB.shape[1:]))
    ]
    return torch.stack(found)


def _stacked(net: nn.Module, rows: Mapping[str, Tensor], x_mB: Tensor) -> Tensor:
    """[M, B, C]; all rows see the same examples where m is 1."""
    in_dims, x = ((0, None), x_mB[0]) if x_mB.shape[0] == 1 else ((0, 0), x_mB)
    outputs_MBC: Tensor = vmap(partial(_outputs, net), in_dims=in_dims)(rows, x)
    return outputs_MBC


def _outputs(net: nn.Module, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """[B, C]; a module may leave out the axis of a single output."""
    found: Tensor = functional_call(net, dict(tensors), (x,))
    return found.unsqueeze(1) if found.dim() == 1 else found

"""A network of the user's own: any nn.Module, its rows stacked by torch.func.vmap.

Made by ``build_model`` where ``model`` is MODULE:NAME. The module is built once for its shapes; its
tensors are then rows like those of other models, and a pass calls it on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from workers.config import TrainConfig
from workers.config.combination import ConfigError, DataShape, of_layers
from workers.config.domain import Domain
from workers.config.own import OwnError, arguments, imported, said
from workers.training.models.base import BufferSpec, ParameterSpec, Pass, Pullback
from workers.training.models.own_dropout import KeyedDropout
from workers.training.models.own_layers import plain_layers
from workers.training.models.own_module import (
    CLOSE,
    attempt,
    built,
    check_gradients,
    kept,
    one_by_one,
    passed,
    stacked,
    trained,
)
from workers.training.models.own_split import layers_with_units, parted, refuses_split

# PyTorch's shortcut for transformers in validation, a kernel that no rows can share.
torch.backends.mha.set_fastpath_enabled(False)
_TRIED = 2, 3  # examples that are passed through, to see which axes are theirs


class OwnModel:
    """What ``make`` builds, for examples of ``shape``; it gives [B, num_outputs].

    Rows that vmap refuses, for the reason ``refusal``, go through it one after the other;
    ``refuses_one`` says why it cannot train on a single example, if it cannot. Raises ConfigError
    if the module cannot be built, or does not take or give these.
    """

    def __init__(
        self, make: Callable[[], nn.Module], shape: tuple[int, ...], num_outputs: int
    ) -> None:
        self._make, self._shape, self._num_outputs = make, shape, num_outputs
        self._net = built(make, shape)
        self._drops = {
            name: module
            for name, module in self._net.named_modules()
            if isinstance(module, KeyedDropout)
        }
        self._widest = 1
        self._look(num_outputs)
        self._plain = plain_layers(self._net)
        self._by_unit = layers_with_units(self._net)
        self.refusal = self._refusal()
        self.refuses_one = self._refuses_one()

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        named = dict(trained(self._net))
        owners = list(dict.fromkeys(name.rpartition(".")[0] for name in named))
        return tuple(
            ParameterSpec(
                name=name,
                shape=tuple(tensor.shape),
                layer=owners.index(name.rpartition(".")[0]),
                kind="weight" if tensor.dim() > 1 else "bias" if "bias" in name else "gain",
                by_unit=name.rpartition(".")[0] in self._by_unit,
            )
            for name, tensor in named.items()
        )

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        return tuple(
            BufferSpec(name=name, shape=tuple(tensor.shape), start=0.0)
            for name, tensor in kept(self._net)
        )

    def widest(self, device: torch.device) -> int:
        return self._widest

    def fresh(self, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The tensors of a new module by name, drawn by itself from ``generator``'s next number."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            net = built(self._make, self._shape)
        return {name: tensor.detach() for name, tensor in (*trained(net), *kept(net))}

    def forward(self, given: Pass, x_mBF: Tensor) -> Tensor:
        if self._plain is not None:
            return self._plain.forward(self._as_plain(given), x_mBF.transpose(1, 2)).transpose(1, 2)
        net = self._net.to(x_mBF.device).train(given.training)
        # Of their own, for vmap updates copies of what does not lie densely in memory.
        buffers = {name: buffer.clone() for name, buffer in given.buffers.items()}
        rows, x = {**given.weights, **buffers}, torch.unflatten(x_mBF, 2, self._shape)
        if given.training:
            rows |= self._factors(given, x.shape[1])
        together = one_by_one if self.refusal is not None or len(given.columns) == 1 else stacked
        with parted(self._by_unit, given.mesh.model):
            outputs_MBC, after = together(net, rows, x)
        if given.training:
            for name, buffer in given.buffers.items():
                buffer.copy_(after[name].detach())
        return outputs_MBC

    def vjp(self, given: Pass, x_mBF: Tensor) -> tuple[Tensor, Pullback] | None:
        if not x_mBF.shape[1]:  # all of a small minibatch is on other devices
            outputs_MBC = x_mBF.new_zeros(len(given.columns), 0, self._num_outputs)
            return outputs_MBC, lambda _: [torch.zeros_like(w) for w in given.weights.values()]
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
            factors[place] = drop.drawn(given.columns, counters, num_examples, given.portion)
        return factors

    def _look(self, num_outputs: int) -> None:
        """Pass some examples through, to see what sizes and shapes there are on the way."""
        hooks = [m.register_forward_hook(self._saw) for m in self._net.modules()]
        try:
            for self._num_examples in _TRIED:
                x = torch.zeros(self._num_examples, *self._shape)
                found, _ = self._alone({}, x, training=True)
        finally:
            for hook in hooks:
                hook.remove()
        if found.shape != (_TRIED[-1], num_outputs):
            rule = f"must give [{_TRIED[-1]}, {num_outputs}] for {_TRIED[-1]} examples"
            raise ConfigError("model", f"{rule}, but gives {list(found.shape)}")
        if not found.requires_grad:
            raise ConfigError("model", "must give outputs that its parameters change smoothly")

    def _saw(self, module: nn.Module, given: tuple[object, ...], output: object) -> None:
        if isinstance(module, KeyedDropout) and isinstance(given[0], Tensor):
            module.shapes[self._num_examples].append(given[0].shape)
        if isinstance(output, Tensor):
            self._widest = max(self._widest, output.numel() // self._num_examples)

    def _alone(
        self, row: Mapping[str, Tensor], x: Tensor, *, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What one row gives, which is left as it is, and what it has become."""
        copies = {name: tensor.clone() for name, tensor in row.items()}
        net = self._net.train(training)
        return attempt(lambda: passed(net, copies, x), self._shape)

    def _repeated(self, row: Mapping[str, Tensor], x: Tensor, *, training: bool) -> Tensor:
        """What one row gives, twice the same; ConfigError if it is not."""
        (first, one), (second, other) = (self._alone(row, x, training=training) for _ in range(2))
        pairs = [(first, second), *((one[name], other[name]) for name in row)]
        if not all(torch.allclose(a, b, equal_nan=True) for a, b in pairs):
            rule = "must give the same when it is called again with the same numbers, but does not"
            remedy = "take away what it keeps between calls or draws at random, but for nn.Dropout"
            raise ConfigError("model", f"{rule}; {remedy}")
        return first

    def _refusal(self) -> str | None:
        """Try two rows, in training forth and back and in validation, against one alone."""
        row, again = (self.fresh(torch.Generator()) for _ in range(2))
        if not all(torch.equal(row[name].nan_to_num(), again[name].nan_to_num()) for name in row):
            rule = "must draw its weights by torch's random numbers alone"
            raise ConfigError("model", f"{rule}, but two of the same torch.manual_seed differ")
        x = torch.rand(_TRIED[-1], *self._shape, generator=torch.Generator())
        inside = [""]
        hooks = [
            module.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
            for name, module in self._net.named_modules()
        ]
        refusal, found = None, []
        try:
            found = [self._two(row, x, training) for training in (True, False)]
        except Exception as error:  # whatever vmap and autograd refuse
            where = f"{type(self._net.get_submodule(inside[-1])).__name__} {inside[-1]}".strip()
            refusal = self._told(where, said(error))
        finally:
            for hook in hooks:
                hook.remove()
        expected = [self._repeated(row, x, training=training) for training in (True, False)]
        attempt(lambda: check_gradients(self._net, self._built(), row, x), self._shape)
        for (one, _), alone in zip(found, expected, strict=False):
            if not torch.allclose(one, alone, rtol=CLOSE, atol=CLOSE, equal_nan=True):
                return "two rows of it, stacked, do not give what one gives alone"
        return refusal

    def _two(self, rows: Mapping[str, Tensor], x: Tensor, training: bool) -> Tensor:
        both = {name: torch.stack([tensor, tensor]) for name, tensor in rows.items()}
        leaves = [both[spec.name].requires_grad_() for spec in self.parameters]
        net = self._net.train(training)
        outputs_2BC, _ = stacked(net, both, x[None])
        torch.autograd.grad(outputs_2BC.sum(), leaves, allow_unused=True)
        return outputs_2BC.detach()

    def _refuses_one(self) -> str | None:
        """Why it cannot be trained on a single example, as with batch normalization; else None."""
        try:
            self._alone({}, torch.zeros(1, *self._shape), training=True)
        except ConfigError as error:
            return f"model {error}"
        return None

    @cached_property
    def refuses_split(self) -> str | None:
        """Why several devices cannot part its layers; None if they can."""
        first, second = (self.fresh(torch.Generator().manual_seed(seed)) for seed in range(2))
        rows = {name: torch.stack([first[name], second[name]]) for name in first}
        x = torch.rand(_TRIED[-1], *self._shape, generator=torch.Generator())
        together = stacked if self.refusal is None else one_by_one
        return refuses_split(self._built, self.parameters, rows, x, together)

    def _built(self) -> nn.Module:
        return built(self._make, self._shape)

    def batch_norm(self) -> str | None:
        """The name and kind of a batch normalization in it; None if it has none."""
        named = self._net.named_modules()
        norms = (f"{n} ({type(m).__name__})" for n, m in named if isinstance(m, _BatchNorm))
        return next(norms, None)

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
    model = _own_model(made, _whole(config.arguments, domains), shape, data.num_outputs)
    num_layers = 1 + model.parameters[-1].layer
    for key, broken in of_layers(config, num_layers):
        raise ConfigError(key, broken)
    size = config.minibatch_size(0, data.num_train)
    if model.refuses_one is not None and 1 in (size, data.num_train % size):
        rule = f"must not leave a minibatch of one of the {data.num_train} training examples"
        raise ConfigError("batch_size", f"{rule}, but got {size}; {model.refuses_one}")
    return model


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

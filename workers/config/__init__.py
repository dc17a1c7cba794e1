"""``TrainConfig``: everything that the training stack can vary, in PyTorch's words.

A field is fixed under ``train:`` or searched under ``space:`` of a spec; ``hpsearch.spec`` reads
the domains from here, ``workers.training`` reads the values. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Self

from workers.config.domain import Domain
from workers.config.inputs import InputFields
from workers.config.learning import LossFields, OptimizerFields, RegularizationFields
from workers.config.model import ModelFields, StartFields
from workers.config.own import is_own, of_model
from workers.config.pace import PaceFields

SECTIONS = (
    ModelFields,
    StartFields,
    LossFields,
    RegularizationFields,
    OptimizerFields,
    PaceFields,
    InputFields,
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    InputFields,
    PaceFields,
    OptimizerFields,
    RegularizationFields,
    LossFields,
    StartFields,
    ModelFields,
):
    """One trial's training, complete; docs/training.md has a line on each field.

    Fields marked ``shapes`` part groups: their trials cannot be stacked. ``arguments`` are those of
    a user's own model, (name, value) by name; so do they.
    """

    arguments: tuple[tuple[str, Any], ...] = ()

    def layer_widths(self) -> tuple[int, ...]:
        """The hidden linear layers' widths, first to last."""
        if self.model == "logistic_regression" or is_own(self.model):
            return ()
        if isinstance(self.hidden_units, int):
            return (self.hidden_units,) * self.depth
        return tuple(self.hidden_units)

    def block_channels(self) -> tuple[int, ...]:
        """The channels of each convolutional block; none but for a cnn."""
        if self.model != "cnn":
            return ()
        return (self.channels,) if isinstance(self.channels, int) else self.channels

    def num_layers(self) -> int:
        """Layers with weights: convolutions, hidden linear layers, and the head."""
        convolutions = self.convs_per_block * len(self.block_channels())
        return convolutions + len(self.layer_widths()) + 1

    def layer_rates(self, num_layers: int) -> tuple[float, ...]:
        """The factor on the learning rate of each layer, first to last; 0 for a frozen one."""
        given = 1.0 if self.lr_multipliers == () else self.lr_multipliers
        rates = given if isinstance(given, tuple) else (given,) * num_layers
        return tuple(
            0.0 if layer < self.frozen_layers else rate for layer, rate in enumerate(rates)
        )

    def minibatch_size(self, epoch: int, num_train: int) -> int:
        """Examples of a minibatch in ``epoch`` (from 0): all of them for gradient_descent.

        grow_batch: the batch grows where a step schedule's rate would fall (Smith et al. 2018).
        """
        if self.optimizer == "gradient_descent":
            return num_train
        if self.lr_schedule != "grow_batch" or not 0 < self.lr_decay < 1:
            return min(num_train, self.batch_size)
        growth = -math.log(self.lr_decay) * (epoch // self.lr_step_size)  # no power overflows
        if math.log(self.batch_size) + growth >= math.log(num_train):
            return num_train
        return min(num_train, round(self.batch_size * math.exp(growth)))

    def stacking_key(self) -> tuple[Any, ...]:
        """Equal for two configurations exactly when their trials can be stacked."""
        shapes = (*_shapes(self), self.layer_widths(), self.block_channels(), self.arguments)
        return (*shapes, *self._batches())

    def _batches(self) -> tuple[Any, ...]:
        """What decides the sizes of the minibatches in all epochs."""
        if self.optimizer == "gradient_descent":
            return ("all",)
        if self.lr_schedule == "grow_batch":
            return (self.batch_size, self.lr_decay, self.lr_step_size)
        return (self.batch_size,)

    @classmethod
    def of(cls, values: Mapping[str, Any], **others: Any) -> Self:
        """From values as sampled: whole floats of integer fields become ints, lists tuples.

        ``others`` are fields of a subclass.
        """
        own = of_model(values, DOMAINS)
        ours = {name: _coerce(name, value) for name, value in values.items() if name not in own}
        arguments = ((name, _frozen(values[name])) for name in sorted(own))
        return cls(**ours, **others, arguments=tuple(arguments))


_FIELDS = tuple(f for f in fields(TrainConfig) if f.name != "arguments")
DOMAINS: dict[str, Domain] = {f.name: f.metadata["domain"] for f in _FIELDS}

# What ``stacking_key`` looks at: the shapes, and what makes batches all the data or grow.
_SHAPES = tuple(f.name for f in _FIELDS if f.metadata["shapes"])
_RESOLVED = ("hidden_units", "depth", "channels", "batch_size")
_shapes = attrgetter(*(name for name in _SHAPES if name not in _RESOLVED))
STACKING = frozenset({*_SHAPES, "optimizer", "lr_schedule", "lr_decay", "lr_step_size"})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _coerce(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_coerce(name, item) for item in value)
    domain = DOMAINS[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return int(value) if domain.integer else float(value)

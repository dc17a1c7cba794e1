"""``TrainConfig``: everything that the training stack can vary, in PyTorch's words.

A field is fixed under ``train:`` or searched under ``space:`` of a spec; ``hpsearch.spec`` reads
the domains from here, ``workers.training`` reads the values. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from workers.domain import Domain

MODELS = ("mlp",)
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity")
INITIALIZATIONS = (
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "normal",
    "zeros",
)
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw")
SCHEDULES = ("constant", "step", "exponential", "inverse_time")
PRECISIONS = ("float32", "float64")


def _named(names: tuple[str, ...], *, shapes: bool = False) -> Any:
    return field(default=names[0], metadata={"domain": Domain(names=names), "shapes": shapes})


def _real(default: float, *, shapes: bool = False, **domain: Any) -> Any:
    return field(default=default, metadata={"domain": Domain(**domain), "shapes": shapes})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One trial's training, complete. Fields marked ``shapes`` part groups: they cannot be stacked.

    ``hidden_units`` is one width, repeated ``depth`` times, or a list with a width a layer.
    ``weight_decay`` is PyTorch's coupled L2 (decoupled for adamw) and ``l1`` its L1 counterpart;
    neither touches biases. ``alpha`` is rmsprop's smoothing, ``rho`` adadelta's; ``eps`` left out
    is PyTorch's for the optimizer. ``lr_decay`` is the factor of the step and exponential schedules
    and the rate k of inverse_time, per epoch.
    """

    model: str = _named(MODELS, shapes=True)
    hidden_units: int | tuple[int, ...] = field(
        default=(50,),
        metadata={"domain": Domain(low=1, integer=True, sequence=True), "shapes": True},
    )
    depth: int = _real(1, low=0, high=64, integer=True, shapes=True)
    activation: str = _named(ACTIVATIONS, shapes=True)
    initialization: str = _named(INITIALIZATIONS)
    init_scale: float = _real(0.01, low=0)
    precision: str = _named(PRECISIONS, shapes=True)
    batch_size: int = _real(32, low=1, integer=True, shapes=True)
    optimizer: str = field(
        default="momentum", metadata={"domain": Domain(names=OPTIMIZERS), "shapes": False}
    )
    learning_rate: float = _real(1e-2, low=0, low_open=True)
    momentum: float = _real(0.9, low=0, high=1, high_open=True)
    beta1: float = _real(0.9, low=0, high=1, high_open=True)
    beta2: float = _real(0.999, low=0, high=1, high_open=True)
    alpha: float = _real(0.99, low=0, high=1, high_open=True)
    rho: float = _real(0.9, low=0, high=1)
    eps: float | None = field(
        default=None,
        metadata={"domain": Domain(low=0, low_open=True, optional=True), "shapes": False},
    )
    weight_decay: float = _real(0.0, low=0)
    l1: float = _real(0.0, low=0)
    dropout: float = _real(0.0, low=0, high=1, high_open=True)
    lr_schedule: str = _named(SCHEDULES)
    lr_decay: float = _real(0.9, low=0)
    lr_step_size: int = _real(10, low=1, integer=True)

    def layer_widths(self) -> tuple[int, ...]:
        """The hidden layers' widths, first to last."""
        if isinstance(self.hidden_units, int):
            return (self.hidden_units,) * self.depth
        return tuple(self.hidden_units)

    def stacking_key(self) -> tuple[Any, ...]:
        """Equal for two configurations exactly when their trials can be stacked."""
        names = (f.name for f in fields(self) if f.metadata["shapes"])
        others = (getattr(self, name) for name in names if name not in ("hidden_units", "depth"))
        return (*others, self.layer_widths())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From values as sampled: whole floats of integer fields become ints, lists tuples."""
        return cls(**{name: _coerce(name, value) for name, value in values.items()})


DOMAINS: dict[str, Domain] = {f.name: f.metadata["domain"] for f in fields(TrainConfig)}


def _coerce(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(int(item) for item in value)
    domain = DOMAINS[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return int(value) if domain.integer else float(value)

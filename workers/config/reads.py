"""Which trials read a field: Adam has no momentum, and a network of linear layers no kernel.

``hpsearch.spec`` refuses to search over what no trial reads; tests hold the table against what
optimizers and schedules say that they read, and against training. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """Some of the values of a field; ``words`` says which, after "is"."""

    words: str
    admits: Callable[[Any], bool]


Condition = Mapping[str, Values]  # all of these fields have one of these values
Reading = tuple[Condition, ...]  # one of these conditions holds


def one_of(*names: str | None) -> Values:
    """Any of ``names``; None, of a loss that only the data can tell, goes unsaid."""
    *others, last = [name for name in names if name]
    words = f"{', '.join(others)} or {last}" if others else last
    return Values(words=words, admits=lambda value: value in names)


GIVEN = Values(words="given", admits=lambda value: value is not None)
NOT_GIVEN = Values(words="not given", admits=lambda value: value is None)
EMPTY = Values(words="empty", admits=lambda value: value == ())
POSITIVE = Values(words="above 0", admits=lambda value: value > 0)
ONE_WIDTH = Values(words="one width", admits=lambda value: not isinstance(value, tuple))
MINIBATCHES = Values(words="not gradient_descent", admits=lambda value: value != "gradient_descent")


def optimizers(*names: str) -> Reading:
    """What these optimizers read."""
    return ({"optimizer": one_of(*names)},)


def schedules(*names: str) -> Reading:
    """What these schedules read."""
    return ({"lr_schedule": one_of(*names)},)


def _together(reading: Reading, *fields: str) -> dict[str, Reading]:
    return dict.fromkeys(fields, reading)


_DEEP = {"model": one_of("mlp", "cnn")}  # networks with hidden layers
_FRESH: Reading = ({"warm_start": NOT_GIVEN}, {"warm_start_layers": one_of("all_but_head")})
_SCALED = {"initialization": one_of("normal", "uniform", "constant")}
_ADAM = ("adam", "adamw", "adamax", "amsgrad", "nadam", "swats")

# A field that is not here is read by every trial. A condition is complete: that a slope needs an
# activation, and an activation hidden layers, is said of the slope.
READS: dict[str, Reading] = {
    **_together((_DEEP,), "hidden_units", "activation", "normalization", "dropout"),
    "depth": ({**_DEEP, "hidden_units": ONE_WIDTH},),
    **_together(
        ({"model": one_of("cnn")},),
        *("channels", "kernel_size", "convs_per_block", "pooling", "global_average_pooling"),
    ),
    "negative_slope": ({"activation": one_of("leaky_relu"), **_DEEP},),
    "norm_groups": ({"normalization": one_of("group"), **_DEEP},),
    "norm_momentum": ({"normalization": one_of("batch"), **_DEEP},),
    **_together(_FRESH, "initialization", "bias_init"),
    "init_scale": tuple({**_SCALED, **fresh} for fresh in _FRESH),
    "warm_start_layers": ({"warm_start": GIVEN},),
    "label_smoothing": ({"loss": one_of("cross_entropy", None)},),
    "hinge_margin": ({"loss": one_of("hinge", None)},),
    "huber_delta": ({"loss": one_of("huber", None)},),
    "class_weights": ({"loss": one_of("cross_entropy", "hinge", None)},),
    "decay_biases": ({"weight_decay": POSITIVE}, {"l1": POSITIVE}),
    "min_delta": ({"patience": GIVEN}, *schedules("plateau")),
    "momentum": optimizers("momentum", "averaged_momentum", "nesterov"),
    "dampening": ({"optimizer": one_of("momentum"), "momentum": POSITIVE},),
    **_together(optimizers(*_ADAM, "lion"), "beta1", "beta2"),
    "eps": optimizers("adagrad", "adadelta", "rmsprop", *_ADAM),
    **_together(optimizers("rmsprop"), "alpha", "centered", "rmsprop_momentum"),
    "rho": optimizers("adadelta"),
    "momentum_decay": optimizers("nadam"),
    **_together(optimizers("rprop"), "eta_minus", "eta_plus"),
    "gain_step": optimizers("delta_bar_delta"),
    "swats_tolerance": optimizers("swats"),
    **_together(({"optimizer": MINIBATCHES},), "batch_size", "accumulation_steps"),
    "reference_batch_size": ({"lr_scaling": one_of("linear", "sqrt")},),
    "lr_decay": schedules(
        *("step", "exponential", "natural_exponential", "inverse_time", "plateau", "grow_batch")
    ),
    "lr_step_size": (
        {"lr_schedule": one_of("step"), "lr_milestones": EMPTY},
        *schedules("halving", "grow_batch"),
    ),
    "lr_milestones": schedules("step"),
    "lr_power": schedules("power", "polynomial"),
    "lr_min": schedules("polynomial", "cosine", "cyclic", "plateau"),
    "lr_cycle_epochs": schedules("cosine", "cyclic"),
    "lr_cycle_factor": ({"lr_schedule": one_of("cosine"), "lr_cycle_epochs": GIVEN},),
    "lr_patience": schedules("plateau"),
    "schedule_epochs": (
        *schedules("polynomial", "one_cycle"),
        {"lr_schedule": one_of("cosine", "cyclic"), "lr_cycle_epochs": NOT_GIVEN},
    ),
    "hard_emphasis": ({"sampling": one_of("hard")},),
}

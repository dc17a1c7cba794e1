"""The fields of ``TrainConfig`` that say how it learns: loss, regularization, optimizer, gradient.

All numbers here are vectors over the members of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.config.declare import count, flag, listed, named, optional_name, real

LOSSES = ("cross_entropy", "hinge", "mse", "huber")
CLASS_LOSSES = ("cross_entropy", "hinge")
CLASS_WEIGHTS = ("none", "balanced")
OPTIMIZERS = (
    "momentum",
    "sgd",
    "gradient_descent",
    "averaged_momentum",
    "nesterov",
    "adagrad",
    "adadelta",
    "rmsprop",
    "adam",
    "adamw",
    "adamax",
    "amsgrad",
    "nadam",
    "rprop",
    "delta_bar_delta",
    "swats",
    "lion",
)


@dataclass(frozen=True, kw_only=True)
class LossFields:
    """What is minimized."""

    loss: str | None = optional_name(
        LOSSES, "default: cross_entropy for classes, mse for numbers", shapes=True
    )
    label_smoothing: float = real(
        0.0, "cross_entropy: the share of the target spread over all classes", low=0, high=1
    )
    hinge_margin: float = real(1.0, "hinge: the margin", low=0, low_open=True)
    huber_delta: float = real(1.0, "huber: where the parabola ends", low=0, low_open=True)
    class_weights: str = named(
        CLASS_WEIGHTS, "balanced: a class weighs N / (C n_c), so that rare ones count as much"
    )


@dataclass(frozen=True, kw_only=True)
class RegularizationFields:
    """What keeps it from overfitting."""

    weight_decay: float = real(
        0.0,
        "L2: adds weight_decay * w to the gradient; adamw and lion: w *= 1 - lr weight_decay",
        low=0,
    )
    l1: float = real(0.0, "L1: adds l1 * sign(w) to the gradient; with L2 the elastic net", low=0)
    decay_biases: bool = flag("regularize biases and normalization too")
    dropout: float = real(0.0, "of hidden units", low=0, high=1, high_open=True)
    input_dropout: float = real(0.0, "of inputs", low=0, high=1, high_open=True)
    max_norm: float | None = real(
        None,
        "the largest norm of the weights into a unit, held after each update",
        low=0,
        low_open=True,
    )
    patience: int | None = count(
        None, "early stopping: epochs without a better objective until the trial ends", low=1
    )
    min_delta: float = real(0.0, "how much better counts as better, for both patiences", low=0)


@dataclass(frozen=True, kw_only=True)
class OptimizerFields:
    """How weights move."""

    optimizer: str = named(OPTIMIZERS, "the update rule")
    learning_rate: float = real(1e-2, "the base rate", low=0, low_open=True)
    momentum: float = real(
        0.9, "momentum, averaged_momentum, nesterov", low=0, high=1, high_open=True
    )
    dampening: float = real(0.0, "momentum: b <- mu b + (1 - dampening) g", low=0, high=1)
    beta1: float = real(0.9, "adam and kin, swats, lion", low=0, high=1, high_open=True)
    beta2: float | None = real(
        None, "likewise; default 0.999, lion 0.99", low=0, high=1, high_open=True
    )
    alpha: float = real(0.99, "rmsprop: the smoothing", low=0, high=1, high_open=True)
    centered: bool = flag("rmsprop: divide by the deviation instead of the root mean square")
    rmsprop_momentum: float = real(
        0.0, "rmsprop: momentum of its steps", low=0, high=1, high_open=True
    )
    rho: float = real(0.9, "adadelta: the smoothing", low=0, high=1)
    eps: float | None = real(None, "default: PyTorch's for the optimizer", low=0, low_open=True)
    momentum_decay: float = real(4e-3, "nadam", low=0)
    eta_minus: float = real(
        0.5, "rprop: the factor when the sign turns", low=0, high=1, low_open=True, high_open=True
    )
    eta_plus: float = real(1.2, "rprop: the factor when it stays", low=1, low_open=True)
    gain_step: float = real(
        0.05, "delta_bar_delta: the beta of its gains", low=0, high=1, low_open=True, high_open=True
    )
    ema_decay: float = real(
        0.0,
        "validate with an exponential moving average of the weights; 0: with the weights",
        low=0,
        high=1,
        high_open=True,
    )
    lr_multipliers: float | tuple[float, ...] = listed(
        (), "factors on the rate, one a layer from first to last, or one for all; none: 1", low=0
    )
    gradient_clip_norm: float | None = real(
        None, "scale the gradient down to this norm, as clip_grad_norm_", low=0, low_open=True
    )
    gradient_clip_value: float | None = real(
        None, "clamp each element of the gradient, as clip_grad_value_", low=0, low_open=True
    )
    gradient_noise: float = real(
        0.0,
        "eta: Gaussian noise of variance eta / (1 + t)^0.55 at update t (Neelakantan et al. 2015)",
        low=0,
    )

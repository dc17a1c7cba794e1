"""The fields of ``TrainConfig`` that say how it learns: loss, regularization, optimizer, gradient.

All numbers here are vectors over the members of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.config.declare import count, flag, listed, named, optional_name, real

LOSSES = ("cross_entropy", "hinge", "mse", "huber")
CLASS_LOSSES = ("cross_entropy", "hinge")
CLASS_WEIGHTS = {
    "none": "1",
    "balanced": "N / (C n_c), n_c of the N training rows in class c of C (King and Zeng 2001)",
}
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
        0.0,
        "cross_entropy: the share e of the target that is spread over all classes: 1 - e + e/C for "
        "the right one, e/C for the others (Szegedy et al. 2016)",
        low=0,
        high=1,
    )
    hinge_margin: float = real(
        1.0, "hinge: by how much the right class must lead", low=0, low_open=True
    )
    huber_delta: float = real(1.0, "huber: where the parabola ends", low=0, low_open=True)
    class_weights: str = named(CLASS_WEIGHTS, "what an example of class c counts in the loss")


@dataclass(frozen=True, kw_only=True)
class RegularizationFields:
    """What keeps it from overfitting."""

    weight_decay: float = real(
        0.0,
        "L2: the gradient of weight_decay |w|^2 / 2, weight_decay w, is added (Krogh and Hertz "
        "1992); for adamw and lion decoupled: w <- (1 - lr weight_decay) w (Loshchilov and Hutter "
        "2019)",
        low=0,
    )
    l1: float = real(
        0.0,
        "L1: the gradient of l1 |w|, l1 sign(w), is added (Tibshirani 1996); with L2 the elastic "
        "net (Zou and Hastie 2005)",
        low=0,
    )
    decay_biases: bool = flag("regularize biases and normalization too")
    dropout: float = real(
        0.0,
        "of hidden units: h <- h mask / (1 - p), the mask 0 with chance p (Srivastava et al. 2014)",
        low=0,
        high=1,
        high_open=True,
    )
    input_dropout: float = real(0.0, "the same of inputs", low=0, high=1, high_open=True)
    max_norm: float | None = real(
        None,
        "weights into a unit are scaled down to this norm after each update (Srivastava et al. "
        "2014)",
        low=0,
        low_open=True,
    )
    patience: int | None = count(
        None,
        "early stopping: after so many epochs in a row without a better objective the trial ends "
        "(Prechelt 1998)",
        low=1,
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
    beta1: float = real(
        0.9,
        "adam and kin, swats, lion: the smoothing of the gradient",
        low=0,
        high=1,
        high_open=True,
    )
    beta2: float | None = real(
        None, "likewise of its square; default 0.999, lion 0.99", low=0, high=1, high_open=True
    )
    alpha: float = real(0.99, "rmsprop: the smoothing", low=0, high=1, high_open=True)
    centered: bool = flag("rmsprop: divide by the deviation instead of the root mean square")
    rmsprop_momentum: float = real(
        0.0, "rmsprop: momentum of its steps", low=0, high=1, high_open=True
    )
    rho: float = real(0.9, "adadelta: the smoothing", low=0, high=1)
    eps: float | None = real(None, "default: PyTorch's for the optimizer", low=0, low_open=True)
    momentum_decay: float = real(4e-3, "nadam: how fast its momentum grows", low=0)
    eta_minus: float = real(
        0.5, "rprop: the factor when the sign turns", low=0, high=1, low_open=True, high_open=True
    )
    eta_plus: float = real(1.2, "rprop: the factor when it stays", low=1, low_open=True)
    gain_step: float = real(
        0.05, "delta_bar_delta: the beta of its gains", low=0, high=1, low_open=True, high_open=True
    )
    swats_tolerance: float = real(
        1e-9,
        "swats: it switches when the rate it projects is as near as this to its average; with the "
        "paper's 1e-9 that hardly happens, 1e-5 is what implementations take",
        low=0,
        low_open=True,
    )
    ema_decay: float = real(
        0.0,
        "validate with the average a <- d a + (1 - d) w of the weights (Polyak and Juditsky 1992); "
        "0: with the weights",
        low=0,
        high=1,
        high_open=True,
    )
    lr_multipliers: float | tuple[float, ...] = listed(
        (),
        "factors on the rate: one for each layer from first to last, or one for all; none is 1, 0 "
        "freezes",
        low=0,
    )
    gradient_clip_norm: float | None = real(
        None,
        "the whole gradient is scaled down to this norm (Pascanu et al. 2013; clip_grad_norm_)",
        low=0,
        low_open=True,
    )
    gradient_clip_value: float | None = real(
        None,
        "each element of the gradient is clamped to this size (clip_grad_value_)",
        low=0,
        low_open=True,
    )
    gradient_noise: float = real(
        0.0,
        "eta: Gaussian noise of variance eta / (1 + t)^0.55 is added after t updates (Neelakantan "
        "et al. 2015)",
        low=0,
    )

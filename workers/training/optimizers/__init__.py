"""Optimizers over rows: each updates a matrix of weights [m, P] in place, a row a trial or fold.

Every hyperparameter is a column [m, 1], so rows with different values share the arithmetic. The
stack sorts its rows by ``variant`` and gives each variant its slice; a new optimizer is one
function and one line in ``OPTIMIZERS``. Formulas are torch.optim's where it has the rule.
"""

from __future__ import annotations

from workers.config import TrainConfig
from workers.training.optimizers.adam import adam, adamax, nadam
from workers.training.optimizers.adaptive import adadelta, adagrad, rmsprop
from workers.training.optimizers.base import Hyper, Optimizer, State, Update
from workers.training.optimizers.gradient import (
    averaged_momentum,
    dampened_momentum,
    momentum,
    nesterov,
    sgd,
)
from workers.training.optimizers.signs import delta_bar_delta, lion, rprop
from workers.training.optimizers.swats import swats

__all__ = ["OPTIMIZERS", "VARIANTS", "Hyper", "Optimizer", "State", "Update", "variant"]

_BUFFER = ("momentum_buffer",)
_MOMENTS = ("exp_avg", "exp_avg_sq")
_CORRECTIONS = ("correction1", "correction2")
_ADAM = ("beta1", "beta2", "eps")
_RMSPROP = ("alpha", "centered", "rmsprop_momentum", "eps")

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(update=sgd),
    # The rule of sgd; that its minibatch is the whole training part, the configuration says.
    "gradient_descent": Optimizer(update=sgd),
    "momentum": Optimizer(update=momentum, state=_BUFFER, reads=("momentum", "dampening")),
    "averaged_momentum": Optimizer(update=averaged_momentum, state=_BUFFER, reads=("momentum",)),
    "nesterov": Optimizer(update=nesterov, state=_BUFFER, reads=("momentum",)),
    "adagrad": Optimizer(update=adagrad, state=("sum",), eps=1e-10, reads=("eps",)),
    "adadelta": Optimizer(
        update=adadelta, state=("square_avg", "acc_delta"), eps=1e-6, reads=("rho", "eps")
    ),
    "rmsprop": Optimizer(update=rmsprop, state=("square_avg",), reads=_RMSPROP),
    "adam": Optimizer(update=adam, state=_MOMENTS, scalars=_CORRECTIONS, reads=_ADAM),
    # Loshchilov and Hutter 2019: Adam, after w <- w (1 - lr wd).
    "adamw": Optimizer(
        update=adam, state=_MOMENTS, scalars=_CORRECTIONS, decoupled=True, reads=_ADAM
    ),
    "amsgrad": Optimizer(
        update=adam, state=(*_MOMENTS, "max_exp_avg_sq"), scalars=_CORRECTIONS, reads=_ADAM
    ),
    "adamax": Optimizer(
        update=adamax, state=("exp_avg", "exp_inf"), scalars=("correction1",), reads=_ADAM
    ),
    "nadam": Optimizer(
        update=nadam,
        state=_MOMENTS,
        scalars=("correction2", "mu_decay", "mu_correction"),
        reads=(*_ADAM, "momentum_decay"),
    ),
    "rprop": Optimizer(update=rprop, state=("prev", "step_size"), reads=("eta_minus", "eta_plus")),
    "delta_bar_delta": Optimizer(
        update=delta_bar_delta, state=("gain", "last_sign"), reads=("gain_step",)
    ),
    "swats": Optimizer(
        update=swats,
        state=_MOMENTS,
        scalars=(*_CORRECTIONS, "rate_average", "sgd_rate"),
        reads=(*_ADAM, "swats_tolerance"),
    ),
    "lion": Optimizer(
        update=lion, state=("exp_avg",), beta2=0.99, decoupled=True, reads=("beta1", "beta2")
    ),
}

# What is off costs nothing: a rule with more state is a variant of its own.
VARIANTS: dict[str, Optimizer] = OPTIMIZERS | {
    "momentum dampened": Optimizer(
        update=dampened_momentum, state=_BUFFER, reads=OPTIMIZERS["momentum"].reads
    ),
    "rmsprop centered": Optimizer(update=rmsprop, state=("square_avg", "grad_avg"), reads=_RMSPROP),
    "rmsprop with momentum": Optimizer(
        update=rmsprop, state=("square_avg", "momentum_buffer"), reads=_RMSPROP
    ),
    "rmsprop centered with momentum": Optimizer(
        update=rmsprop, state=("square_avg", "grad_avg", "momentum_buffer"), reads=_RMSPROP
    ),
}


def variant(config: TrainConfig) -> str:
    """The key into ``VARIANTS`` of the rule that ``config`` asks for.

    Dampening without momentum is none, as in PyTorch, where it acts on the buffer only.
    """
    name = config.optimizer
    if name == "momentum" and config.dampening and config.momentum:
        return "momentum dampened"
    if name == "rmsprop":
        name += " centered" if config.centered else ""
        name += " with momentum" if config.rmsprop_momentum else ""
    return name

"""The loss before any training: near that of guessing, and larger with regularization.

Called by ``check`` for each network (Karpathy, "A Recipe for Training Neural Networks", 2019;
cs231n, "Babysitting the learning process").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workers.config.combination import loss_of
from workers.messages import CheckResult, Verdict
from workers.training.checks.subject import Network, Subject, undisturbed
from workers.training.loss import chance_loss
from workers.training.optimizers import VARIANTS, variant

NUM_SEEDS = 8
NUM_EXAMPLES = 256
FAR = 10.0  # times guessing: the outputs are larger than any softmax or target asks for
OUTWEIGHS = 10.0  # times the loss of the data


def initial_loss(subject: Subject) -> CheckResult:
    """The median loss over other seeds, without regularization, against that of guessing."""
    data, config = subject.data, undisturbed(subject.config)
    network = Network(subject, config, subject.seeds(NUM_SEEDS))
    loss_M = _plain_loss(subject, network)
    targets_N = data.train_targets_kN[0] if data.shape.is_regression else None
    chance = chance_loss(config, data.shape, targets_N)
    loss = loss_M.median().item()
    if not math.isfinite(loss):
        text = "is not finite; standardize the inputs, or use a smaller initialization"
        return subject.result("initial_loss", "fail", text, chance=chance)
    near = _near_chance(loss_of(config, data.shape), chance)
    verdict: Verdict = "pass" if loss <= near else "warn" if loss <= FAR * chance else "fail"
    advice = "" if verdict == "pass" else "; use a smaller initialization, or standardize inputs"
    outputs = f" (ln {data.shape.num_outputs})" if loss_of(config, data.shape) in _LN else ""
    text = f"{loss:.3f}, of guessing {chance:.3f}{outputs}; at most {near:.3f} is near{advice}"
    return subject.result("initial_loss", verdict, text, loss=loss, chance=chance, near=near)


_LN = ("cross_entropy",)


def _near_chance(loss: str, chance: float) -> float:
    """The largest loss that a good initialization has.

    Kaiming's outputs have variance 2 on standardized inputs (He et al. 2015). Independent Gaussian
    outputs of variance s2 cost a softmax at most s2 / 2 = 1 more than equal ones (Jensen), and a
    squared error s2 = 2 times the targets' variance more; a hinge 1.4 times guessing, from
    E max(0, 1 + d) with a difference d of variance 4.
    """
    if loss == "cross_entropy":
        return chance + 1.0
    return 3.0 * chance if loss in ("mse", "huber") else 2.0 * chance


def regularized_loss(subject: Subject) -> CheckResult:
    """Rises by weight_decay/2 |w|^2 + l1 |w|_1 when regularization is added."""
    config, name = subject.config, "regularized_loss"
    decoupled = VARIANTS[variant(config)].decoupled
    l2 = 0.0 if decoupled else config.weight_decay
    if not l2 and not config.l1:
        apart = f"; {config.optimizer} decays weights beside the loss" if decoupled else ""
        return subject.result(name, "skip", f"weight_decay and l1 add nothing to the loss{apart}")
    network = Network(subject, undisturbed(config), subject.seeds(1))
    loss = _plain_loss(subject, network).item()
    penalty = _penalty(subject, network, l2)
    numbers = {"loss": loss, "penalty": penalty, "weight_decay": l2, "l1": config.l1}
    text = (
        f"{loss:.4g} rises to {loss + penalty:.4g} with weight_decay {l2:.3g}, l1 {config.l1:.3g}"
    )
    if not loss + penalty > loss:
        text = f"{loss:.4g} does not rise with regularization: the penalty is {penalty:.3g}, as of "
        text += "weights that are all 0; use another initialization"
        return subject.result(name, "fail", text, **numbers)
    if penalty > OUTWEIGHS * loss:
        text += ": the penalty outweighs the data; lower weight_decay and l1"
        return subject.result(name, "warn", text, **numbers)
    return subject.result(name, "pass", text, **numbers)


def _penalty(subject: Subject, network: Network, l2: float) -> float:
    config, views = subject.config, network.stack.views("weights")
    decayed = [
        views[spec.name].double()
        for spec in network.stack.model.parameters
        if spec.kind == "weight" or config.decay_biases
    ]
    squares = sum(w.square().sum().item() for w in decayed)
    return l2 / 2 * squares + config.l1 * sum(w.abs().sum().item() for w in decayed)


@torch.no_grad()
def _plain_loss(subject: Subject, network: Network) -> Tensor:
    """[M], over some hundred training examples."""
    batch = subject.batch(subject.order()[:NUM_EXAMPLES], network.stack.dtype)
    return network.criterion().plain(network.outputs(batch), batch.y_mB).double().mean(1)

"""The loss before any training: near that of guessing, or below it after a warm start.

Called by ``check`` for each network (Karpathy, "A Recipe for Training Neural Networks", 2019;
cs231n, "Babysitting the learning process").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workers.config.combination import loss_of
from workers.config.own import is_own
from workers.messages import CheckResult, Verdict
from workers.training.checks.subject import Network, Subject, undisturbed
from workers.training.loss import chance_loss

NUM_SEEDS = 8
NUM_EXAMPLES = 256
FAR = 10.0  # times guessing: the outputs are larger than any softmax or target asks for


def initial_loss(subject: Subject) -> CheckResult:
    """The median loss over other seeds, without regularization, against that of guessing.

    A warm start that is worse than guessing only warns: what it knows too well may be unlearned.
    """
    data, config = subject.data, undisturbed(subject.config)
    network = Network(subject, config, subject.seeds(NUM_SEEDS))
    name, loss = loss_of(config, data.shape), plain_loss(subject, network).median().item()
    targets_N = data.train_targets_kN[0] if data.shape.is_regression else None
    chance = chance_loss(config, data.shape, targets_N)
    if not math.isfinite(loss):
        text = f"is not finite; scale the inputs (check inputs), or use {_cure(subject)}"
        return subject.result("initial_loss", "fail", text, **_known(chance))
    if is_own(name):
        text = f"{loss:.3f}; what guessing costs is not known of a loss of one's own"
        return subject.result("initial_loss", "pass", text, loss=loss)
    near = _near_chance(name, chance)
    verdict = _verdict(subject, loss, near, chance)
    advice = "" if verdict == "pass" else f"; use {_cure(subject)}, or smaller inputs"
    outputs = f" (ln {data.shape.num_outputs})" if name == "cross_entropy" else ""
    text = f"{loss:.3f}, of guessing {chance:.3f}{outputs}; up to {near:.3f} is fine{advice}"
    return subject.result("initial_loss", verdict, text, loss=loss, chance=chance, near=near)


def _known(chance: float) -> dict[str, float]:
    """As evidence, which JSON must hold."""
    return {"chance": chance} if math.isfinite(chance) else {}


@torch.no_grad()
def plain_loss(subject: Subject, network: Network) -> Tensor:
    """[M], over some hundred training examples."""
    batch = subject.batch(subject.order()[:NUM_EXAMPLES], network.stack.dtype)
    summed_M = network.criterion().summed(network.outputs(batch), batch.y_mB)
    return summed_M.double() / len(batch)


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


def _verdict(subject: Subject, loss: float, near: float, chance: float) -> Verdict:
    if loss <= near:
        return "pass"
    return "warn" if loss <= FAR * chance or subject.config.warm_start else "fail"


def _cure(subject: Subject) -> str:
    if subject.config.warm_start:
        return "another warm_start, or all_but_head of this one"
    return "a smaller initialization"

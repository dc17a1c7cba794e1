"""Signals through the layers at the start: do activations or gradients vanish or explode?

Called by ``check`` for each network (Glorot and Bengio 2010; He et al. 2015).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workers.messages import CheckResult, Verdict
from workers.training.checks.subject import Network, Subject, undisturbed
from workers.training.monitoring import gradient_norms

NUM_EXAMPLES = 128
# A decade between the first and the last layer: one rate no longer suits both. Three decades: the
# one stands still while the other learns.
DECADE, LOST = 10.0, 1000.0


def signal(subject: Subject) -> CheckResult:
    """Of the hidden layers, last against first: deviations of activations; first against last: the
    norms of the loss's gradient at the activations.

    The deviation is over the examples, so that a layer that puts out the same whatever it is shown
    has none; a layer's is the root mean square over its units. Norms are an example's.
    """
    seen = _seen(subject)
    deviations, norms = seen["deviations"], seen["gradients"]
    if not deviations:
        text = "has no hidden layers that could lose it"
        return subject.result("signal", "skip", text, **seen)
    if not all(math.isfinite(number) for number in (*deviations, *norms)):
        text = f"is not finite; scale the inputs (check inputs), or use another {subject.start}"
        return subject.result("signal", "fail", text)
    if not max(norms) and subject.config.warm_start:
        text = "the weights it starts from fit these examples already: they have no gradient"
        return subject.result("signal", "skip", text, **seen)
    if min(deviations) == 0 or min(norms) == 0:
        what = "activations" if min(deviations) == 0 else "gradients"
        layer = _first_zero(deviations, norms)
        text = f"{what} are 0 in layer {layer}; use another {subject.start}"
        return subject.result("signal", "fail", text, **seen)
    forward, backward = deviations[-1] / deviations[0], norms[0] / norms[-1]
    verdict, advice = _verdict(forward, backward)
    text = (
        f"activations {_shown(deviations)}, last to first {forward:.2g}; gradients "
        f"{_shown(norms)}, first to last {backward:.2g}{advice}"
    )
    return subject.result("signal", verdict, text, **seen, forward=forward, backward=backward)


def _seen(subject: Subject) -> dict[str, list[float]]:
    network = Network(subject, undisturbed(subject.config), subject.seeds(1))
    batch = subject.batch(subject.order()[:NUM_EXAMPLES], network.stack.dtype)
    hidden: list[Tensor] = []

    def watch(h: Tensor, layer: int) -> Tensor:
        hidden.append(h)
        return h

    leaves = network.stack.leaves()
    outputs_MBC = network.outputs(batch, weights=leaves, watch=watch)
    loss = network.criterion().training(outputs_MBC, batch).sum()
    found = torch.autograd.grad(loss, [*leaves.values(), *hidden], materialize_grads=True)
    flat_MP = torch.cat([gradient.flatten(1) for gradient in found[: len(leaves)]], dim=1)
    norms = gradient_norms(flat_MP, network.stack.shares)
    return {
        "deviations": [_deviation(h.detach().double()) for h in hidden],
        "gradients": [_norm(gradient.double()) for gradient in found[len(leaves) :]],
        "weight_gradients": norms["layer_gradient_norms"][0].tolist(),
    }


def _deviation(h: Tensor) -> float:
    """Over examples; root mean square over units: of [1, U, B], or of images [1, B, C, Y, X]."""
    examples = 2 if h.dim() == 3 else 1
    return h.var(examples, correction=0).mean().sqrt().item()


def _norm(gradient: Tensor) -> float:
    """Root mean square over examples of the norm of one example's gradient."""
    examples = gradient.shape[2] if gradient.dim() == 3 else gradient.shape[1]
    return (gradient.square().sum() * examples).sqrt().item()


def _verdict(forward: float, backward: float) -> tuple[Verdict, str]:
    factors = {"activations": forward, "gradients": backward}
    lost = [_what(name, factor, DECADE) for name, factor in factors.items()]
    advice = "".join(f"; {what}" for what in lost if what)
    if not advice:
        return "pass", ""
    advice += ": use Kaiming's initialization, normalization, relu, or fewer layers"
    far = max(abs(math.log(factor)) for factor in factors.values())
    return ("fail" if far > math.log(LOST) else "warn"), advice


def _what(name: str, factor: float, limit: float) -> str:
    if factor > limit:
        return f"{name} explode"
    return f"{name} vanish" if factor < 1 / limit else ""


def _first_zero(deviations: list[float], norms: list[float]) -> int:
    """Of the layers, from 1: where the signal is lost first, on its way up or down."""
    return 1 + deviations.index(0) if 0 in deviations else len(norms) - norms[::-1].index(0)


def _shown(numbers: list[float]) -> str:
    return " ".join(f"{number:.2g}" for number in numbers)

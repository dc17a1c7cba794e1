"""Gradients against finite differences: is what an update follows the slope of the loss?

Called by ``check`` for each network (cs231n, "Gradient checks"); in float64, on a small minibatch.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workers.config.combination import loss_of
from workers.config.own import is_own
from workers.messages import CheckResult, Verdict
from workers.training.checks.subject import Network, Subject, undisturbed
from workers.training.columns import Columns
from workers.training.feed import Batch
from workers.training.keyed import generator, normals
from workers.training.models.base import ParameterSpec

NUM_EXAMPLES = 12
PER_TENSOR = 30  # parameters of each tensor
# cs231n's h: the error h^2 and the rounding 1e-16 / h are both about 1e-10. Where that does not
# agree the smaller step is tried, which crosses fewer kinks: a wrong slope is wrong with both.
STEPS = 1e-5, 1e-7
# Weights are moved by this first: at their start, with biases of 0, kinks lie at the inputs' own 0.
MOVED = 0.02
MOST_NUMBERS = 2**23  # weights of all rows at once
EXACT, WRONG = 1e-5, 1e-2
# Below it, as a share of the loss, a difference of two losses is rounding alone.
NOISE = 1e-5
KINKED = ("relu", "leaky_relu", "prelu")
OUTLIERS = 0.05  # of the parameters: those whose step crosses a kink


def gradients(subject: Subject) -> CheckResult:
    """|a - n| / max(|a|, |n|) of the analytic gradient a and (L(w + h) - L(w - h)) / 2h.

    Dropout and augmentation are off. A few parameters are allowed to differ where the network or
    its loss has kinks, which a step may cross.
    """
    config = subject.config
    if config.activation == "step" and config.num_layers() > 1:
        text = "a step has no slope; its straight-through gradient is not that of the loss"
        return subject.result("gradients", "skip", text)
    network = Network(subject, replace(undisturbed(config), precision="float64"), subject.seeds(1))
    weights_MP = network.stack.weights_MP
    noise_MP = normals(network.stack.columns.seeds_M, weights_MP.shape[1])
    weights_MP.add_(noise_MP.to(weights_MP), alpha=MOVED)
    batch = subject.batch(subject.order()[:NUM_EXAMPLES], torch.float64)
    leaves = network.stack.leaves()
    loss = network.criterion().training(network.outputs(batch, weights=leaves), batch).sum()
    slopes = dict(
        zip(
            leaves,
            torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True),
            strict=True,
        )
    )
    errors = {
        spec.name: _errors(network, batch, spec, slopes[spec.name], loss.item())
        for spec in network.stack.model.parameters
    }
    return _judge(subject, errors)


def _errors(
    network: Network, batch: Batch, spec: ParameterSpec, slope: Tensor, loss: float
) -> Tensor:
    """The relative errors of some parameters of one tensor, with the better step."""
    places_K = torch.randperm(slope.numel(), generator=generator("gradients", spec.name))
    places_K = places_K[:PER_TENSOR].to(slope.device)
    analytic_K, noise = slope.flatten()[places_K], NOISE * max(1.0, loss)
    errors_K = torch.full_like(analytic_K, torch.inf)
    for step in STEPS:
        numeric_K = _differences(network, batch, spec, places_K, step)
        larger_K = torch.maximum(analytic_K.abs(), numeric_K.abs()).clamp(min=noise)
        errors_K = torch.fmin(errors_K, (analytic_K - numeric_K).abs() / larger_K)
        if bool((errors_K <= EXACT).all()):
            break
    return errors_K


def _differences(
    network: Network, batch: Batch, spec: ParameterSpec, places_K: Tensor, step: float
) -> Tensor:
    """Central differences [K], of as many parameters at a time as memory is meant for."""
    size = max(1, MOST_NUMBERS // (2 * network.stack.weights_MP.shape[1]))
    parts = (places_K[i : i + size] for i in range(0, len(places_K), size))
    return torch.cat([_difference(network, batch, spec, part_K, step) for part_K in parts])


@torch.no_grad()
def _difference(
    network: Network, batch: Batch, spec: ParameterSpec, places_K: Tensor, step: float
) -> Tensor:
    """Two rows a parameter, each with one weight moved by a step."""
    rows = torch.arange(len(places_K), device=places_K.device)
    weights = {
        name: tensor.repeat(2 * len(rows), *[1] * (tensor.dim() - 1))
        for name, tensor in network.stack.views("weights").items()
    }
    moved_MP = weights[spec.name].flatten(1)  # a view: what was repeated is contiguous
    moved_MP[rows, places_K] += step
    moved_MP[rows + len(rows), places_K] -= step
    columns = _repeated(network, 2 * len(rows))
    outputs_MBC = network.outputs(batch, weights=weights, columns=columns)
    above_K, below_K = network.criterion(columns).training(outputs_MBC, batch).chunk(2)
    return (above_K - below_K) / (2 * step)


def _repeated(network: Network, num_rows: int) -> Columns:
    columns, member = network.stack.columns, network.stack.members[0]
    return Columns(
        [member.config] * num_rows,
        [member.seed] * num_rows,
        [0] * num_rows,
        columns.device,
        columns.dtype,
    )


def _judge(subject: Subject, errors: dict[str, Tensor]) -> CheckResult:
    every, _ = torch.cat(list(errors.values())).nan_to_num(nan=torch.inf).sort(descending=True)
    allowed = int(OUTLIERS * len(every)) if _has_kinks(subject) else 0
    worst = every[allowed].item()
    outliers = int((every[:allowed] > EXACT).sum())
    largest = {name: _finite(error.max().item()) for name, error in errors.items()}
    numbers = {"checked": len(every), "outliers": outliers, "worst": _finite(worst)}
    text = f"{len(every)} parameters agree with finite differences to {worst:.1e}"
    text += f", but for {outliers} at kinks" if outliers else ""
    if worst <= EXACT:
        return subject.result("gradients", "pass", text, **numbers, largest=largest)
    where = max(errors, key=lambda name: errors[name].median().item())
    text = (
        f"differ from finite differences by up to {worst:.1e} of their size (more than "
        f"{EXACT:.0e}), most in {where}: a backward pass is wrong, or the loss is not smooth there"
    )
    verdict: Verdict = "warn" if worst <= WRONG else "fail"
    return subject.result("gradients", verdict, text, **numbers, largest=largest)


def _has_kinks(subject: Subject) -> bool:
    config = subject.config
    pools = config.model == "cnn" and config.pooling == "max"
    loss = loss_of(config, subject.data.shape)
    return config.activation in KINKED or loss == "hinge" or is_own(loss) or pools


def _finite(number: float) -> float | None:
    """As JSON knows it."""
    return number if number < float("inf") else None

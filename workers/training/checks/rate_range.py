"""The learning-rate range test: the loss while the rate grows with each step (Smith 2017).

Called by ``check`` for each probe, as each optimizer has rates of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.messages import CheckResult
from workers.training.checks.subject import Network, Subject, steady
from workers.training.schedules import batch_scaling

NUM_STEPS = 100
NUM_ROWS = 5  # of other seeds; their median is smoother than any one
LARGEST_BATCH = 512
LIMITS = (1e-7, 10.0)
LIMITS_OF = {"adadelta": (1e-4, 1e3)}  # its rate multiplies steps that have the weights' own size
SMOOTHING = 0.8
START = 12  # steps at rates so small that nothing moves: the loss there and its noise
BEGINS = 0.1  # of the whole fall: where the loss has clearly begun to fall
LOST = 0.5  # of the fall: a loss that rises again by so much has blown up
MARGIN = math.sqrt(10)  # below the blow-up a rate is stable for longer than a hundred steps
SHOWN_POINTS = 50
Numbers = npt.NDArray[np.float64]


def rate_range(subject: Subject) -> CheckResult:
    """Suggests rates from where the loss begins to fall to half a decade below the blow-up.

    Compared with the range of the space: it passes if they have half of the narrower one in common,
    a fixed rate if it is within half a decade of the suggestion.
    """
    if subject.config.optimizer == "rprop":
        text = "rprop's rate is only its first step; the steps then find their own size"
        return subject.result("rate_range", "skip", text)
    rates, losses = _curve(subject)
    scale = batch_scaling(subject.config, subject.data.num_train)
    rates = rates / scale
    evidence = {"rates": _thinned(rates[: len(losses)]), "losses": _thinned(_smoothed(losses))}
    found = suggest(rates, losses)
    if found is None:
        text = (
            f"the loss never falls clearly between {rates[0]:.0e} and {rates[-1]:.0e}, from "
            f"{losses[0]:.3g}: look at the {subject.start} and the inputs"
        )
        return subject.result("rate_range", "warn", text, **evidence)
    return _compare(subject, found, evidence)


def _curve(subject: Subject) -> tuple[Numbers, Numbers]:
    """The rates [S], and the median loss over rows up to the last step with a finite one."""
    config, data = steady(subject.config), subject.data
    network = Network(subject, config, subject.seeds(NUM_ROWS))
    size = min(config.minibatch_size(0, data.num_train), LARGEST_BATCH)
    order = subject.order()
    order = order.repeat(1 + NUM_STEPS * size // len(order))
    rates = np.geomspace(*LIMITS_OF.get(config.optimizer, LIMITS), NUM_STEPS)
    losses = []
    for step, rate in enumerate(rates):
        network.stack.set_rates(network.stack.columns.vector([rate] * NUM_ROWS))
        batch = subject.batch(order[step * size : (step + 1) * size], network.stack.dtype)
        losses.append(network.learn(batch, step))
    losses_SM = torch.stack(losses).double().nan_to_num(nan=torch.inf).cpu()
    median_S: Numbers = losses_SM.median(1).values.numpy()
    finite = np.isfinite(median_S)
    return rates, median_S if finite.all() else median_S[: int(finite.argmin())]


def suggest(rates_S: Numbers, losses_S: Numbers) -> tuple[float, float] | None:
    """The low and the high end of good rates; None where the loss never falls beyond its noise.

    ``losses_S`` may end before the rates do, where they are no longer finite.
    """
    if len(losses_S) <= START:
        return None
    smooth_S = _smoothed(losses_S)
    start, noise = float(losses_S[:START].mean()), float(losses_S[:START].std())
    least = int(smooth_S.argmin())
    fall = start - float(smooth_S[least])
    if fall <= max(2 * noise, 1e-3 * abs(start)):
        return None
    above = np.flatnonzero(smooth_S[:least] > start - max(BEGINS * fall, noise))
    begun = int(above[-1]) + 1 if len(above) else 0  # from there on it stays below
    risen = np.flatnonzero(losses_S[least:] > smooth_S[least] + LOST * fall)
    blown_up = least + int(risen[0]) if len(risen) else len(losses_S)
    high = rates_S[min(blown_up, len(rates_S) - 1)]
    if blown_up < len(rates_S):
        high = high / MARGIN
    low = min(rates_S[begun], high / MARGIN)
    return float(low), float(high)


def _compare(
    subject: Subject, found: tuple[float, float], evidence: dict[str, list[float]]
) -> CheckResult:
    low, high = found
    rate = subject.config.learning_rate
    space = subject.probe.rates or (rate / MARGIN, rate * MARGIN)
    common = math.log10(min(high, space[1]) / max(low, space[0]))
    narrower = min(math.log10(high / low), math.log10(space[1] / space[0]))
    searched = f"{space[0]:.2g} to {space[1]:.2g}" if subject.probe.rates else f"{rate:.2g}"
    text = f"the loss falls at rates from {low:.1e} to {high:.1e}; searched: {searched}"
    numbers: dict[str, Any] = {"low": low, "high": high, "space": list(space), **evidence}
    if common >= narrower / 2:
        return subject.result("rate_range", "pass", text, **numbers)
    side = "below" if space[0] * space[1] < low * high else "above"
    text += f", which lies {side}: move learning_rate towards it"
    return subject.result("rate_range", "warn", text, **numbers)


def _smoothed(losses_S: Numbers) -> Numbers:
    """An exponential moving average, corrected for its start (Kingma and Ba 2015)."""
    average, smooth = 0.0, []
    for step, loss in enumerate(losses_S, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * float(loss)
        smooth.append(average / (1 - SMOOTHING**step))
    return np.array(smooth)


def _thinned(numbers: Sequence[float] | Numbers) -> list[float]:
    step = max(1, len(numbers) // SHOWN_POINTS)
    return [float(number) for number in numbers[::step]]

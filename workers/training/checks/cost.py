"""What training will cost: the trials that fit the device together, and the time an epoch takes.

Called by ``check`` for each probe; ``hpsearch check`` makes the cost of a whole search of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.data.memory import free_bytes as free_of_machine
from workers.messages import CheckResult
from workers.training.checks.subject import Network, Subject, steady, undisturbed
from workers.training.device import UNTOLD_BYTES
from workers.training.group_training import GroupTraining
from workers.training.optimizers import VARIANTS, variant

USABLE = 0.8  # of the memory that is free: the rest is for what others do meanwhile
TIMED_STEPS = 16
MOST_TIMINGS = 5  # of the same, of which the least counts
SLOW_S = 2.0  # of so many steps: more than a person should wait for them
FEW_EXAMPLES = 64  # of the validation part, where steps are slow
# Backward, each activation is there with its gradient and with what its layer keeps of it.
COPIES_OF_ACTIVATIONS = 3
MEASURED_WIDTHS = 4, 12  # rows; what does not grow with them is no row's
EVALUATION_BYTES = 64 * 2**20  # of a chunk of the validation part, with its copies


def cost(subject: Subject) -> CheckResult:
    """The largest group that fits, and the seconds of an epoch of a group as wide as planned."""
    row_bytes = _row_bytes(subject)
    free = free_bytes(subject.data.device)
    rows = max(0, int(USABLE * free - EVALUATION_BYTES)) // row_bytes
    largest = rows // subject.data.num_folds
    numbers: dict[str, float] = {
        "bytes_per_trial": row_bytes * subject.data.num_folds,
        "free_bytes": free,
    }
    fits = f"{largest} trials fit into {_shown(USABLE * free)} of {subject.data.device.type} memory"
    if not largest:
        text = f"{fits}; a trial needs {_shown(row_bytes)}: make the network or its batch smaller"
        return subject.result("cost", "fail", text, **numbers, largest=0)
    width = min(subject.plan.width, largest)
    seconds = seconds_per_epoch(subject, width)
    numbers |= {"largest": largest, "width": width, "seconds_per_epoch": seconds}
    reading = subject.data.seconds_to_read()
    if reading > seconds:
        seconds, numbers["seconds_per_epoch"] = reading, reading
        fits = f"{fits}; most of it is reading: say data: {{loader_workers: n}} if cores are free"
    text = f"an epoch of {width} trials takes {seconds:.3g} s; {fits}"
    if width < subject.plan.width:
        text += f": say resources: {{width: {width}}}"
        return subject.result("cost", "warn", text, **numbers)
    return subject.result("cost", "pass", text, **numbers)


def seconds_per_epoch(subject: Subject, width: int) -> float:
    """A few updates of ``width`` trials and some validation, the quickest of some timings.

    Extrapolated to all examples. Augmentation and all else that the probe has on is timed too.
    """
    seconds = _extrapolated(subject, width, 1, FEW_EXAMPLES)
    if seconds * TIMED_STEPS < SLOW_S * _num_steps(subject):  # a step is too quick to time alone
        seconds = _extrapolated(subject, width, TIMED_STEPS, subject.data.num_validation)
    return seconds


def _extrapolated(subject: Subject, width: int, steps: int, num_validation: int) -> float:
    config, data = subject.config, subject.data
    steps = max(steps, config.accumulation_steps)
    size = min(data.num_train, steps * config.minibatch_size(0, data.num_train))
    some = data.only(torch.arange(size).expand(data.num_folds, -1), num_validation)
    group = subject.group([_unstopped(subject)] * width, subject.seeds(width))
    training = GroupTraining(group, some)
    updating = _least(lambda: training.train_epoch(0), data.device)
    validating = _least(training.evaluate, data.device)
    validated = data.num_validation / some.num_validation
    return updating * data.num_train / size + validating * validated


def _num_steps(subject: Subject) -> int:
    num_train = subject.data.num_train
    return -(-num_train // subject.config.minibatch_size(0, num_train))


def free_bytes(device: torch.device) -> int:
    """What the device has left, what PyTorch keeps in reserve included."""
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    return free_of_machine() or UNTOLD_BYTES


def _row_bytes(subject: Subject) -> int:
    """Of one row of a stack in training: measured where the device counts, else counted here."""
    if subject.data.device.type == "cuda":
        few, many = (_peak_bytes(subject, width) for width in MEASURED_WIDTHS)
        return max(1, (many - few) // (MEASURED_WIDTHS[1] - MEASURED_WIDTHS[0]))
    return counted_row_bytes(subject)


def counted_row_bytes(subject: Subject) -> int:
    """Weights, their gradient twice (by tensor, and as a row), the optimizer's state, activations.

    ``Update.accumulate`` makes a row of the tensors' gradients.
    """
    config, data = subject.config, subject.data
    network = Network(subject, config, subject.seeds(1))
    average = config.ema_decay > 0
    matrices = 3 + len(VARIANTS[variant(config)].state) + average
    batch = config.minibatch_size(0, data.num_train)
    own_inputs = data.num_folds > 1 or undisturbed(config) != config
    activations = COPIES_OF_ACTIVATIONS * _num_activations(subject, network)
    inputs = data.shape.num_features if own_inputs else 0
    numbers = matrices * network.stack.weights_MP.shape[1] + batch * (activations + inputs)
    return numbers * network.stack.weights_MP.element_size()


@torch.no_grad()
def _num_activations(subject: Subject, network: Network) -> int:
    """Numbers that one example has in all layers, the outputs included."""
    hidden: list[int] = []

    def watch(h: Tensor, layer: int) -> Tensor:
        hidden.append(h.numel())
        return h

    batch = subject.batch(subject.order()[:2], network.stack.dtype)
    outputs_MBC = network.outputs(batch, watch=watch)
    return (sum(hidden) + outputs_MBC.numel()) // len(batch)


def _peak_bytes(subject: Subject, width: int) -> int:
    """The most that a GPU held during two updates of ``width`` rows."""
    device, config = subject.data.device, steady(subject.config)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    network = Network(subject, config, subject.seeds(width))
    size = config.minibatch_size(0, subject.data.num_train)
    for step in range(2):
        network.learn(subject.batch(subject.order()[:size], network.stack.dtype), step)
    return torch.cuda.max_memory_allocated(device) - before


def _unstopped(subject: Subject) -> TrainConfig:
    return replace(subject.config, patience=None, warm_start=None)


def _least(what: Callable[[], object], device: torch.device) -> float:
    """The least of some seconds: the first warms up, and others may be disturbed, never helped."""
    seconds = [_timed(what, device) for _ in range(2)]
    while len(seconds) < MOST_TIMINGS and sum(seconds) < SLOW_S:
        seconds.append(_timed(what, device))
    return min(seconds)


def _timed(what: Callable[[], object], device: torch.device) -> float:
    """Seconds, until the device is done too."""
    _wait(device)
    started = time.perf_counter()
    what()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _shown(num_bytes: float) -> str:
    """In GiB, or MiB where that says more."""
    gib = num_bytes / 2**30
    return f"{gib:.1f} GiB" if gib >= 1 else f"{1024 * gib:.3g} MiB"

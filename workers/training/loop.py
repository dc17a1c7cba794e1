"""The training loop: one group of M members from its start epoch to its end epoch, a Report each.

``train`` is all that actors and the in-process executor call; it reads top to bottom.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from workers.messages import Report, TrialGroup
from workers.training import checkpoints, divergence
from workers.training.keyed import keep_mask
from workers.training.loss import cross_entropy, is_correct
from workers.training.models import Dropout, build_model
from workers.training.stack import Stack
from workers.training.tensors import DeviceData

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_EVALUATION_NUMBERS = 4 * 2**20  # in the widest layer at once: stays near the cache, bounds memory


def train(group: TrialGroup, data: DeviceData) -> Iterator[Report]:
    """Train ``group`` on ``data`` and yield a Report after every epoch.

    Ends early when no member is left. Raises whatever a member's configuration makes PyTorch or the
    checkpoint raise: the coordinator then parts the group until the member is found.
    """
    stack = build_stack(group, data)
    for epoch in range(group.start_epoch, group.end_epoch):
        started = time.perf_counter()
        metrics = train_epoch(stack, data, group.order_seed, epoch)
        metrics |= evaluate(stack, data)
        report = close_epoch(stack, metrics, epoch + 1, data.num_classes)
        file = group.due_checkpoint(epoch + 1)
        if file is not None and stack.members:
            checkpoints.write(stack, file, epoch + 1)
            report = replace(report, checkpoint=file)
        yield replace(report, seconds=time.perf_counter() - started)
        if not stack.members:
            return


def build_stack(group: TrialGroup, data: DeviceData) -> Stack:
    """The group's members stacked: new ones drawn from their keys, or read from checkpoints."""
    config = group.members[0].config
    model = build_model(config, data.num_features, data.num_classes)
    stack = Stack(model, group.members, data.device, DTYPES[config.precision])
    if group.start_epoch == 0:
        stack.initialize()
    else:
        checkpoints.read(stack, group.start_epoch)
    return stack


def train_epoch(stack: Stack, data: DeviceData, order_seed: int, epoch: int) -> dict[str, Tensor]:
    """One pass over the training part; mean loss and accuracy over it as it went, [M] each."""
    rates_M = stack.set_learning_rates(epoch)
    leaves = stack.leaves()
    totals_2M = torch.zeros(2, len(stack.members), device=stack.device, dtype=torch.float64)
    batches = data.minibatches(order_seed, epoch, _batch_size(stack), stack.dtype)
    for step, (x_BF, y_B) in enumerate(batches):
        logits_MBC = stack.model.forward(leaves, x_BF, _dropout(stack, epoch, step))
        loss_M = cross_entropy(logits_MBC, y_B)
        stack.update(torch.autograd.grad(loss_M.sum(), list(leaves.values())))
        totals_2M[0] += loss_M.detach() * len(y_B)
        totals_2M[1] += is_correct(logits_MBC.detach(), y_B).sum(1)
    loss_M, accuracy_M = totals_2M / data.num_train
    return {"train_loss": loss_M, "train_accuracy": accuracy_M, "learning_rate": rates_M}


@torch.no_grad()
def evaluate(stack: Stack, data: DeviceData) -> dict[str, Tensor]:
    """Mean loss and accuracy on the validation part, [M] each."""
    leaves = stack.leaves()
    totals_2M = torch.zeros(2, len(stack.members), device=stack.device, dtype=torch.float64)
    chunk = max(1, _EVALUATION_NUMBERS // (len(stack.members) * stack.model.widest))
    for x_BF, y_B in data.validation(chunk, stack.dtype):
        logits_MBC = stack.model.forward(leaves, x_BF, None)
        totals_2M[0] += cross_entropy(logits_MBC, y_B).double() * len(y_B)
        totals_2M[1] += is_correct(logits_MBC, y_B).sum(1)
    loss_M, accuracy_M = totals_2M / data.num_validation
    return {"val_loss": loss_M, "val_accuracy": accuracy_M}


def _batch_size(stack: Stack) -> int:
    return stack.members[0].config.batch_size


def _dropout(stack: Stack, epoch: int, step: int) -> Dropout | None:
    """Inverted dropout with each member's own rate, keyed by (member, epoch, step, layer)."""
    if not stack.any_dropout:
        return None
    scale_M11 = (1 / (1 - stack.dropout_M))[:, None, None]

    def drop(h_MHB: Tensor, layer: int) -> Tensor:
        count = h_MHB[0].numel()
        mask = keep_mask(stack.seeds_M, stack.dropout_M, count, epoch, step, layer)
        return h_MHB * mask.view_as(h_MHB) * scale_M11

    return drop


def close_epoch(stack: Stack, metrics: dict[str, Tensor], epoch: int, num_classes: int) -> Report:
    """Read the epoch's results from the device, once; drop the members that diverged."""
    states_M = divergence.watch(stack, metrics["train_loss"], metrics["val_loss"], num_classes)
    columns = [states_M.double(), *(metrics[name].to(stack.device) for name in metrics)]
    states, *values = torch.stack(columns).tolist()  # the epoch's one synchronization
    rows = [dict(zip(metrics, row, strict=True)) for row in zip(*values, strict=True)]
    ended = tuple(
        divergence.describe(member.trial, epoch, int(state), row, num_classes)
        for member, state, row in zip(stack.members, states, rows, strict=True)
        if state
    )
    kept = [row for row, state in enumerate(states) if not state]
    if ended:
        stack.select(kept)
    return Report(
        epoch=epoch,
        trials=tuple(member.trial for member in stack.members),
        metrics={name: [rows[row][name] for row in kept] for name in metrics},
        seconds=0.0,
        diverged=ended,
    )

"""The training loop: one group of trials from its start epoch to its end epoch, a Report each.

``train`` is all that actors and the in-process executor call; it reads top to bottom.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch

from workers.config.combination import ConfigError, check_combination
from workers.config.own import is_own
from workers.messages import Member, Refusal, Report, TrialGroup
from workers.training import checkpoints
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.kept import KeptCheckpoints
from workers.training.models import build_model
from workers.training.parallel import ONE, Mesh
from workers.training.parallel.limits import check_parts
from workers.training.precision import check_precision, matrix_products
from workers.training.reporting import close_epoch


def train(
    group: TrialGroup,
    data: DeviceData,
    kept: KeptCheckpoints | None = None,
    mesh: Mesh = ONE,
) -> Iterator[Report]:
    """Train ``group`` on ``data`` and yield a Report after every epoch.

    ``kept`` are the checkpoints that this worker has in memory: those that it writes are put there.
    Of several devices each calls this, with a ``kept`` of None; number 0 writes checkpoints.
    Members that cannot be trained as they are configured are refused in a Report of their own.
    Ends early when no member is left. Raises whatever a member's configuration makes PyTorch or the
    checkpoint raise: the coordinator then parts the group until the member is found.
    """
    able, refused = part_refused(group.members, data, mesh)
    if refused:
        yield _told(group, refused)
    if able:
        with matrix_products(able[0].config.precision):
            yield from _begun(replace(group, members=able), data, kept, mesh)


def _begun(
    group: TrialGroup, data: DeviceData, kept: KeptCheckpoints | None, mesh: Mesh
) -> Iterator[Report]:
    """As ``_train``; begun anew without what is kept if that leaves too little memory at first."""
    reports = _train(group, data, kept, mesh)
    try:
        first = list(islice(reports, 1))
    except torch.OutOfMemoryError:
        if kept is None or not kept.num_bytes:
            raise
        kept.clear()
        first, reports = [], iter(())
    if not first:  # past the except clause, whose error held on to the first attempt's memory
        reports = _train(group, data, kept, mesh)
    yield from first
    yield from reports


def _train(
    group: TrialGroup, data: DeviceData, kept: KeptCheckpoints | None, mesh: Mesh
) -> Iterator[Report]:
    try:
        training = GroupTraining(group, data, kept, mesh)
    except ConfigError as error:  # of what all members have in common
        yield _told(group, tuple(_refusal(member, error) for member in group.members))
        return
    stack, note = training.stack, _note(group, training)
    if training.refused:
        yield _told(group, training.refused)
    if not stack.members:
        return
    for epoch in range(group.start_epoch, group.end_epoch):
        started = time.perf_counter()
        metrics = training.train_epoch(epoch) | training.evaluate()
        report = close_epoch(stack, group, metrics, epoch + 1, training.unmeasured)
        if group.measures and epoch == group.start_epoch:
            report = replace(report, speeds=training.speeds, width=training.width)
        if epoch == group.start_epoch and note:
            report = replace(report, note=note)
        file = group.due_checkpoint(epoch + 1, ends_early=bool(report.stopped))
        if file is not None and stack.members:
            checkpoints.write(stack, file, epoch + 1, kept)
            report = replace(report, checkpoint=file)
        stack.drop(report.stopped)
        yield replace(report, seconds=time.perf_counter() - started)
        if not stack.members:
            return


def _note(group: TrialGroup, training: GroupTraining) -> str:
    """What of the user's own cannot be stacked, and what that means; what devices part of layers.

    Nothing if all can be stacked, and layers are not parted.
    """
    config, own_loss = group.members[0].config, training.own_loss
    model, loss = training.stack.model.refusal, None if own_loss is None else own_loss.refusal
    told = (
        (f"model {config.model}", model, "its trials go one after the other"),
        (f"loss {config.loss}", loss, "it is computed row by row"),
    )
    notes = [f"{what}: {why}; {ends}" for what, why, ends in told if why is not None]
    shares = training.stack.shares
    if not shares.is_all:
        notes.append(f"{training.stack.mesh.model.num} devices part {shares}")
    return "; ".join(notes)


def _told(group: TrialGroup, refused: tuple[Refusal, ...]) -> Report:
    epoch = group.start_epoch + 1
    return Report(epoch=epoch, trials=(), metrics={}, seconds=0.0, refused=refused)


def part_refused(
    members: tuple[Member, ...], data: DeviceData, mesh: Mesh = ONE
) -> tuple[tuple[Member, ...], tuple[Refusal, ...]]:
    """Those whose configuration can be trained on this data and devices, and the others."""
    able, refused = [], []
    for member in members:
        try:
            check_combination(member.config, data.shape)
            if is_own(member.config.model) or mesh.whole.num > 1:
                model = build_model(member.config, data.shape)
                check_parts(member.config, model, data, mesh)
            check_precision(member.config.precision, data.device)
            able.append(member)
        except ConfigError as error:
            refused.append(_refusal(member, error))
    return tuple(able), tuple(refused)


def _refusal(member: Member, error: ConfigError) -> Refusal:
    return Refusal(trial=member.trial, message=f"{error.key} {error}")

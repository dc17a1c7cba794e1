"""GroupTraining: one group on one device, an epoch of training and one of validation at a time.

Driven by ``loop.train``. Nothing here waits for the device: metrics stay on it until the epoch's
end.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.combination import loss_of
from workers.messages import Refusal, TrialGroup
from workers.training import checkpoints
from workers.training.dropout import drop_inputs, hidden_dropout
from workers.training.feed import Batch, DeviceData, Feed
from workers.training.loss import Criterion, chance_loss
from workers.training.models import build_model
from workers.training.models.activations import ACTIVATIONS
from workers.training.models.base import Pass
from workers.training.monitoring import UnitWatch, watched_step
from workers.training.precision import autocast, dtype_of
from workers.training.schedules import rates
from workers.training.scores import Scores
from workers.training.stack import Stack
from workers.training.warm_start import warm_start

# Numbers in the widest layer of a validation at once: on a CPU it stays near the cache, on a GPU
# there are few launches, and its memory is bounded.
_EVALUATED_AT_ONCE = {"cpu": 4 * 2**20, "cuda": 64 * 2**20}


class GroupTraining:
    """A group's stack and what it is fed. Epochs and steps count from 0.

    New members are drawn from their keys, or take weights from a warm start; those that cannot are
    ``refused`` and not in the stack. Others go on from their checkpoints.
    """

    def __init__(self, group: TrialGroup, data: DeviceData) -> None:
        self.data, self._feed = data, Feed(data, group.order_seed)
        self._config = group.members[0].config  # for what all members have in common
        self._total_epochs = group.total_epochs
        self.stack = _new_stack(group, data)
        self.refused: tuple[Refusal, ...] = ()
        if group.start_epoch == 0:
            self.stack.initialize()
            self.refused = warm_start(self.stack)
        else:
            checkpoints.read(self.stack, group.start_epoch)

    def train_epoch(self, epoch: int) -> dict[str, Tensor]:
        """One pass over the training part: scores as it went and what was seen, [M] each.

        Where the last minibatches do not fill an update, they make a smaller one.
        """
        stack, scores = self.stack, self._scores(detailed=False)
        num_steps, size = (
            self._feed.num_steps(stack.columns, epoch),
            self._config.accumulation_steps,
        )
        rates_SM = self._rates(epoch, num_steps)
        criterion, watched = self._criterion(), self._watched_step(epoch)
        seen: dict[str, Tensor] = {}
        for step, batch in enumerate(self._minibatches(epoch)):
            if step < len(rates_SM) and step % size == 0:
                stack.set_rates(rates_SM[step])
            outputs_MBC, loss_M = self._learn(batch, criterion, epoch, step)
            scores.add(outputs_MBC, batch.y_mB, loss_M * len(batch))
            if (step + 1) % size == 0 or step + 1 == num_steps:
                seen |= stack.update(watched=step == watched)
        return scores.metrics("train") | seen | {"learning_rate": stack.rates_M}

    @torch.no_grad()
    def evaluate(self) -> dict[str, Tensor]:
        """Scores on the validation part and the state of the hidden units, [M] each."""
        stack, scores = self.stack, self._scores(detailed=True)
        criterion, weights = self._criterion(), stack.evaluated()
        units = UnitWatch(ACTIVATIONS[self._config.activation], len(stack), stack.device)
        at_once = _EVALUATED_AT_ONCE[stack.device.type]
        chunk = max(1, at_once // (len(stack) * stack.model.widest))
        for x_mBF, y_mB in self._feed.validation(stack.columns, chunk, stack.dtype):
            given = Pass(
                weights=weights,
                buffers=stack.buffers,
                columns=stack.columns,
                training=False,
                observe=units.observe if units.is_open else None,
            )
            outputs_MBC = self._forward(x_mBF, given)
            scores.add(outputs_MBC, y_mB, criterion.plain(outputs_MBC, y_mB).sum(1))
        target_scale_M = self.data.target_scale_k[stack.columns.folds_M]
        return scores.metrics("val", target_scale_M) | units.metrics()

    def _learn(
        self, batch: Batch, criterion: Criterion, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Add a minibatch's gradients to the stack's; its outputs [M, B, C] and mean losses [M]."""
        stack, columns = self.stack, self.stack.columns
        leaves = stack.leaves()
        given = Pass(
            weights=leaves,
            buffers=stack.buffers,
            columns=columns,
            training=True,
            dropout=hidden_dropout(columns, epoch, step),
        )
        outputs_MBC = self._forward(drop_inputs(batch.x_mBF, columns, epoch, step), given)
        loss_M = criterion.training(outputs_MBC, batch)
        stack.accumulate(torch.autograd.grad(loss_M.sum(), list(leaves.values())), len(batch))
        self._remember(batch, outputs_MBC.detach(), criterion)
        return outputs_MBC.detach(), loss_M.detach()

    def _remember(self, batch: Batch, outputs_MBC: Tensor, criterion: Criterion) -> None:
        """Each example's loss, for the sampling of hard ones."""
        losses_MN = self.stack.rows.get("example_losses")
        if losses_MN is not None:
            each_MB = criterion.plain(outputs_MBC, batch.y_mB).to(losses_MN)
            # An example may come twice, under two masks: which one stays must not be chance.
            index_MB = batch.index_mB.expand_as(each_MB)
            losses_MN.scatter_reduce_(1, index_MB, each_MB, "amax", include_self=False)

    def _forward(self, x_mBF: Tensor, given: Pass) -> Tensor:
        with autocast(self._config.precision, self.stack.device):
            outputs_MBC = self.stack.model.forward(given, x_mBF)
        return outputs_MBC.to(self.stack.dtype)

    def _minibatches(self, epoch: int) -> Iterator[Batch]:
        stack = self.stack
        losses_MN = stack.rows.get("example_losses")
        return self._feed.minibatches(stack.columns, epoch, stack.dtype, losses_MN)

    def _rates(self, epoch: int, num_steps: int) -> Tensor:
        """[S, M]: the rates of each step, or of all of them if none changes within the epoch."""
        configs, num_train = self.stack.columns.configs, self.data.num_train
        table_SM = rates(configs, epoch, num_steps, num_train, self._total_epochs(epoch))
        return torch.from_numpy(table_SM).to(self.stack.device)

    def _watched_step(self, epoch: int) -> int:
        minibatch = self._config.minibatch_size(epoch, self.data.num_train)
        return watched_step(self.data.num_train, minibatch, self._config.accumulation_steps)

    def _criterion(self) -> Criterion:
        loss = loss_of(self._config, self.data.shape)
        return Criterion(loss, self.stack.columns, self.data.class_counts_kC)

    def _scores(self, *, detailed: bool) -> Scores:
        return Scores(len(self.stack), self.data.shape, self.stack.device, detailed=detailed)


def _new_stack(group: TrialGroup, data: DeviceData) -> Stack:
    """The group's members stacked, all numbers blank."""
    config = group.members[0].config
    model, dtype = build_model(config, data.shape), dtype_of(config.precision)
    stack = Stack(model, group.members, data.device, dtype, data.num_folds)
    stack.rows["chance"] = _chances(stack, data)
    if config.sampling == "hard":
        stack.keep_example_losses(data.num_train)
    return stack


def _chances(stack: Stack, data: DeviceData) -> Tensor:
    """Each row's loss of guessing, [M] float64."""
    targets_N = data.train_targets_kN[0] if data.shape.is_regression else None
    configs = [member.config for member in stack.members]
    # Most rows have equal numbers, and those of huber take a search.
    different = {_guessed(config): config for config in configs}
    known = {key: chance_loss(c, data.shape, targets_N) for key, c in different.items()}
    chances = [known[_guessed(config)] for config in stack.columns.configs]
    return stack.columns.vector(chances, torch.float64)


def _guessed(config: TrainConfig) -> tuple[float, float]:
    return config.hinge_margin, config.huber_delta

"""BlockEpoch: one block of rows on its way through one epoch of training, step by step.

Made by ``group_training`` for each of its blocks. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from workers.training.block import Block
from workers.training.dropout import drop_inputs, hidden_dropout
from workers.training.feed import Batch, Feed
from workers.training.gradients import value_and_grad
from workers.training.keyed import Counter
from workers.training.loss import Criterion
from workers.training.models.base import Pass
from workers.training.parallel import Portion
from workers.training.recording import Recording, are_alike, can_record
from workers.training.scores import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What all rows of a group have in common in one epoch of training. Steps count from 0.

    ``number`` counts from 0. An update takes the gradients of ``update_size`` minibatches, and
    monitoring sees that of step ``watched``. ``rates_SM`` are the rates of each step, or of all if
    none changes within the epoch; ``losses_MN`` the last loss of each example as the epoch began,
    for the sampling that asks for it.
    """

    number: int
    num_steps: int
    update_size: int
    watched: int
    rates_SM: Tensor
    losses_MN: Tensor | None

    def of(self, run: slice) -> Epoch:
        """The same for a run of the rows."""
        losses_MN = None if self.losses_MN is None else self.losses_MN[run]
        return replace(self, rates_SM=self.rates_SM[:, run], losses_MN=losses_MN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What an epoch's training has shown of some rows so far: scores, and what was seen [M, ...].

    ``num_steps`` have been taken.
    """

    scores: Scores
    seen: dict[str, Tensor]
    num_steps: int = 0

    def of(self, run: slice) -> Tally:
        """That of a run of the rows, to go on from; the whole is not to be used any more."""
        return replace(
            self,
            scores=self.scores.of(run),
            seen={name: value_M[run] for name, value_M in self.seen.items()},
        )

    @staticmethod
    def joined(parts: Sequence[Tally]) -> Tally:
        """Those of all rows of ``parts``, in order, which have taken the same number of steps."""
        names = parts[0].seen
        return Tally(
            scores=Scores.joined([part.scores for part in parts]),
            seen={name: torch.cat([part.seen[name] for part in parts]) for name in names},
            num_steps=parts[0].num_steps,
        )

    def metrics(self) -> dict[str, Tensor]:
        """The training's part of a Report, [M] or [M, L] each."""
        return self.scores.metrics("train") | self.seen


class BlockEpoch:
    """Takes the steps of ``epoch`` that come after those of ``tally``, as many as it is told."""

    def __init__(
        self, block: Block, epoch: Epoch, feed: Feed, criterion: Criterion, tally: Tally
    ) -> None:
        self._block, self._epoch, self._criterion = block, epoch, criterion
        self._scores, self._seen, self._step = tally.scores, dict(tally.seen), tally.num_steps
        self._can_record = epoch.update_size == 1 and can_record(block)
        self._last: Batch | None = None
        self._minibatches = feed.minibatches(
            block.columns, epoch.number, block.dtype, epoch.losses_MN, start=self._step
        )
        if len(epoch.rates_SM) == 1:
            block.set_rates(epoch.rates_SM[0])

    def train(self, num_steps: int) -> None:
        """The next steps. Where the epoch's last ones do not fill an update, it is smaller."""
        for batch in islice(self._minibatches, num_steps):
            self._train_step(batch)

    def tally(self) -> Tally:
        """What has been seen so far."""
        seen = self._seen | {"learning_rate": self._block.rates_M}
        return Tally(scores=self._scores, seen=seen, num_steps=self._step)

    def _train_step(self, batch: Batch) -> None:
        block, epoch, step = self._block, self._epoch, self._step
        self._step += 1
        if step < len(epoch.rates_SM) and step % epoch.update_size == 0:
            block.set_rates(epoch.rates_SM[step])
        if self._can_record and step != epoch.watched and self._is_repeated(batch):
            self._repeat(batch, step)
            return
        self._last = batch
        self._learn(batch, epoch.number, step)
        if self._step % epoch.update_size == 0 or self._step == epoch.num_steps:
            self._seen |= block.update(watched=step == epoch.watched)

    def _is_repeated(self, batch: Batch) -> bool:
        """Whether a step of this epoch was taken on a minibatch like it, and not recorded."""
        return self._last is not None and are_alike(self._last, batch)

    def _repeat(self, batch: Batch, step: int) -> None:
        """Replay the step that was recorded of the block; record it if there is none yet."""
        block, recording = self._block, self._block.recording
        if recording is None or not recording.is_of(batch):
            recording = Recording(batch, self._scores, self._take, kept=self._criterion)
            block.recording = recording
        else:
            self._scores = recording.scores.going_on_from(self._scores)
            self._scores.count += len(batch)
            block.updates += 1
        recording.replay(batch, self._epoch.number, step)

    def _take(self, batch: Batch, moment: Tensor) -> None:
        """A whole step, with nothing in it that differs from one to the next on the host."""
        self._learn(batch, moment)
        self._block.update()

    def _learn(self, batch: Batch, *moment: Counter) -> None:
        """Add a minibatch's gradients to the block's, and what it shows to the scores."""
        block, columns = self._block, self._block.columns
        given = Pass(
            weights=block.weights,
            buffers=block.buffers,
            columns=columns,
            training=True,
            moment=moment,
            dropout=hidden_dropout(columns, *moment, portion=batch.portion),
            portion=batch.portion,
            mesh=block.mesh,
        )
        x_mBF = drop_inputs(batch.x_mBF, columns, *moment, portion=batch.portion)
        outputs_MBC, loss_M, gradients = value_and_grad(
            block.model, given, x_mBF, batch, self._criterion, block.precision
        )
        block.accumulate(gradients, batch.num_whole)
        self._remember(batch, outputs_MBC)
        self._scores.add(outputs_MBC, batch.y_mB, loss_M * batch.num_whole)

    def _remember(self, batch: Batch, outputs_MBC: Tensor) -> None:
        """Each example's loss, for the sampling of hard ones."""
        losses_MN = self._block.rows.get("example_losses")
        if losses_MN is not None:
            each_MB = self._criterion.plain(outputs_MBC, batch.y_mB).to(losses_MN)
            if batch.portion is not None:
                each_MB = self._of_whole(each_MB, batch.portion)
            # An example may come twice, under two masks: which one stays must not be chance.
            index_MB = batch.index_mN.expand_as(each_MB)
            losses_MN.scatter_reduce_(1, index_MB, each_MB, "amax", include_self=False)

    def _of_whole(self, each_MB: Tensor, portion: Portion) -> Tensor:
        """Numbers of the whole minibatch's examples, of which each device has its own."""
        each_MN = each_MB.new_zeros(len(each_MB), portion.num)
        portion.of(each_MN, 1).copy_(each_MB)
        self._block.mesh.data.add_up(each_MN)
        return each_MN

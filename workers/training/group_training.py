"""GroupTraining: one group on one device, an epoch of training and one of validation at a time.

Driven by ``loop.train``. Nothing here waits for the device, but in the steps that measure: metrics
stay on it until the epoch's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.messages import Refusal, Speed, TrialGroup
from workers.training import checkpoints, widths
from workers.training.block import Block
from workers.training.block_epoch import BlockEpoch, Epoch, Tally
from workers.training.block_validation import BlockValidation
from workers.training.criterion import criterion_of
from workers.training.feed import DeviceData, Feed
from workers.training.kept import KeptCheckpoints
from workers.training.loss import Criterion, chance_loss
from workers.training.models import build_model
from workers.training.models.activations import ACTIVATIONS
from workers.training.monitoring import UnitWatch, watched_step
from workers.training.own_loss import own_loss
from workers.training.own_metrics import OwnMetrics
from workers.training.parallel import ONE, Mesh
from workers.training.precision import dtype_of
from workers.training.schedules import rates
from workers.training.scores import Scores
from workers.training.stack import Stack
from workers.training.warm_start import warm_start

# Numbers in the widest layer of a validation at once: near a CPU's cache; of a GPU's memory a part
# that a layer may well take (in bytes a sixty-fourth, of float32), so that there are few launches.
_NEAR_THE_CACHE = 4 * 2**20
_PART_OF_A_GPU = 256


class GroupTraining:
    """A group's stack and what it is fed. Epochs and steps count from 0.

    New members are drawn from their keys, or take weights from a warm start; those that cannot are
    ``refused`` and not in the stack. Others go on from their checkpoints. At most ``width`` rows
    are trained at once; a group that measures fills in ``speeds`` and ``width`` in its first epoch.
    ``unmeasured`` says, after each validation, for which trials a metric of the user's own failed.
    Each device of ``mesh`` has its part of the stack and of what it is fed. Raises ConfigError for
    a loss or a metric that is none.
    """

    def __init__(
        self,
        group: TrialGroup,
        data: DeviceData,
        kept: KeptCheckpoints | None = None,
        mesh: Mesh = ONE,
    ) -> None:
        self.data, self._mesh = data, mesh
        self._feed = Feed(data, group.order_seed, mesh.data)
        self._config = group.members[0].config  # for what all members have in common
        self._total_epochs = group.total_epochs
        self.width, self._is_to_measure = group.width, group.measures
        self.speeds: tuple[Speed, ...] = ()
        self.unmeasured: dict[int, str] = {}
        self.stack = _new_stack(group, data, mesh)
        self.own_loss = own_loss(self._config, data, self.stack.model)
        self._own_metrics = OwnMetrics(dict(group.own_metrics), data)
        self.refused: tuple[Refusal, ...] = ()
        if group.start_epoch == 0:
            self.stack.initialize()
            self.refused = warm_start(self.stack)
        else:
            checkpoints.read(self.stack, group.start_epoch, kept)

    def train_epoch(self, epoch: int) -> dict[str, Tensor]:
        """One pass over the training part: scores as it went and what was seen, [M] each."""
        given = self._epoch(epoch)
        tally = Tally(scores=self._scores(len(self.stack), detailed=False), seen={})
        if self._is_to_measure:
            tally = self._measure(given, tally)
        tally = self._train(given, tally)
        tally.scores.add_up(self._mesh.data)
        return tally.metrics()

    @torch.no_grad()
    def evaluate(self) -> dict[str, Tensor]:
        """Scores on the validation part and the state of the hidden units, [M] each."""
        self.unmeasured = {}
        blocks = self.stack.blocks(self.width)
        chunk = min(self._chunk(block) for _, block in blocks)
        validations: Iterable[BlockValidation] = (self._validation(b, chunk) for _, b in blocks)
        if self.data.is_streamed:
            validations = _in_step(validations)
        ends = []
        for (run, _), validation in zip(blocks, validations, strict=True):
            ends.append(validation.metrics())
            self._tell_unmeasured(run, validation.failed)
        return _joined(ends)

    @torch.no_grad()
    def confusion(self) -> Tensor:
        """How many validation examples of a class were taken for which: [M, true, guessed]."""
        size = self.data.shape.num_outputs
        counts = []
        for _, block in self.stack.blocks(self.width):
            count_MK = torch.zeros(len(block), size * size, dtype=torch.int64, device=block.device)
            for outputs_MBC, y_mB in self._validation(block, self._chunk(block)).outputs():
                place_MB = y_mB * size + outputs_MBC.argmax(2)
                count_MK.scatter_add_(1, place_MB, torch.ones_like(place_MB))
            counts.append(count_MK.view(-1, size, size))
        return torch.cat(counts)

    def _train(self, epoch: Epoch, tally: Tally) -> Tally:
        """The rest of the epoch, block after block."""
        left = epoch.num_steps - tally.num_steps
        if not left:
            return tally
        blocks = self.stack.blocks(self.width)
        epochs = (self._block_epoch(block, run, epoch, tally) for run, block in blocks)
        if self.data.is_streamed:  # each minibatch is read once, for all blocks
            ends = _trained_in_step(list(epochs), left)
        else:
            ends = [_trained(rows, left) for rows in epochs]
        self.stack.updates = blocks[0][1].updates
        return Tally.joined(ends)

    def _measure(self, epoch: Epoch, tally: Tally) -> Tally:
        """The epoch's first steps in blocks of ascending widths, each timed; then the width is set.

        No step is taken twice and none is lost: what follows goes on from here. Rows that no width
        had room for take the same steps untimed.
        """
        steps = widths.num_measured(epoch.num_steps, epoch.update_size)
        gauge, speeds, ends = widths.Gauge(self.data.device), [], []
        most = self._fitting(epoch)
        tried = widths.ascending(len(self.stack), most)
        with self._feed.read_ahead(self.stack.columns, epoch.number, steps):
            for run in tried:
                block = self.stack.block(run)
                rows = self._block_epoch(block, run, epoch, tally)
                speeds.append(gauge.speed(len(block), rows.train, steps, epoch.update_size))
                ends.append(rows.tally())
            for run in widths.remaining(len(self.stack), tried[-1].stop, most):
                rows = self._block_epoch(self.stack.block(run), run, epoch, tally)
                ends.append(_trained(rows, steps))
        self.stack.updates = block.updates
        self.speeds, self._is_to_measure = self._agreed(speeds), False
        self.width = self.width or widths.chosen(self.speeds, len(self.stack), most)
        return Tally.joined(ends)

    def _agreed(self, speeds: Sequence[Speed]) -> tuple[Speed, ...]:
        """As device 0 measured them: clocks differ, and all must go on with one width."""
        if self._mesh.whole.num == 1:
            return tuple(speeds)
        table = [[speed.seconds, float(speed.bytes)] for speed in speeds]
        measured = torch.tensor(table, dtype=torch.float64, device=self.data.device)
        told = self._mesh.whole.agreed(measured)
        return tuple(
            replace(speed, seconds=seconds, bytes=int(size))
            for speed, (seconds, size) in zip(speeds, told.tolist(), strict=True)
        )

    def _fitting(self, epoch: Epoch) -> int:
        """The most rows that are measured at once: by shapes, and what memory the stack leaves."""
        stack, num_train = self.stack, self.data.num_train
        left = self.data.memory_bytes - sum(tensor.nbytes for tensor in stack.rows.values())
        minibatch = self._config.minibatch_size(epoch.number, num_train)
        examples = -(-min(minibatch, num_train) // self._mesh.data.num)
        most = widths.fitting(stack.model, examples, stack.dtype.itemsize, left, stack.device)
        return int(self._mesh.whole.agreed(torch.tensor(most, device=stack.device)))

    def _block_epoch(self, block: Block, run: slice, epoch: Epoch, tally: Tally) -> BlockEpoch:
        return BlockEpoch(block, epoch.of(run), self._feed, self._criterion(block), tally.of(run))

    def _validation(self, block: Block, chunk: int) -> BlockValidation:
        return BlockValidation(
            block,
            self._feed.validation(block.columns, chunk, block.dtype),
            self._criterion(block),
            self._scores(len(block), detailed=True),
            UnitWatch(
                ACTIVATIONS[self._config.activation], len(block), block.device, self._mesh.data
            ),
            self.data.target_scale_k[block.columns.folds_M],
            self._own_metrics,
        )

    def _tell_unmeasured(self, run: slice, failed: Mapping[int, str]) -> None:
        for row, message in failed.items():
            place = (run.start + row) // self.stack.num_folds
            self.unmeasured.setdefault(self.stack.members[place].trial, message)

    def _chunk(self, block: Block) -> int:
        """How many examples are validated at once."""
        is_gpu = block.device.type == "cuda"
        numbers = self.data.memory_bytes // _PART_OF_A_GPU if is_gpu else _NEAR_THE_CACHE
        return max(1, numbers // (len(block) * block.model.widest(block.device)))

    def _epoch(self, epoch: int) -> Epoch:
        stack, config, num_train = self.stack, self._config, self.data.num_train
        num_steps, minibatch = (
            self._feed.num_steps(stack.columns, epoch),
            config.minibatch_size(epoch, num_train),
        )
        table_SM = rates(
            stack.columns.configs, epoch, num_steps, num_train, self._total_epochs(epoch)
        )
        return Epoch(
            number=epoch,
            num_steps=num_steps,
            update_size=config.accumulation_steps,
            watched=watched_step(num_train, minibatch, config.accumulation_steps),
            rates_SM=torch.from_numpy(table_SM).to(stack.device),
            losses_MN=self._losses_so_far(),
        )

    def _losses_so_far(self) -> Tensor | None:
        """The last loss of each example [M, N], for the sampling of hard ones."""
        losses_MN = self.stack.rows.get("example_losses")
        # The steps that measure change them, and the others go on with the same order.
        return losses_MN.clone() if losses_MN is not None and self._is_to_measure else losses_MN

    def _criterion(self, block: Block) -> Criterion:
        return criterion_of(self._config, self.data, block.columns, self.own_loss)

    def _scores(self, num_rows: int, *, detailed: bool) -> Scores:
        return Scores(num_rows, self.data.shape, self.data.device, detailed=detailed)


def _trained(rows: BlockEpoch, num_steps: int) -> Tally:
    """What is seen of a block's rows after so many steps more."""
    rows.train(num_steps)
    return rows.tally()


def _trained_in_step(blocks: Sequence[BlockEpoch], num_steps: int) -> list[Tally]:
    """The same of several, which take each step before any takes the next."""
    for _ in range(num_steps):
        for rows in blocks:
            rows.train(1)
    return [rows.tally() for rows in blocks]


def _in_step(validations: Iterable[BlockValidation]) -> list[BlockValidation]:
    """Those of all blocks at an end, each of them having seen a chunk before any saw the next."""
    together = list(validations)
    while all([validation.see() for validation in together]):
        pass
    return together


def _joined(blocks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The metrics of all rows, from those of each block."""
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def _new_stack(group: TrialGroup, data: DeviceData, mesh: Mesh) -> Stack:
    """The group's members stacked, all numbers blank."""
    config = group.members[0].config
    model, dtype = build_model(config, data.shape), dtype_of(config.precision)
    stack = Stack(model, group.members, data.device, dtype, data.num_folds, mesh)
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

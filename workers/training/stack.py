"""Stack: M rows of one model, with all that belongs to a row: weights, buffers, optimizer state.

A row is one trial, or one fold of it, so that compacting, checkpointing and resuming are
operations on rows. Driven by ``loop``, which reads top to bottom; ``update`` changes the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf

import torch
from torch import Tensor

from workers.messages import Member
from workers.training import stopping
from workers.training.block import Block
from workers.training.columns import Columns
from workers.training.initialization import initialize_row
from workers.training.keyed import generator
from workers.training.models import Model
from workers.training.optimizers import VARIANTS, variant
from workers.training.parallel import ONE, Mesh
from workers.training.shares import Shares, columns_of
from workers.training.widths import split


class Stack(Block):
    """The members of a group, each with ``num_folds`` rows that lie together: a block of them all.

    Members are ordered by optimizer, so that each optimizer updates one slice of rows. ``rows``
    holds everything that belongs to a row: ``weights`` [M, P], ``buffers`` [M, Q], the optimizers'
    ``slot.0``, ... [M, P] and ``scalar.0``, ... [M, 1], and what other parts keep from one epoch to
    the next, such as ``chance`` [M], the loss of guessing.
    """

    _blocks: dict[int | None, list[tuple[slice, Block]]]

    def __init__(
        self,
        model: Model,
        members: Sequence[Member],
        device: torch.device,
        dtype: torch.dtype,
        num_folds: int = 1,
        mesh: Mesh = ONE,
    ) -> None:
        self.num_folds = num_folds
        self.members = sorted(members, key=lambda member: variant(member.config))
        columns = self._columns(device, dtype)
        num_parameters = Shares(model.parameters, mesh.model).slices[-1].stop
        super().__init__(model, _blank_rows(model, columns, num_parameters), columns, mesh=mesh)

    def initialize(self) -> None:
        """Draw every row's weights from its trial's key, on the CPU so that all devices agree."""
        for spec in self._buffer_specs:
            self.buffers[spec.name].fill_(spec.start)
        for place, member in enumerate(self.members):
            keyed, rows = generator(member.seed, "initialization"), self.rows_of(place)
            fresh = self.model.fresh(keyed)
            if fresh is None:
                drawn = initialize_row(self.model.parameters, member.config, keyed, self.dtype)
            else:
                drawn = [fresh[spec.name] for spec in self.parameters]
                for spec in self._buffer_specs:
                    self.buffers[spec.name][rows] = fresh[spec.name].to(self.buffers[spec.name])
            flat = torch.cat([tensor.flatten() for tensor in self.shares.device_tensors(drawn)])
            self.weights_MP[rows] = flat.to(self.weights_MP)

    def rows_of(self, place: int) -> slice:
        """The rows of the member at ``place``."""
        return slice(place * self.num_folds, (place + 1) * self.num_folds)

    def needs(self, member: Member) -> set[str]:
        """The rows that ``member`` cannot go on without."""
        rule = VARIANTS[variant(member.config)]
        state = {f"slot.{i}" for i in range(len(rule.state))}
        state |= {f"scalar.{i}" for i in range(len(rule.scalars))}
        averages = {"average"} if member.config.ema_decay else set()
        buffers = {"buffers"} if self._buffer_specs else set()
        return {"weights", *state, *averages, *buffers}

    def keep_example_losses(self, num_train: int) -> None:
        """Make room for the last loss of each training example [M, N], for sampling by them."""
        self.rows["example_losses"] = torch.zeros(len(self), num_train, device=self.device)

    def blocks(self, width: int | None) -> list[tuple[slice, Block]]:
        """The rows in blocks of at most ``width``, each with its run: the same until rows change.

        Blocks count their updates on their own; the caller tells the stack.
        """
        runs = split(len(self), width)
        if len(runs) == 1:
            return [(runs[0], self)]  # not kept: a stack that refers to itself outlives its group
        if width not in self._blocks:
            self._blocks = {width: [(run, self.block(run)) for run in runs]}
        return self._blocks[width]

    def block(self, run: slice) -> Block:
        """These rows alone, with the updates that the stack has had."""
        rows = {name: tensor[run] for name, tensor in self.rows.items()}
        return Block(self.model, rows, self.columns.of(run), self.updates, self.mesh)

    def all_rows(self) -> dict[str, Tensor]:
        """The rows by name, with the columns that other devices have of them."""
        is_parted = self._has_columns
        return {
            name: self.shares.all_columns(tensor) if is_parted(name) else tensor
            for name, tensor in self.rows.items()
        }

    def device_columns(self, name: str, whole: Tensor) -> Tensor:
        """What this device has of rows ``name``, of which ``whole`` has all columns."""
        return self.shares.device_columns(whole) if self._has_columns(name) else whole

    def _has_columns(self, name: str) -> bool:
        """Whether the rows ``name`` have a number for each parameter."""
        return name in ("weights", "average") or name.startswith("slot.")

    def drop(self, trials: Collection[int]) -> None:
        """Drop the members of these trials: they cost nothing afterwards."""
        if trials:
            kept = [i for i, member in enumerate(self.members) if member.trial not in trials]
            self.select(kept)

    def select(self, kept: Sequence[int]) -> None:
        """Keep only the members at these places (ascending)."""
        rows = [row for place in kept for row in range(len(self))[self.rows_of(place)]]
        self.members = [self.members[place] for place in kept]
        selected = {name: tensor[rows] for name, tensor in self.rows.items()}
        self._arrange(selected, self._columns(self.device, self.dtype))

    def _arrange(self, rows: dict[str, Tensor], columns: Columns) -> None:
        super()._arrange(rows, columns)
        self._blocks = {}

    def _columns(self, device: torch.device, dtype: torch.dtype) -> Columns:
        """The vectors of the members' hyperparameters, a number a row."""
        configs = [member.config for member in self.members for _ in range(self.num_folds)]
        seeds = [member.seed for member in self.members for _ in range(self.num_folds)]
        folds = list(range(self.num_folds)) * len(self.members)
        return Columns(configs, seeds, folds, device, dtype)


def _blank_rows(model: Model, columns: Columns, num_parameters: int) -> dict[str, Tensor]:
    buffer_slices = columns_of(model.buffers)
    rules = [VARIANTS[name] for name in sorted({variant(config) for config in columns.configs})]
    matrices = ["weights", *(f"slot.{i}" for i in range(max(len(r.state) for r in rules)))]
    if columns.active("ema_decay") is not None:
        matrices.append("average")
    blank = {name: _zeros(columns, num_parameters, dtype=columns.dtype) for name in matrices}
    for i in range(max(len(rule.scalars) for rule in rules)):
        blank[f"scalar.{i}"] = _zeros(columns, 1)
    if buffer_slices:
        blank["buffers"] = _zeros(columns, buffer_slices[-1].stop, dtype=columns.dtype)
    blank["last_loss"] = _zeros(columns) + inf
    blank["strikes"] = _zeros(columns, dtype=torch.int64)
    return blank | stopping.blank_rows(columns)


def _zeros(columns: Columns, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(len(columns), *shape, dtype=dtype, device=columns.device)

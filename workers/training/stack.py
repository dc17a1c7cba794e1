"""Stack: M rows of one model, with all that belongs to a row: weights, buffers, optimizer state.

A row is one trial, or one fold of it, so that compacting, checkpointing and resuming are
operations on rows. Driven by ``loop``, which reads top to bottom; ``update`` changes the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, pairwise
from math import inf, prod

import torch
from torch import Tensor

from workers.messages import Member
from workers.training import stopping
from workers.training.columns import Columns
from workers.training.initialization import initialize_row
from workers.training.keyed import generator
from workers.training.models import Model
from workers.training.models.base import BufferSpec, ParameterSpec
from workers.training.optimizers import VARIANTS, variant
from workers.training.update import Update


class Stack:
    """The members of a group, each with ``num_folds`` rows that lie together.

    Members are ordered by optimizer, so that each optimizer updates one slice of rows. ``rows``
    holds everything that belongs to a row: ``weights`` [M, P], ``buffers`` [M, Q], the optimizers'
    ``slot.0``, ... [M, P] and ``scalar.0``, ... [M, 1], and what other parts keep from one epoch to
    the next, such as ``chance`` [M], the loss of guessing. ``updates`` counts those that the rows
    have had.
    """

    def __init__(
        self,
        model: Model,
        members: Sequence[Member],
        device: torch.device,
        dtype: torch.dtype,
        num_folds: int = 1,
    ) -> None:
        self.model, self.num_folds = model, num_folds
        self.parameters, self._buffer_specs = model.parameters, model.buffers  # made on each access
        self.members = sorted(members, key=lambda member: variant(member.config))
        self.device, self.dtype = device, dtype
        self.updates = 0
        self.slices = _slices(self.parameters)
        self._buffer_slices = _slices(self._buffer_specs)
        self._lay_out()
        self.rows = self._blank_rows()
        self._arrange()

    def __len__(self) -> int:
        return len(self.members) * self.num_folds

    @property
    def weights_MP(self) -> Tensor:
        return self.rows["weights"]

    def initialize(self) -> None:
        """Draw every row's weights from its trial's key, on the CPU so that all devices agree."""
        for place, member in enumerate(self.members):
            keyed = generator(member.seed, "initialization")
            drawn = initialize_row(self.parameters, member.config, keyed, self.dtype)
            flat = torch.cat([tensor.flatten() for tensor in drawn])
            self.weights_MP[self.rows_of(place)] = flat.to(self.device)
        for spec, columns in zip(self._buffer_specs, self._buffer_slices, strict=True):
            self.rows["buffers"][:, columns] = spec.start

    def rows_of(self, place: int) -> slice:
        """The rows of the member at ``place``."""
        return slice(place * self.num_folds, (place + 1) * self.num_folds)

    def leaves(self) -> dict[str, Tensor]:
        """The parameters by name, [M, *shape]: views into the weights that take gradients."""
        return {name: view.detach().requires_grad_() for name, view in self._weights.items()}

    def evaluated(self) -> dict[str, Tensor]:
        """The parameters that validation uses: their moving average in the rows that keep one."""
        return self.views("average" if "average" in self.rows else "weights")

    def needs(self, member: Member) -> set[str]:
        """The rows that ``member`` cannot go on without."""
        rule = VARIANTS[variant(member.config)]
        state = {f"slot.{i}" for i in range(len(rule.state))}
        state |= {f"scalar.{i}" for i in range(len(rule.scalars))}
        averages = {"average"} if member.config.ema_decay else set()
        buffers = {"buffers"} if self._buffer_specs else set()
        return {"weights", *state, *averages, *buffers}

    def views(self, name: str) -> dict[str, Tensor]:
        """The parameters' parts [M, *shape] of a matrix [M, P] among the rows."""
        matrix = self.rows[name]
        return {
            spec.name: matrix[:, columns].view(-1, *spec.shape)
            for spec, columns in zip(self.parameters, self.slices, strict=True)
        }

    def set_rates(self, rates_M: Tensor) -> None:
        """Learning rates [M] for the updates to come, before what plateau takes off them."""
        factor_M = self.rows.get("lr_factor")
        self.rates_M = rates_M if factor_M is None else rates_M * factor_M
        self.rates_M1.copy_(self.rates_M.unsqueeze(1))

    def accumulate(self, gradients: Iterable[Tensor], num_examples: int) -> None:
        """Take in the gradients of one minibatch's mean loss, one tensor [M, *shape] each."""
        self._update.accumulate(gradients, num_examples)

    def update(self, *, watched: bool = False) -> dict[str, Tensor]:
        """One step of every optimizer on what was accumulated; what was seen of it if watched."""
        self.updates += 1
        return self._update.apply(self.updates, watched=watched)

    def keep_example_losses(self, num_train: int) -> None:
        """Make room for the last loss of each training example [M, N], for sampling by them."""
        self.rows["example_losses"] = torch.zeros(len(self), num_train, device=self.device)

    def drop(self, trials: Collection[int]) -> None:
        """Drop the members of these trials: they cost nothing afterwards."""
        if trials:
            kept = [i for i, member in enumerate(self.members) if member.trial not in trials]
            self.select(kept)

    def select(self, kept: Sequence[int]) -> None:
        """Keep only the members at these places (ascending)."""
        rows = [row for place in kept for row in range(len(self))[self.rows_of(place)]]
        self.members = [self.members[place] for place in kept]
        self.rows = {name: tensor[rows] for name, tensor in self.rows.items()}
        self._lay_out()
        self._arrange()

    def _lay_out(self) -> None:
        """What follows from the members: the vectors of their hyperparameters."""
        configs = [member.config for member in self.members for _ in range(self.num_folds)]
        seeds = [member.seed for member in self.members for _ in range(self.num_folds)]
        folds = list(range(self.num_folds)) * len(self.members)
        self.columns = Columns(configs, seeds, folds, self.device, self.dtype)

    def _arrange(self) -> None:
        """What follows from the rows: the views into them, which every step works on.

        ``buffers`` are the model's by name, [M, *shape]; it updates them in place.
        """
        self._weights = self.views("weights")
        self.buffers = {
            spec.name: self.rows["buffers"][:, columns].view(-1, *spec.shape)
            for spec, columns in zip(self._buffer_specs, self._buffer_slices, strict=True)
        }
        self.rates_M = self.columns.number("learning_rate", dtype=torch.float64)
        self.rates_M1 = self.rates_M.unsqueeze(1).to(self.dtype, copy=True)
        self._update = Update(self.rows, self.columns, self.parameters, self.slices, self.rates_M1)

    def _blank_rows(self) -> dict[str, Tensor]:
        num_rows, num_parameters = len(self), self.slices[-1].stop
        rules = [VARIANTS[variant(member.config)] for member in self.members]
        matrices = ["weights", *(f"slot.{i}" for i in range(max(len(r.state) for r in rules)))]
        if self.columns.active("ema_decay") is not None:
            matrices.append("average")
        blank = {
            name: torch.zeros(num_rows, num_parameters, dtype=self.dtype, device=self.device)
            for name in matrices
        }
        for i in range(max(len(rule.scalars) for rule in rules)):
            blank[f"scalar.{i}"] = self._numbers(num_rows, 1)
        if self._buffer_slices:
            blank["buffers"] = self._numbers(num_rows, self._buffer_slices[-1].stop).to(self.dtype)
        blank["last_loss"] = self._numbers(num_rows) + inf
        blank["strikes"] = self._numbers(num_rows).long()
        return blank | stopping.blank_rows(self.columns)

    def _numbers(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)


def _slices(specs: Sequence[ParameterSpec] | Sequence[BufferSpec]) -> list[slice]:
    """The columns of each tensor in a row that holds them one after the other."""
    sizes = [prod(spec.shape) for spec in specs]
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]

"""Stack: M members' weights as one matrix [M, P], with their optimizers' state and hyperparameters.

A row is a member, so that updating, compacting and checkpointing are operations on rows. Members
are ordered by optimizer; each optimizer updates its own slice of rows. Driven by ``loop``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from math import inf, prod

import torch
from torch import Tensor

from workers.messages import Member
from workers.training.initialization import initialize
from workers.training.keyed import generator
from workers.training.models import Model
from workers.training.optimizers import OPTIMIZERS, Hyper, Optimizer, State
from workers.training.schedules import learning_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The slice of rows that one optimizer updates; tensors are views into the stack's."""

    optimizer: Optimizer
    weights: Tensor
    gradient: Tensor
    state: State
    hyper: Hyper
    weight_decay: Tensor
    l1: Tensor


class Stack:
    """M members of one model, their optimizers, and the number of updates that they have had.

    ``rows`` holds everything that belongs to a member, one row each: its ``weights`` [M, P], up to
    two ``slot`` tensors [M, P] of optimizer state, and the divergence watch's ``last_loss`` and
    ``strikes`` [M].
    """

    def __init__(
        self, model: Model, members: Sequence[Member], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.members = sorted(members, key=lambda member: member.config.optimizer)
        self.device, self.dtype = device, dtype
        self.step = 0
        sizes = [prod(spec.shape) for spec in model.parameters]
        self.columns = [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]
        self.rows = self._blank_rows(sum(sizes))
        self._arrange()

    @property
    def weights_MP(self) -> Tensor:
        return self.rows["weights"]

    def initialize(self) -> None:
        """Draw every member's weights from its own key, on the CPU so that all devices agree."""
        for row, member in enumerate(self.members):
            keyed = generator(member.seed, "initialization")
            for spec, columns in zip(self.model.parameters, self.columns, strict=True):
                if not spec.is_bias:
                    weight = torch.empty(spec.shape, dtype=self.dtype)
                    initialize(weight, member.config, keyed)
                    self.weights_MP[row, columns] = weight.flatten().to(self.device)

    def leaves(self) -> dict[str, Tensor]:
        """The parameters by name, [M, *shape]: views into the weights that take gradients."""
        return {
            spec.name: self.weights_MP[:, columns].view(-1, *spec.shape).detach().requires_grad_()
            for spec, columns in zip(self.model.parameters, self.columns, strict=True)
        }

    def set_learning_rates(self, epoch: int) -> Tensor:
        """Set and give the members' rates [M] in ``epoch`` (from 0), each by its own schedule."""
        rates = [learning_rate(member.config, epoch) for member in self.members]
        self.lr_M1.copy_(torch.tensor(rates, dtype=torch.float64).unsqueeze(1))
        return torch.tensor(rates, dtype=torch.float64)

    @torch.no_grad()
    def update(self, gradients: Iterable[Tensor]) -> None:
        """One step of every optimizer on ``gradients``, one tensor [M, *shape] a parameter."""
        torch.cat([gradient.flatten(1) for gradient in gradients], dim=1, out=self.gradient_MP)
        self.step += 1
        for part in self.parts:
            self._regularize(part)
            part.optimizer.update(part.weights, part.gradient, part.state, part.hyper, self.step)

    def select(self, kept: Sequence[int]) -> None:
        """Keep only these rows (ascending): members that ended cost nothing afterwards."""
        self.members = [self.members[row] for row in kept]
        self.rows = {name: tensor[list(kept)] for name, tensor in self.rows.items()}
        self._arrange()

    def _regularize(self, part: Part) -> None:
        for columns in self._weight_columns:
            weights, gradient = part.weights[:, columns], part.gradient[:, columns]
            if self._any_l1:
                gradient.addcmul_(weights.sign(), part.l1)
            if self._any_decay and part.optimizer.decoupled:
                weights.mul_(1 - part.hyper.lr * part.weight_decay)
            elif self._any_decay:
                gradient.addcmul_(weights, part.weight_decay)

    def _blank_rows(self, num_parameters: int) -> dict[str, Tensor]:
        num_members = len(self.members)
        used = (OPTIMIZERS[member.config.optimizer].state for member in self.members)
        matrices = ["weights", *(f"slot.{i}" for i in range(max(map(len, used))))]
        return {
            **{
                name: torch.zeros(num_members, num_parameters, dtype=self.dtype, device=self.device)
                for name in matrices
            },
            "last_loss": torch.full((num_members,), inf, dtype=torch.float64, device=self.device),
            "strikes": torch.zeros(num_members, dtype=torch.int64, device=self.device),
        }

    def _arrange(self) -> None:
        """Lay out what follows from the members: seeds, hyperparameters, gradient, parts."""
        self.gradient_MP = torch.empty_like(self.weights_MP)
        seeds = [member.seed for member in self.members]
        self.seeds_M = torch.tensor(seeds, dtype=torch.int64, device=self.device)
        self.dropout_M = self._column("dropout").squeeze(1)
        self.any_dropout = bool((self.dropout_M > 0).any())
        self.lr_M1 = self._column("learning_rate")
        decays, l1 = self._column("weight_decay"), self._column("l1")
        self._any_decay, self._any_l1 = bool((decays > 0).any()), bool((l1 > 0).any())
        self._weight_columns = [
            columns
            for spec, columns in zip(self.model.parameters, self.columns, strict=True)
            if not spec.is_bias
        ]
        self.parts = [
            self._part(OPTIMIZERS[name], slice(start, start + count), decays, l1)
            for name, start, count in self._runs()
        ]

    def _runs(self) -> list[tuple[str, int, int]]:
        names = [member.config.optimizer for member in self.members]
        counts = [(name, len(list(run))) for name, run in groupby(names)]
        starts = accumulate((count for _, count in counts), initial=0)
        return [(name, start, count) for (name, count), start in zip(counts, starts, strict=False)]

    def _part(self, optimizer: Optimizer, rows: slice, decays: Tensor, l1: Tensor) -> Part:
        state = {name: self.rows[f"slot.{i}"][rows] for i, name in enumerate(optimizer.state)}
        return Part(
            optimizer=optimizer,
            weights=self.weights_MP[rows],
            gradient=self.gradient_MP[rows],
            state=state,
            hyper=Hyper(
                lr=self.lr_M1[rows],
                momentum=self._column("momentum")[rows],
                beta1=self._column("beta1", torch.float64)[rows],
                beta2=self._column("beta2", torch.float64)[rows],
                alpha=self._column("alpha")[rows],
                rho=self._column("rho")[rows],
                eps=self._column("eps", default=optimizer.eps)[rows],
            ),
            weight_decay=decays[rows],
            l1=l1[rows],
        )

    def _column(self, name: str, dtype: torch.dtype | None = None, default: float = 0.0) -> Tensor:
        values = [getattr(member.config, name) for member in self.members]
        numbers = [default if value is None else value for value in values]
        column = torch.tensor(numbers, dtype=torch.float64).unsqueeze(1)
        return column.to(device=self.device, dtype=dtype or self.dtype)

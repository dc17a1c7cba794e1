"""Block: rows that are trained at once, as views into what belongs to them, and their updates.

A ``Stack`` is the block of all its rows and parts them into narrower ones; the loop trains one
block after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workers.training.columns import Columns
from workers.training.models import Model
from workers.training.models.base import BufferSpec, ParameterSpec, Pass
from workers.training.parallel import ONE, Mesh
from workers.training.precision import autocast
from workers.training.shares import Shares, columns_of
from workers.training.update import Update

if TYPE_CHECKING:
    from workers.training.recording import Recording

Spec = ParameterSpec | BufferSpec


class Block:
    """A run of a stack's rows, or all of them; nothing in a step couples one row to another.

    ``rows`` holds what belongs to each, [M, ...] by name, and ``columns`` their hyperparameters:
    see ``Stack``. ``updates`` counts those that the rows have had, and the devices of ``mesh``
    train them, each with its ``shares`` of a row. ``weights`` are the parameters and ``buffers``
    the model's by name, [M, *shape]; these it updates in place. ``recording`` is a step of these
    rows that was recorded.
    """

    def __init__(
        self,
        model: Model,
        rows: dict[str, Tensor],
        columns: Columns,
        updates: int = 0,
        mesh: Mesh = ONE,
    ) -> None:
        self.model, self.updates, self.mesh = model, updates, mesh
        self.shares = Shares(model.parameters, mesh.model)
        self._buffer_specs = model.buffers  # made on each access
        self._buffer_slices = columns_of(self._buffer_specs)
        self._arrange(rows, columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """As they are on this device."""
        return self.shares.parameters

    @property
    def slices(self) -> list[slice]:
        """The columns of each of them."""
        return self.shares.slices

    @property
    def device(self) -> torch.device:
        return self.columns.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.columns.dtype

    @property
    def precision(self) -> str:
        """What the rows are computed in."""
        return self.columns.configs[0].precision

    @property
    def weights_MP(self) -> Tensor:
        return self.rows["weights"]

    def leaves(self) -> dict[str, Tensor]:
        """The parameters by name, [M, *shape]: views into the weights that take gradients."""
        return {name: view.detach().requires_grad_() for name, view in self.weights.items()}

    def evaluated(self) -> dict[str, Tensor]:
        """The parameters that validation uses: their moving average in the rows that keep one."""
        return self.views("average" if "average" in self.rows else "weights")

    def views(self, name: str) -> dict[str, Tensor]:
        """The parameters' parts [M, *shape] of a matrix [M, P] among the rows."""
        return _parts(self.rows[name], self.parameters, self.slices)

    def forward(self, given: Pass, x_mBF: Tensor) -> Tensor:
        """The model's outputs [M, B, C] in the weights' type."""
        with autocast(self.precision, self.device):
            outputs_MBC = self.model.forward(given, x_mBF)
        return outputs_MBC.to(self.dtype)

    def set_rates(self, rates_M: Tensor) -> None:
        """Learning rates [M] for the updates to come, before what plateau takes off them."""
        factor_M = self.rows.get("lr_factor")
        self.rates_M = rates_M if factor_M is None else rates_M * factor_M
        self.rates_M1.copy_(self.rates_M.unsqueeze(1))

    def accumulate(self, gradients: Iterable[Tensor], num_examples: int) -> None:
        """Take in the gradients of one minibatch's mean loss, one tensor [M, *shape] each."""
        self._updating().accumulate(gradients, num_examples)

    def update(self, *, watched: bool = False) -> dict[str, Tensor]:
        """One step of every optimizer on what was accumulated; what was seen of it if watched."""
        self.updates += 1
        return self._updating().apply(self.updates, watched=watched)

    def _arrange(self, rows: dict[str, Tensor], columns: Columns) -> None:
        """What follows from the rows: the views into them, which every step works on."""
        self.rows, self.columns = rows, columns
        self.weights = self.views("weights")
        self.buffers = (
            _parts(rows["buffers"], self._buffer_specs, self._buffer_slices)
            if self._buffer_specs
            else {}
        )
        self.rates_M = columns.number("learning_rate", dtype=torch.float64)
        self.rates_M1 = self.rates_M.unsqueeze(1).to(self.dtype, copy=True)
        self._update: Update | None = None
        self.recording: Recording | None = None

    def _updating(self) -> Update:
        """Made when it is asked for: it holds gradients, which a stack in blocks has no use for."""
        if self._update is None:
            self._update = Update(
                self.rows, self.columns, self.shares, self.rates_M1, self.mesh.data
            )
        return self._update


def _parts(matrix: Tensor, specs: Sequence[Spec], columns: Sequence[slice]) -> dict[str, Tensor]:
    """The tensors [M, *shape] by name that the rows of ``matrix`` hold one after the other."""
    return {
        spec.name: matrix[:, place].view(-1, *spec.shape)
        for spec, place in zip(specs, columns, strict=True)
    }

"""BlockValidation: one block of rows on its way through the validation part, chunk by chunk.

Made by ``group_training`` for each of its blocks. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from workers.training.block import Block
from workers.training.loss import Criterion
from workers.training.models.base import Pass
from workers.training.monitoring import UnitWatch
from workers.training.own_metrics import OwnMetrics
from workers.training.scores import Scores


class BlockValidation:
    """Scores the rows on ``chunks`` of inputs [m, B, F] and targets [m, B], and watches units.

    ``target_scale_M`` turns the errors of a regression back into the units of the data. What asks
    for all examples at once, a loss or metrics of the user's ``own``, gets the outputs of all.
    """

    def __init__(
        self,
        block: Block,
        chunks: Iterator[tuple[Tensor, Tensor]],
        criterion: Criterion,
        scores: Scores,
        units: UnitWatch,
        target_scale_M: Tensor,
        own: OwnMetrics,
    ) -> None:
        self._block, self._chunks, self._criterion = block, chunks, criterion
        self._scores, self._units, self._target_scale_M = scores, units, target_scale_M
        self._weights, self._own = block.evaluated(), own
        self._kept: list[tuple[Tensor, Tensor]] | None = None
        if criterion.takes_all or own:
            self._kept = []
        self.failed: Mapping[int, str] = {}

    def see(self) -> bool:
        """Score the next chunk; whether there was one."""
        seen = next(self.outputs(), None)
        if seen is None:
            return False
        if self._kept is None:
            self._score(*seen)
        else:
            self._kept.append(seen)
        return True

    def outputs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What the rows make of each chunk that is left, [M, B, C], and its targets [m, B]."""
        for x_mBF, y_mB in self._chunks:
            given = Pass(
                weights=self._weights,
                buffers=self._block.buffers,
                columns=self._block.columns,
                training=False,
                mesh=self._block.mesh,
                observe=self._units.observe if self._units.is_open else None,
            )
            yield self._block.forward(given, x_mBF), y_mB

    def metrics(self) -> dict[str, Tensor]:
        """The scores of all chunks, of which the rest is seen now, and the state of the units.

        ``failed`` says then for which rows a metric of the user's own failed, and how.
        """
        while self.see():
            pass
        own = {} if self._kept is None else self._of_all(self._kept)
        self._scores.add_up(self._block.mesh.data)
        return self._scores.metrics("val", self._target_scale_M) | self._units.metrics() | own

    def _of_all(self, kept: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        outputs, targets = zip(*kept, strict=True)
        outputs_MNC, y_mN = torch.cat(outputs, dim=1), torch.cat(targets, dim=1)
        self._score(outputs_MNC, y_mN)
        if not self._own:
            return {}
        measured = self._own.measure(outputs_MNC, y_mN, self._block.columns.folds_M)
        self.failed = measured.failed
        return measured.values

    def _score(self, outputs_MBC: Tensor, y_mB: Tensor) -> None:
        self._scores.add(outputs_MBC, y_mB, self._criterion.summed(outputs_MBC, y_mB))

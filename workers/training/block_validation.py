"""BlockValidation: one block of rows on its way through the validation part, chunk by chunk.

Made by ``group_training`` for each of its blocks. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from workers.training.block import Block
from workers.training.loss import Criterion
from workers.training.models.base import Pass
from workers.training.monitoring import UnitWatch
from workers.training.scores import Scores


class BlockValidation:
    """Scores the rows on ``chunks`` of inputs [m, B, F] and targets [m, B], and watches units.

    ``target_scale_M`` turns the errors of a regression back into the units of the data.
    """

    def __init__(
        self,
        block: Block,
        chunks: Iterator[tuple[Tensor, Tensor]],
        criterion: Criterion,
        scores: Scores,
        units: UnitWatch,
        target_scale_M: Tensor,
    ) -> None:
        self._block, self._chunks, self._criterion = block, chunks, criterion
        self._scores, self._units, self._target_scale_M = scores, units, target_scale_M
        self._weights = block.evaluated()

    def see(self) -> bool:
        """Score the next chunk; whether there was one."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        x_mBF, y_mB = chunk
        given = Pass(
            weights=self._weights,
            buffers=self._block.buffers,
            columns=self._block.columns,
            training=False,
            observe=self._units.observe if self._units.is_open else None,
        )
        outputs_MBC = self._block.forward(given, x_mBF)
        losses_M = self._criterion.plain(outputs_MBC, y_mB).sum(1)
        self._scores.add(outputs_MBC, y_mB, losses_M)
        return True

    def metrics(self) -> dict[str, Tensor]:
        """The scores of all chunks, of which the rest is seen now, and the state of the units."""
        while self.see():
            pass
        return self._scores.metrics("val", self._target_scale_M) | self._units.metrics()

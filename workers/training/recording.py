"""Recording: a step of one block as a CUDA graph, which costs the host one launch instead of forty.

Made by ``block_epoch`` once steps repeat; benchmarks/gpu.py has what it gains.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from workers.config.own import is_own
from workers.training.block import Block
from workers.training.feed import Batch
from workers.training.keyed import combined
from workers.training.models.own import OwnModel
from workers.training.scores import Scores

# What enters a step as a number on the host, which a graph would repeat as it was.
_HOST_NUMBERS = "gradient_noise", "mixup"


class Recording:
    """What ``take(batch, moment)`` does on the device, for minibatches of the shape of ``batch``.

    ``moment`` stands for epoch and step as a counter of ``keyed``. ``scores`` are those it adds to,
    ``kept`` what must outlive it beside them and the block. Recording does nothing on the device,
    but all that a step does on the host; replaying does the opposite.
    """

    def __init__(
        self, batch: Batch, scores: Scores, take: Callable[[Batch, Tensor], None], kept: object
    ) -> None:
        self.scores, self._kept = scores, kept
        x_mBF, y_mB = batch.x_mBF.clone(), batch.y_mB.clone()
        self._batch = Batch(x_mBF=x_mBF, y_mB=y_mB, index_mB=batch.index_mB)
        self._moment = torch.zeros((), dtype=torch.int64, device=x_mBF.device)
        self._graph = torch.cuda.CUDAGraph()
        keeper, stream = _keeper_and_stream(x_mBF.device)
        _capture(self._graph, stream, keeper.pool(), lambda: take(self._batch, self._moment))

    def is_of(self, batch: Batch) -> bool:
        """Whether it can be replayed on ``batch``."""
        return are_alike(self._batch, batch)

    def replay(self, batch: Batch, epoch: int, step: int) -> None:
        """Take the step (both count from 0) on ``batch``."""
        self._batch.x_mBF.copy_(batch.x_mBF)
        self._batch.y_mB.copy_(batch.y_mB)
        self._moment.fill_(combined(epoch, step))
        self._graph.replay()


def can_record(block: Block) -> bool:
    """Whether all steps of ``block`` do the same, but for what a Recording is told."""
    has_losses = "example_losses" in block.rows
    are_off = all(block.columns.active(name) is None for name in _HOST_NUMBERS)
    # What a user's does on the host is unknown.
    is_ours = not isinstance(block.model, OwnModel) and not is_own(
        block.columns.configs[0].loss or ""
    )
    is_alone = block.mesh.whole.num == 1  # what devices say to one another is no step's own
    is_steady = is_ours and is_alone and are_off and not has_losses
    return block.device.type == "cuda" and is_steady


def are_alike(one: Batch, other: Batch) -> bool:
    """Whether a step does the same with either, but for the numbers in them."""
    return one.x_mBF.shape == other.x_mBF.shape and one.y_mB.shape == other.y_mB.shape


def _capture(
    graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, pool: Any, take: Callable[[], object]
) -> None:
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            take()
        finally:
            graph.capture_end()


@cache
def _keeper_and_stream(device: torch.device) -> tuple[torch.cuda.CUDAGraph, torch.cuda.Stream]:
    """One memory for all recordings, of which only one runs at a time: that of a small graph, which
    keeps it when the last recording goes."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # untyped there
    keeper = torch.cuda.CUDAGraph()
    _capture(keeper, stream, torch.cuda.graph_pool_handle(), lambda: torch.zeros((), device=device))
    return keeper, stream

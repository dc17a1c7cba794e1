"""KeptCheckpoints: the rows of the checkpoints that a worker wrote last, in its device's memory.

A worker owns one for its life; ``checkpoints`` puts in what it writes and looks here before it
opens a file, so that members that go on where they were need not be read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.training.device import memory_bytes

CPU_BYTES = 512 * 2**20  # at most of a worker on a CPU, where files are read fast anyway
SHARE = 8  # an eighth of a worker's part of the memory


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptCheckpoint:
    """What a checkpoint's file holds: rows by name, [M, ...] each, and its metadata."""

    rows: Mapping[str, Tensor]
    metadata: Mapping[str, str]


class KeptCheckpoints:
    """Checkpoints by the name of their file, together at most ``limit_bytes``.

    The one that was used least lately goes first. One that is larger than the limit is not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, KeptCheckpoint] = OrderedDict()

    @classmethod
    def of_device(cls, device: torch.device, num_sharing: int = 1) -> KeptCheckpoints:
        """As much as ``device`` can spare for one of the ``num_sharing`` workers that share it."""
        spared = memory_bytes(device, num_sharing) // SHARE
        return cls(spared if device.type == "cuda" else min(CPU_BYTES, spared))

    @property
    def num_bytes(self) -> int:
        """What all of them take."""
        return sum(_num_bytes(checkpoint.rows) for checkpoint in self._kept.values())

    def put(self, file: str, rows: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Keep a copy of ``rows``, and forget others until there is room for it."""
        self._kept.pop(file, None)
        size = _num_bytes(rows)
        if size > self._limit_bytes:
            return
        while self.num_bytes + size > self._limit_bytes:
            self._kept.popitem(last=False)
        try:
            copies = {name: tensor.clone() for name, tensor in rows.items()}
        except torch.OutOfMemoryError:
            self.clear()  # training needs it more, and there are the files
        else:
            self._kept[file] = KeptCheckpoint(rows=copies, metadata=dict(metadata))

    def clear(self) -> None:
        """Forget all of them: there are the files."""
        self._kept.clear()

    def get(self, file: str) -> KeptCheckpoint | None:
        """What was written to ``file``, if it is still kept."""
        if file in self._kept:
            self._kept.move_to_end(file)
        return self._kept.get(file)


def _num_bytes(rows: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in rows.values())

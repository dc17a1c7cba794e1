"""DataParallel: devices that are processes of one torch.distributed group, and how they are joined.

Made by ``workers.actor`` for a worker of several devices, once in its life.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from workers.training.parallel.devices import PeersLost

WAIT = timedelta(hours=12)  # for one another: checks run on one device, and their peers wait


class DataParallel:
    """This process's place in ``group``; None stands for the whole of those that were joined."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.process_group = group
        self.num, self.rank = dist.get_world_size(group), dist.get_rank(group)
        self._first = dist.get_global_rank(group, 0) if group is not None else 0

    def add_up(self, tensor: Tensor) -> None:
        _answered(lambda: dist.all_reduce(tensor, group=self.process_group))

    def agreed(self, tensor: Tensor) -> Tensor:
        told = tensor.clone(memory_format=torch.contiguous_format)
        _answered(lambda: dist.broadcast(told, self._first, group=self.process_group))
        return told


def joined(meeting: str, rank: int, num: int, device: torch.device) -> DataParallel:
    """Wait for the ``num`` processes that meet at ``meeting``, of which this is number ``rank``.

    ``meeting`` is a file:// of one machine, or tcp://HOST:PORT, where number 0 listens. Raises
    PeersLost if one of them ends meanwhile.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    _answered(
        lambda: dist.init_process_group(
            backend, init_method=meeting, rank=rank, world_size=num, timeout=WAIT
        )
    )
    return DataParallel()


def _answered(call: Callable[[], Any]) -> None:
    try:
        call()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # whatever a connection that breaks is called
        raise PeersLost(str(error)) from error

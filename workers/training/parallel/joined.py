"""Joined: devices that are processes of one torch.distributed group, and how they are joined.

Called by ``workers.actor`` for a worker of several devices, once in its life.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from workers.config.parallel import grid
from workers.training.parallel.devices import ALONE, Devices, Mesh, PeersLost

WAIT = timedelta(hours=12)  # for one another: checks run on one device, and their peers wait


class Joined:
    """This process's place in ``group``; None stands for the whole of those that were joined."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.process_group = group
        self.num, self.rank = dist.get_world_size(group), dist.get_rank(group)
        self._first = dist.get_global_rank(group, 0) if group is not None else 0

    def add_up(self, tensor: Tensor) -> None:
        _answered(lambda: dist.all_reduce(tensor, group=self.process_group))

    def collected(self, tensor: Tensor) -> list[Tensor]:
        own = tensor.contiguous()
        all_of_them = [torch.empty_like(own) for _ in range(self.num)]
        _answered(lambda: dist.all_gather(all_of_them, own, group=self.process_group))
        return all_of_them

    def agreed(self, tensor: Tensor) -> Tensor:
        told = tensor.clone(memory_format=torch.contiguous_format)
        _answered(lambda: dist.broadcast(told, self._first, group=self.process_group))
        return told


def joined(meeting: str, rank: int, num: int, form: str, device: torch.device) -> Mesh:
    """Wait for the ``num`` processes that meet at ``meeting``, of which this is number ``rank``.

    ``meeting`` is a file:// of one machine, or tcp://HOST:PORT, where number 0 listens; ``form``
    is how they part the work, see ``workers.config.parallel``. Raises PeersLost if one of them ends
    meanwhile.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    _answered(
        lambda: dist.init_process_group(
            backend, init_method=meeting, rank=rank, world_size=num, timeout=WAIT
        )
    )
    return mesh_of(grid(num, form), device)


def mesh_of(shape: tuple[int, int], device: torch.device) -> Mesh:
    """All processes that were joined as a grid of ``shape``; those that part layers lie together,
    for they talk most. Raises PeersLost."""
    made: list[Any] = []
    _answered(
        lambda: made.append(init_device_mesh(device.type, shape, mesh_dim_names=("data", "model")))
    )
    lines: dict[str, Devices] = {
        name: Joined(made[0].get_group(name)) if size > 1 else ALONE
        for name, size in zip(("data", "model"), shape, strict=True)
    }
    return Mesh(whole=Joined(), **lines)


def _answered(call: Callable[[], Any]) -> None:
    try:
        call()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # whatever a connection that breaks is called
        raise PeersLost(str(error)) from error

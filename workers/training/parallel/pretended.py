"""Pretended devices: threads of this process, by which it is tried what several devices would do.

Called for a user's module before devices part its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier, BrokenBarrierError
from typing import TypeVar

from torch import Tensor

from workers.training.parallel.devices import Devices

Given = TypeVar("Given")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretended:
    """Number ``rank`` of ``num`` threads that wait for one another at ``barrier``."""

    num: int
    rank: int
    barrier: Barrier
    told: list[Tensor | None]

    def collected(self, tensor: Tensor) -> list[Tensor]:
        self.told[self.rank] = tensor
        self.barrier.wait()
        found = [each for each in self.told if each is not None]
        self.barrier.wait()
        return found

    def add_up(self, tensor: Tensor) -> None:
        parts = self.collected(tensor.clone())
        tensor.copy_(sum(parts[1:], parts[0]))

    def agreed(self, tensor: Tensor) -> Tensor:
        return self.collected(tensor)[0].clone()


def on_pretended(num: int, call: Callable[[Devices], Given]) -> list[Given]:
    """What ``call`` gives on each; raises what the first raises that does, for which none waits."""
    barrier = Barrier(num)
    told: list[Tensor | None] = [None] * num

    def called(rank: int) -> Given:
        try:
            return call(Pretended(num=num, rank=rank, barrier=barrier, told=told))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(num) as threads:
        calls = [threads.submit(called, rank) for rank in range(num)]
    errors = [each.exception() for each in calls]
    for error in errors:
        if error is not None and not isinstance(error, BrokenBarrierError):
            raise error
    return [each.result() for each in calls]

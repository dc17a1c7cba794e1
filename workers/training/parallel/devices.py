"""Devices: what the training loop asks of those that train a group together.

All of them hold the same rows and call the same methods in the same order. ``Alone`` is one device,
for which all of this is nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class PeersLost(BaseException):
    """A device does not answer: what trains here cannot go on, and no member is to blame for it.

    No Exception, so that nothing that catches those takes it for an error of a configuration.
    """


class Devices(Protocol):
    """``num`` devices, of which this is number ``rank`` (from 0); number 0 reports and writes.

    What they tell one another raises PeersLost if one of them is gone.
    """

    @property
    def num(self) -> int: ...

    @property
    def rank(self) -> int: ...

    def add_up(self, tensor: Tensor) -> None:
        """Put the sum of all devices' into ``tensor``, in place; it is the same on all of them."""
        ...

    def agreed(self, tensor: Tensor) -> Tensor:
        """That of device 0, for what may differ from device to device and must not."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """One device."""

    num: int = 1
    rank: int = 0

    def add_up(self, tensor: Tensor) -> None:
        pass

    def agreed(self, tensor: Tensor) -> Tensor:
        return tensor


ALONE = Alone()

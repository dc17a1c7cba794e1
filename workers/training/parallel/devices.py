"""Devices: what the training loop asks of those that train a group together.

``Alone`` is one device, for which all of this is nothing to do; ``joined`` has several. A ``Mesh``
is the grid that they are.
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
    """``num`` devices, of which this is number ``rank`` (from 0).

    All of them call the same methods in the same order. What they tell one another raises PeersLost
    if one of them is gone.
    """

    @property
    def num(self) -> int: ...

    @property
    def rank(self) -> int: ...

    def add_up(self, tensor: Tensor) -> None:
        """Put the sum of all devices' into ``tensor``, in place; it is the same on all of them."""
        ...

    def collected(self, tensor: Tensor) -> list[Tensor]:
        """Those of all devices, in their order; they have one shape."""
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

    def collected(self, tensor: Tensor) -> list[Tensor]:
        return [tensor]

    def agreed(self, tensor: Tensor) -> Tensor:
        return tensor


ALONE = Alone()


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """The devices of a trial as a grid, seen from one of them.

    Those along ``data`` have each a part of every minibatch, those along ``model`` each a part of
    every layer's units. ``whole`` are all of them; its number 0 reports and writes.
    """

    whole: Devices = ALONE
    data: Devices = ALONE
    model: Devices = ALONE


ONE = Mesh()

"""Speeds: what steps of several widths were measured to take, by kind of group and device.

Kept in the view, filled from the database and from reports; groups are packed and trained by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hpsearch.storage.records import SpeedRecord


class Speeds:
    """The newest measurement of each kind, device and width."""

    def __init__(self) -> None:
        self._measured: dict[tuple[str, str], dict[int, SpeedRecord]] = {}

    def add(self, measured: Iterable[SpeedRecord]) -> None:
        """Take up measurements, in the place of older ones."""
        for speed in measured:
            self._measured.setdefault((speed.kind, speed.device), {})[speed.width] = speed

    def with_more(self, measured: Iterable[SpeedRecord]) -> Speeds:
        """These and others, which are not taken up here yet."""
        more = Speeds()
        more.add(speed for known in self._measured.values() for speed in known.values())
        more.add(measured)
        return more

    def best(self, kind: str, device: str) -> SpeedRecord | None:
        """The one with the least seconds a row, the wider of equals; None if none is known."""
        fitting = (speed for speed in self._known(kind, device) if fits(speed))
        return min(fitting, key=lambda speed: (row_s(speed), -speed.width), default=None)

    def most(self, kind: str, device: str) -> float:
        """The most rows that a group may have; infinite where none was too many.

        Half of what found no memory, or, if more than that were measured, so many.
        """
        known = self._known(kind, device)
        least = min((speed.width for speed in known if not fits(speed)), default=math.inf)
        fitting = [speed.width for speed in known if speed.width < least]
        return max([least // 2, *fitting]) if math.isfinite(least) else least

    def is_measured(self, kind: str, device: str, width: int) -> bool:
        """Whether so many rows did fit once."""
        return any(speed.width == width and fits(speed) for speed in self._known(kind, device))

    def widest(self, kind: str, device: str) -> int:
        """The most rows that were tried at once; 0 if none were."""
        return max((speed.width for speed in self._known(kind, device)), default=0)

    def row_step_s(self, kind: str, device: str) -> float:
        """The seconds of a row's step at its best; of an unknown kind, the mean of the known ones.

        1 where nothing is known of the device: then all kinds are alike.
        """
        best = self.best(kind, device)
        if best is not None:
            return row_s(best)
        others = [self.best(*place) for place in self._measured if place[1] == device]
        known = [row_s(speed) for speed in others if speed is not None]
        return sum(known) / len(known) if known else 1.0

    def _known(self, kind: str, device: str) -> list[SpeedRecord]:
        return [*self._measured.get((kind, device), {}).values()]


def no_room(kind: str, device: str, width: int) -> SpeedRecord:
    """That a group of so many rows found no memory."""
    return SpeedRecord(kind=kind, device=device, width=width, seconds=math.inf, bytes=0)


def fits(speed: SpeedRecord) -> bool:
    """Whether there was memory for so many rows."""
    return math.isfinite(speed.seconds)


def row_s(speed: SpeedRecord) -> float:
    """Seconds of a step, a row."""
    return speed.seconds / speed.width

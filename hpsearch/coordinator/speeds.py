"""Speeds: what steps of several widths were measured to take, by kind of group and device.

Kept in the view, filled from the database and from reports; groups are packed and trained by it.
"""

from __future__ import annotations

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
        known = self._measured.get((kind, device), {}).values()
        return min(known, key=lambda speed: (row_s(speed), -speed.width), default=None)

    def widest(self, kind: str, device: str) -> int:
        """The most rows that were tried at once; 0 if none were."""
        return max(self._measured.get((kind, device), {}), default=0)

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


def row_s(speed: SpeedRecord) -> float:
    """Seconds of a step, a row."""
    return speed.seconds / speed.width

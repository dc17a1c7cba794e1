"""Slots: workers as an executor sees them, and which of those that are free a group is given to.

What the executors with several workers share: those on Ray, and those of processes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from workers.messages import Report, TrialGroup

FILES = 256  # remembered a worker; its memory has room for about as many


@dataclass(kw_only=True, slots=True)
class Slot:
    """One worker, and the number of the group that it is training, None while it is free.

    ``files`` are the checkpoints that it wrote last, which it may have in memory still.
    """

    name: str
    number: int | None = None
    files: deque[str] = field(default_factory=lambda: deque(maxlen=FILES))

    def note(self, report: Report) -> None:
        """Remember the checkpoint that it wrote, if it wrote one."""
        if report.checkpoint is not None:
            self.files.append(report.checkpoint)


AnySlot = TypeVar("AnySlot", bound=Slot)


def free_slot(slots: Sequence[AnySlot], group: TrialGroup) -> AnySlot:
    """The free one whose worker wrote the checkpoints of most of the members."""
    wanted = Counter(member.resume.file for member in group.members if member.resume)
    free = (slot for slot in slots if slot.number is None)
    return max(free, key=lambda slot: sum(wanted[file] for file in set(slot.files)))


def together(devices: Iterable[str], num: int = 1, form: str = "data") -> str:
    """What workers of ``num`` devices, which part the work by ``form``, train on, in words.

    Where they differ it is all of their names: what is measured is stored under no one's.
    """
    named = " and ".join(sorted(set(devices)))
    several = f"{num} x {named}" if form == "data" else f"{num} x {named}, {form}"
    return named if num == 1 else several

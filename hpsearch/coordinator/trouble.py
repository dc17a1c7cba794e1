"""Trouble: what is done with a group whose worker died, or whose training raised.

Called by the loop; what cannot be trained is parted until the trial that is at fault is alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.coordinator.failures import failure_kind, headline
from hpsearch.coordinator.ledger import Ledger
from hpsearch.coordinator.packing import halve
from hpsearch.coordinator.view import has_epochs_to_go
from hpsearch.coordinator.widths import of_part
from hpsearch.errors import MayPass
from hpsearch.storage.records import TrialRecord

MAX_LOSSES = 3  # of a group's worker, before the group is parted or given up


class Trouble:
    """Counts losses by group; each method gives the groups that are to be trained next."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._losses: dict[int, int] = {}
        self.unreadable: set[int] = set()  # groups whose checkpoint is damaged

    def lost(self, number: int, message: str) -> list[int]:
        """Train the group again; part it when that does not help; give up a trial alone."""
        unfinished = self._unfinished(number)
        if not unfinished:
            return []  # it had sent its last report
        losses = self._losses[number] = self._losses.get(number, 0) + 1
        if losses < MAX_LOSSES:
            self._ledger.tell(f"group {number} lost its worker ({message}); it is trained again")
            return [number]
        if len(unfinished) == 1:
            self._ledger.fail(unfinished[0], "worker_lost", message)
            return []
        parts = self._part(number, unfinished, f"lost its worker {losses} times ({message})")
        self._losses |= dict.fromkeys(parts, MAX_LOSSES - 1)
        return parts

    def raised(self, number: int, traceback: str) -> list[int]:
        """Part the group until the member that raises is alone, and fails alone."""
        unfinished = self._unfinished(number)
        said = headline(traceback)
        if "CheckpointNotWritten" in said:
            raise MayPass(f"a checkpoint could not be stored: {said}; mend it, and resume")
        if "CheckpointError" in said and number not in self.unreadable:
            self.unreadable.add(number)
            return [number]
        if len(unfinished) > 1:
            return self._part(number, unfinished, f"raised {said}")
        if unfinished:
            self._ledger.fail(unfinished[0], failure_kind(traceback), traceback)
        return []

    def _unfinished(self, number: int) -> list[TrialRecord]:
        return [trial for trial in self._ledger.view.of_group(number) if has_epochs_to_go(trial)]

    def _part(self, number: int, members: Sequence[TrialRecord], what: str) -> list[int]:
        view = self._ledger.view
        groups = halve([trial.id for trial in members], view.next_group)
        parts = sorted(set(groups.values()))
        self._ledger.regroup(groups, [of_part(view.groups[number], part) for part in parts])
        self._ledger.tell(
            f"group {number} {what}; it is parted in two to find the trial that does it"
        )
        return parts

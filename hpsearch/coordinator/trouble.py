"""Trouble: what is done with a group whose worker died, or whose training raised.

Called by the loop; what cannot be trained is parted until the trial that is at fault is alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.coordinator.failures import failure_kind, is_out_of_memory
from hpsearch.coordinator.ledger import Ledger
from hpsearch.coordinator.packing import halve
from hpsearch.coordinator.speeds import no_room
from hpsearch.coordinator.view import has_epochs_to_go
from hpsearch.coordinator.widths import of_part
from hpsearch.errors import MayPass
from hpsearch.storage.failures import headline
from hpsearch.storage.records import SpeedRecord, TrialRecord

MAX_LOSSES = 3  # of a group's worker, before the group is parted or given up
SEARCHED = "; it is parted in two to find the trial that does it"


class Trouble:
    """Counts losses by group; each method gives the groups that are to be trained next."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._losses: dict[int, int] = {}
        self._full: set[int] = set()  # groups that found no memory once
        self.begun: dict[int, int] = {}  # how many members were started of each group
        self.unreadable: set[int] = set()  # groups whose checkpoint is damaged

    def lost(self, number: int, message: str) -> list[int]:
        """Train the group again; part it when that does not help; give up a trial alone."""
        unfinished = self._unfinished(number)
        if not unfinished:
            return []  # it had sent its last report
        is_memory = is_out_of_memory(message)  # of the machine, which others may have taken
        if is_memory and (again := self._smaller(number, unfinished, message, is_ours=False)):
            return again
        losses = self._losses[number] = self._losses.get(number, 0) + 1
        if losses < MAX_LOSSES:
            self._ledger.tell(f"group {number} lost its worker ({message}); it is trained again")
            return [number]
        if len(unfinished) == 1:
            self._ledger.fail(unfinished[0], "worker_lost", message)
            return []
        what = f"lost its worker {losses} times ({message}){SEARCHED}"
        parts = self._part(number, unfinished, what)
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
        kind = failure_kind(traceback)
        if kind == "out_of_memory" and (again := self._smaller(number, unfinished, said)):
            return again
        if len(unfinished) > 1:
            return self._part(number, unfinished, f"raised {said}{SEARCHED}")
        if unfinished:
            self._ledger.fail(unfinished[0], kind, traceback)
        return []

    def too_wide(self, number: int) -> list[int]:
        """Part a group that has not begun, and for which there is surely not the memory."""
        trials = self._ledger.view.of_group(number)
        groups = halve([trial.id for trial in trials], self._ledger.view.next_group)
        self._ledger.regroup(groups, [])
        return sorted(set(groups.values()))

    def _smaller(
        self, number: int, unfinished: Sequence[TrialRecord], said: str, *, is_ours: bool = True
    ) -> list[int]:
        """The group once more, for memory may have been short for a moment; after that its parts.

        None if there is not enough even for a trial, a row at a time. That a group of so many rows
        found none twice is remembered if it ``is_ours``, unless so many were measured once: then
        others took it.
        """
        if number not in self._full:
            self._full.add(number)
            self._ledger.tell(f"group {number} found no memory ({said}); it is trained once more")
            return [number]
        view = self._ledger.view
        record, each = view.groups[number], view.search.spec.data.rows_per_trial
        rows = each * self.begun[number]
        at_once = min(record.width or rows, rows)
        if rows == each and at_once == 1:
            return []
        # One trial alone may fit fold by fold; of several the rows in all are halved.
        width, tried = (at_once // 2, at_once) if rows == each else (record.width, rows)
        is_new = not view.speeds.is_measured(record.kind, record.device, tried)
        found = [no_room(record.kind, record.device, tried)] if is_new and is_ours else []
        what = f"of {rows} rows found no memory ({said}); it is trained in smaller parts"
        return self._part(number, unfinished, what, width, found)

    def _unfinished(self, number: int) -> list[TrialRecord]:
        return [trial for trial in self._ledger.view.of_group(number) if has_epochs_to_go(trial)]

    def _part(
        self,
        number: int,
        members: Sequence[TrialRecord],
        what: str,
        width: int | None = None,
        found: Sequence[SpeedRecord] = (),
    ) -> list[int]:
        view = self._ledger.view
        groups = halve([trial.id for trial in members], view.next_group)
        parts = sorted(set(groups.values()))
        records = [of_part(view.groups[number], part, width) for part in parts]
        self._ledger.regroup(groups, records, found)
        self._ledger.tell(f"group {number} {what}")
        return parts

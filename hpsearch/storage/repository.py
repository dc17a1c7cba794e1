"""Repository: all that is stored of searches, written under a lease and read by anybody.

The coordinator writes through it and decides on what it loads; the CLI and ``hpsearch.analysis``
read. Every method is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from hpsearch.spec.search import Search
from hpsearch.storage import events, groups, leases, queries, reports, rungs, searches, trials
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Lease, Orders, Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import (
    DiagnosisRecord,
    EventRecord,
    FailureKind,
    GroupRecord,
    NewDiagnosis,
    NewStage,
    NewTrial,
    ReportCommit,
    RungCommit,
    SearchRecord,
    SearchState,
    SpeedRecord,
    StageRecord,
    TrialRecord,
)


class Repository:
    """What is stored in ``database``.

    Methods that take a lease check it, extend it and write in the same transaction: they raise
    LeaseLost, and change nothing, once somebody else has acquired the search. All raise
    StorageError when the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # Searches

    def create_search(self, spec: Search, provenance: Provenance) -> SearchRecord:
        """Store a request, in state submitted."""
        with self.database.write() as connection:
            return searches.create(connection, spec, provenance)

    def find_or_create(self, spec: Search, provenance: Provenance) -> tuple[SearchRecord, bool]:
        """As :meth:`find_same`, else as :meth:`create_search`; and whether it is new.

        Of several who ask at once one creates it, and the others find it.
        """
        with self.database.write() as connection:
            return searches.find_or_create(connection, spec, provenance)

    def find_search(self, ref: str | int, before: int | None = None) -> SearchRecord:
        """The search with that id, or the newest with that name; StorageError if there is none.

        ``before`` leaves only searches with a smaller id.
        """
        with self.database.read() as connection:
            return searches.find(connection, ref, before)

    def newest_of_name(self, name: str) -> int | None:
        """The id of the newest search of that name, if there is one."""
        with self.database.read() as connection:
            return searches.newest_of_name(connection, name)

    def find_same(self, spec: Search) -> SearchRecord | None:
        """The newest search of the same name with the same spec."""
        with self.database.read() as connection:
            return searches.find_same(connection, spec)

    def list_searches(self) -> list[SearchRecord]:
        """All searches, oldest first."""
        with self.database.read() as connection:
            return searches.list_all(connection)

    # Leases

    def acquire(self, search_id: int, owner: Owner) -> Lease:
        """Own the search for the next 15 s, and set it running; each write extends that.

        Raises LeaseHeld while another owner's lease lasts, unless that owner was a process of this
        host and is dead.
        """
        with self.database.write() as connection:
            return leases.acquire(connection, search_id, owner)

    def take_over(self, search_id: int, token: int, owner: Owner) -> Lease:
        """Own the search in the place of who has it by ``token``; LeaseLost if nobody has."""
        with self.database.write() as connection:
            return leases.take_over(connection, search_id, token, owner)

    def renew(self, lease: Lease) -> Orders:
        """Extend the lease when there is nothing to write; what the owner is asked to do."""
        with self.database.write() as connection:
            return leases.hold(connection, lease).orders

    def release(self, lease: Lease, state: SearchState, message: str | None = None) -> None:
        """Give the search back, in ``state``; ``message`` says why."""
        with self.database.write() as connection:
            leases.release(connection, lease, state, message)

    # Stages and trials

    def load(self, search_id: int) -> tuple[list[StageRecord], list[TrialRecord]]:
        """The search's stages by position and its trials by number, of one moment."""
        with self.database.read() as connection:
            return trials.load(connection, search_id)

    def has_value(self, search_id: int) -> bool:
        """Whether a trial came to an end with a value, or there is no trial that could."""
        with self.database.read() as connection:
            return queries.has_value(connection, search_id)

    def find_trial(self, search_id: int, number: int) -> TrialRecord | None:
        """The trial of a search with that number."""
        with self.database.read() as connection:
            return trials.find(connection, search_id, number)

    def open_stage(
        self, lease: Lease, stage: NewStage, new_trials: Sequence[NewTrial]
    ) -> tuple[StageRecord, list[TrialRecord]]:
        """Store a stage with its first trials, which are returned in the order given."""
        with self._writing(lease) as (connection, now):
            opened = trials.open_stage(connection, lease.search_id, stage, now)
            added = trials.add_trials(connection, lease.search_id, new_trials, now, opened.id)
            return opened, added

    def add_trials(self, lease: Lease, new_trials: Sequence[NewTrial]) -> list[TrialRecord]:
        """Store more trials of stages that are open; they are returned in the order given."""
        with self._writing(lease) as (connection, now):
            return trials.add_trials(connection, lease.search_id, new_trials, now)

    def finish_stage(self, lease: Lease, stage_id: int) -> None:
        """Set a stage complete."""
        with self._writing(lease) as (connection, now):
            trials.finish_stage(connection, lease.search_id, stage_id, now)

    # Progress

    def start_group(
        self,
        lease: Lease,
        trial_ids: Sequence[int],
        worker: str,
        group: GroupRecord | None = None,
    ) -> None:
        """Set trials running on ``worker``, one attempt more.

        ``group`` says how they are trained; what is stored of that group already stays, but for
        the epoch that it is trained from while it has no width.
        """
        with self._writing(lease) as (connection, now):
            reports.start_group(connection, lease.search_id, trial_ids, worker, now)
            if group is not None:
                groups.keep_group(connection, lease.search_id, group, now)

    def commit_report(self, lease: Lease, commit: ReportCommit) -> None:
        """Store one Report: metrics that are not stored yet, where its trials stand now, speeds.

        With it the groups that others have by what was measured.
        """
        with self._writing(lease) as (connection, now):
            reports.commit_report(connection, lease.search_id, commit, now)
            if commit.group is not None:
                groups.set_width(connection, lease.search_id, commit.group)
            groups.add_speeds(connection, commit.speeds, now)
            reports.regroup(connection, lease.search_id, commit.regrouped, now)

    def decide_rung(self, lease: Lease, decision: RungCommit) -> None:
        """End the trials that a pruner ends, and give the others their next group and rung."""
        with self._writing(lease) as (connection, now):
            rungs.decide_rung(connection, lease.search_id, decision, now)

    def end_early(
        self, lease: Lease, complete: Sequence[int], pruned: Sequence[int], message: str
    ) -> None:
        """End trials with the search, complete with what they have or pruned; the search's why."""
        with self._writing(lease) as (connection, now):
            rungs.end_trials(connection, lease.search_id, complete, "complete", now)
            rungs.end_trials(connection, lease.search_id, pruned, "pruned", now)
            searches.set_message(connection, lease.search_id, message)
            events.add_event(connection, lease.search_id, "ended_early", {"why": message}, now)

    def fail_trials(self, lease: Lease, failures: Mapping[int, tuple[FailureKind, str]]) -> None:
        """Set trials failed: by id, the kind and the message."""
        with self._writing(lease) as (connection, now):
            reports.fail_trials(connection, lease.search_id, failures, now)

    def regroup(
        self,
        lease: Lease,
        numbers: Mapping[int, int],
        records: Sequence[GroupRecord] = (),
        speeds: Sequence[SpeedRecord] = (),
    ) -> None:
        """Give trials other group numbers, by id; ``records`` say how those groups are trained.

        ``speeds`` are what was found out about the group that they had.
        """
        with self._writing(lease) as (connection, now):
            reports.regroup(connection, lease.search_id, numbers, now)
            for record in records:
                groups.keep_group(connection, lease.search_id, record, now)
            groups.add_speeds(connection, speeds, now)

    def groups(self, search_id: int) -> list[GroupRecord]:
        """How the groups of a search that have begun are trained, by number."""
        with self.database.read() as connection:
            return groups.groups(connection, search_id)

    def speeds(self, device: str | None = None) -> list[SpeedRecord]:
        """What all searches measured on ``device``, or on any, by kind, device and width."""
        with self.database.read() as connection:
            return groups.speeds(connection, device)

    def forget_speeds(self) -> int:
        """Forget what was measured of all kinds and devices; how many measurements there were."""
        with self.database.write() as connection:
            return groups.forget_speeds(connection)

    def curves(self, search_id: int, metric: str) -> dict[int, dict[int, float]]:
        """``metric``, which can be an objective, by trial id and epoch.

        Only of a trial's own epochs: those before its ``start_epoch`` are its parent's.
        """
        with self.database.read() as connection:
            return rungs.curves(connection, search_id, metric)

    def fold_curves(self, search_id: int) -> dict[int, dict[int, tuple[float, ...]]]:
        """The objective in each fold, by trial id and epoch, as :meth:`curves`."""
        with self.database.read() as connection:
            return rungs.fold_curves(connection, search_id)

    # Diagnoses and events

    def add_diagnoses(self, lease: Lease, search_id: int, found: Sequence[NewDiagnosis]) -> None:
        """Append findings about the leased search; those stored before stay."""
        if search_id != lease.search_id:
            raise ValueError(
                f"diagnoses must be of the leased search {lease.search_id}, but got {search_id}"
            )
        with self._writing(lease) as (connection, now):
            events.add_diagnoses(connection, search_id, found, now)

    def store_checks(
        self, lease: Lease, stage_id: int, found: Sequence[NewDiagnosis], passed: bool
    ) -> None:
        """Store what the checks found, in the place of an earlier try.

        The stage is complete if they ``passed``; else it is checked again when the search is gone
        on with.
        """
        with self._writing(lease) as (connection, now):
            events.drop_diagnoses(connection, lease.search_id, stage_id)
            events.add_diagnoses(connection, lease.search_id, found, now)
            if passed:
                trials.finish_stage(connection, lease.search_id, stage_id, now)

    def diagnoses(self, search_id: int) -> list[DiagnosisRecord]:
        """The findings about a search, in the order in which they were made."""
        with self.database.read() as connection:
            return events.diagnoses(connection, search_id)

    def add_event(self, lease: Lease, kind: str, data: Mapping[str, Any]) -> None:
        """Append to the search's event log."""
        with self._writing(lease) as (connection, now):
            events.add_event(connection, lease.search_id, kind, data, now)

    def events(self, search_id: int) -> list[EventRecord]:
        """The search's event log, oldest first."""
        with self.database.read() as connection:
            return events.events(connection, search_id)

    def find_test(self, search_id: int) -> EventRecord | None:
        """The winner's score on the test part, if it was measured."""
        with self.database.read() as connection:
            return events.test_of(connection, search_id)

    def keep_test(self, search_id: int, data: Mapping[str, Any]) -> EventRecord:
        """Store the winner's score on the test part, once: what is stored stays, and is returned.

        Without a lease, for it is measured when the search is over.
        """
        with self.database.write() as connection:
            return events.keep_test(connection, search_id, data)

    @contextmanager
    def _writing(self, lease: Lease) -> Iterator[tuple[Connection, datetime]]:
        """A transaction under the lease, and the database's time at its begin."""
        with self.database.write() as connection:
            yield connection, leases.hold(connection, lease).now

"""Ledger: every change of a search, stored first and then taken up by the view.

Held by ``loop.Coordinator`` and shared with what decides for it; nobody else writes. So the view is
at any moment what another coordinator would read back from the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpsearch.coordinator.asking import LEARNING
from hpsearch.coordinator.collecting import needed
from hpsearch.coordinator.curves import Curves
from hpsearch.coordinator.events import Observer, RungDecided, Troubled
from hpsearch.coordinator.patience import Given, patiently
from hpsearch.coordinator.prior import resolve_prior
from hpsearch.coordinator.resources import checkpoint_path, remove
from hpsearch.coordinator.rungs import Decision, Rung, event_data
from hpsearch.coordinator.view import SearchView
from hpsearch.errors import HpsearchError
from hpsearch.storage.failures import in_common, said
from hpsearch.storage.leases import Lease
from hpsearch.storage.records import (
    CHECK_KIND,
    FINISHED,
    PACKED_FOR,
    FailureKind,
    GroupRecord,
    NewDiagnosis,
    NewStage,
    NewTrial,
    ReportCommit,
    RungCommit,
    SearchRecord,
    SpeedRecord,
    StageRecord,
    TrialRecord,
)
from hpsearch.storage.repository import Repository
from hpsearch.storage.upkeep import RETRIED
from workers.metrics import column_of


class Ledger:
    """The stored search under ``lease``, its ``view``, and ``observer``, who is told afterwards."""

    def __init__(
        self,
        repository: Repository,
        lease: Lease,
        search: SearchRecord,
        checkpoints: Path,
        observer: Observer,
    ) -> None:
        self.repository, self.observe = repository, observer
        self._lease, self._folder = lease, checkpoints
        self._num_needed = 0  # files, when they were last collected
        self.view = SearchView(search)
        stages, trials = repository.load(search.id)
        self.view.stages.extend(stages)
        self.view.add(trials)
        if _asks_prior(stages):
            self.view.prior = resolve_prior(repository, search.spec, search.id)
        self.view.groups.update({group.number: group for group in repository.groups(search.id)})
        self.view.speeds.add(repository.speeds())
        if self._prunes:
            metric = search.spec.objective.metric
            curves, by_fold = (
                repository.curves(search.id, metric),
                repository.fold_curves(search.id),
            )
            self.view.curves = Curves(curves, by_fold)

    @property
    def _prunes(self) -> bool:
        return any(stage.pruner is not None for stage in self.view.search.spec.stages)

    def packed_for(self, num_slots: int) -> int:
        """For how many workers groups are packed: the most that the search has seen by now.

        What is packed must not depend on which of them are dead, or busy with other searches.
        """
        search_id = self.view.search.id
        events = self.read(lambda: self.repository.events(search_id))
        known = max((e.data["workers"] for e in events if e.kind == PACKED_FOR), default=0)
        if num_slots > known:
            data = {"workers": num_slots}
            self._written(lambda: self.repository.add_event(self._lease, PACKED_FOR, data))
        return max(known, num_slots)

    def open_stage(self, new: NewStage, trials: Sequence[NewTrial]) -> list[TrialRecord]:
        """Store a stage and the trials that it starts with."""
        stage, added = self._written(
            lambda: self.repository.open_stage(self._lease, new, trials),
            lambda: self._stored_stage(new, trials),
        )
        self.view.stages.append(stage)
        self.view.add(added)
        return added

    def add_trials(self, trials: Sequence[NewTrial]) -> list[TrialRecord]:
        """Store more trials of stages that are open."""
        added = self._written(
            lambda: self.repository.add_trials(self._lease, trials),
            lambda: self._stored_trials(trials),
        )
        self.view.add(added)
        return added

    def finish_stage(self) -> None:
        """The last stage is complete."""
        stage_id = self.view.stages[-1].id
        self._written(lambda: self.repository.finish_stage(self._lease, stage_id))
        self._close_stage()

    def store_checks(self, found: Sequence[NewDiagnosis], passed: bool) -> None:
        """Store what the checks of the last stage found; it is complete if they ``passed``."""
        stage_id = self.view.stages[-1].id
        self._written(lambda: self.repository.store_checks(self._lease, stage_id, found, passed))
        if passed:
            self._close_stage()

    def _close_stage(self) -> None:
        self.view.stages[-1] = replace(self.view.stages[-1], state="complete")

    def start(self, members: Sequence[TrialRecord], worker: str, group: GroupRecord) -> None:
        """Members are running on ``worker``, in the way that ``group`` says."""
        waiting = [trial for trial in members if trial.state not in FINISHED]
        ids = [trial.id for trial in waiting]
        self._written(lambda: self.repository.start_group(self._lease, ids, worker, group))
        self.view.update(
            replace(trial, state="running", attempts=trial.attempts + 1) for trial in waiting
        )
        stored = self.view.groups.get(group.number)
        if stored is None or stored.width is None:
            self.view.groups[group.number] = group

    def report(self, commit: ReportCommit, changed: Sequence[TrialRecord]) -> None:
        """Store a Report, by which records ``changed``, and drop what checkpoints it replaced."""
        passed = [self.view.trials[trial.id].checkpoint_file for trial in changed]
        self._written(lambda: self.repository.commit_report(self._lease, commit))
        self.view.update(changed)
        self.view.speeds.add(commit.speeds)
        if commit.group is not None:
            self.view.groups[commit.group.number] = commit.group
        self._move(commit.regrouped)
        self._tell_failed([trial for trial in changed if trial.failure_kind in RETRIED])
        if self._prunes:
            column = column_of(self.view.search.spec.objective.metric)
            self.view.curves.add(commit.epoch, commit.metrics, column)
        self._drop(passed)

    def decide(self, rung: Rung, decision: Decision) -> None:
        """Store who ends at a rung, and who goes on in which group."""
        data = event_data(rung, decision)
        commit = RungCommit(
            pruned=tuple(trial.id for trial in decision.pruned),
            kept={trial.id: (trial.group, trial.until_epoch) for trial in decision.kept},
            data=data,
        )
        self._written(lambda: self.repository.decide_rung(self._lease, commit))
        self.view.update((*decision.pruned, *decision.kept))
        self._drop([trial.checkpoint_file for trial in decision.pruned])
        self.observe(RungDecided(view=self.view, message=data["message"]))

    def end_early(self, why: str) -> None:
        """End what has not ended: complete with what it has, pruned if it has nothing."""
        left = [trial for trial in self.view.trials.values() if trial.state not in FINISHED]
        valued = [trial for trial in left if trial.value is not None]
        empty = [trial for trial in left if trial.value is None]
        complete, pruned = ([trial.id for trial in trials] for trials in (valued, empty))
        self._written(lambda: self.repository.end_early(self._lease, complete, pruned, why))
        self.view.update(replace(t, state="complete", stopped_early=True) for t in valued)
        self.view.update(replace(trial, state="pruned") for trial in empty)
        if self.view.stages and self.view.stages[-1].state == "running":
            self.finish_stage()
        self._tell_observer(f"{why}: the search ends with what it has")

    def _drop(self, files: Sequence[str | None]) -> None:
        """Delete those of ``files`` from which nothing goes on, and which no result is kept in."""
        self._delete(file for file in set(files) if file is not None and not self.view.needs(file))

    def _delete(self, files: Iterable[str]) -> None:
        """A file that cannot be deleted is no reason to end a search."""
        for file in list(files):
            self.view.collected.add(file)
            try:
                remove(checkpoint_path(self._folder, file))
            except OSError as error:
                self._tell_observer(f"checkpoint {file} cannot be deleted ({error.strerror})")
            except HpsearchError as error:  # it is none of this search's
                self._tell_observer(str(error))

    def sweep(self) -> None:
        """Delete checkpoints that nothing stored names: of one that died before it told of them."""
        found = {file.name for file in self._folder.glob("group-*")}
        # Whoever holds the lease now has held it since the view was read: no file is another's.
        self._written(lambda: self.repository.renew(self._lease))
        self._delete(found - self.view.files())

    def collect(self, least: int = 0, *, has_ended: bool = False) -> None:
        """Delete checkpoints that nothing can need any more, if there are ``least`` more files.

        More, that is, than there were needed the last time: to find them takes a look at all
        trials. Of a search that ``has_ended`` none is continued any more.
        """
        if not self.view.stages or len(self.view.files()) < self._num_needed + least:
            return
        wanted = needed(self.view, has_ended=has_ended)
        self._num_needed = len(wanted)
        self._delete(self.view.files() - wanted)

    def regroup(
        self,
        groups: Mapping[int, int],
        records: Sequence[GroupRecord],
        speeds: Sequence[SpeedRecord] = (),
    ) -> None:
        """Trials have other groups, by id, which are trained in the way that ``records`` say.

        ``speeds`` are what was found out about the group that they had.
        """
        self._written(lambda: self.repository.regroup(self._lease, groups, records, speeds))
        self._move(groups)
        self.view.groups.update({record.number: record for record in records})
        self.view.speeds.add(speeds)

    def _move(self, groups: Mapping[int, int]) -> None:
        trials = self.view.trials
        self.view.update(replace(trials[id], group=group) for id, group in groups.items())

    def fail(self, trial: TrialRecord, kind: FailureKind, message: str) -> None:
        """A trial has failed, for ``message``."""
        failures = {trial.id: (kind, message)}
        self._written(lambda: self.repository.fail_trials(self._lease, failures))
        self.view.update(
            [replace(trial, state="failed", failure_kind=kind, failure_message=message)]
        )
        self._drop([trial.checkpoint_file])
        self._tell_failed([self.view.trials[trial.id]])

    def _tell_failed(self, failed: Sequence[TrialRecord]) -> None:
        """Of those that diverge nothing is told: it is what their configurations give."""
        if failed:
            first, is_one = failed[0], len(failed) == 1
            who = f"number {first.number}" if is_one else f"{len(failed)} trials"
            why = f": {said(first)}" if is_one else f", {in_common(failed)}"
            self.tell(f"{who} failed ({first.failure_kind}){why}")

    def tell(self, message: str) -> None:
        """Trouble, and what is done about it."""
        event = {"message": message}
        self._written(lambda: self.repository.add_event(self._lease, "trouble", event))
        self.observe(Troubled(view=self.view, message=message))

    def conclude(self, found: Sequence[NewDiagnosis]) -> None:
        """Store what is found of the whole search."""
        search_id = self.view.search.id
        self._written(
            lambda: self.repository.add_diagnoses(self._lease, search_id, found),
            lambda: () if self.is_concluded() else None,
        )

    def read(self, reading: Callable[[], Given]) -> Given:
        """What ``reading`` gives of the database; waits while that is away."""
        return self._written(reading)

    def is_concluded(self) -> bool:
        """Whether what is found of the whole search is stored; that of the checks is older."""
        stored = self.read(lambda: self.repository.diagnoses(self.view.search.id))
        return any(not found.kind.startswith(CHECK_KIND) for found in stored)

    def _stored_stage(
        self, new: NewStage, trials: Sequence[NewTrial]
    ) -> tuple[StageRecord, list[TrialRecord]] | None:
        stages, _ = self.repository.load(self.view.search.id)
        found = next((stage for stage in stages if stage.position == new.position), None)
        return None if found is None else (found, self._stored_trials(trials) or [])

    def _stored_trials(self, trials: Sequence[NewTrial]) -> list[TrialRecord] | None:
        numbers = {trial.number for trial in trials}
        _, stored = self.repository.load(self.view.search.id)
        return [trial for trial in stored if trial.number in numbers] or None

    def _written(
        self, write: Callable[[], Given], stored: Callable[[], Given | None] = lambda: None
    ) -> Given:
        """What ``write`` gives; see :func:`patiently`."""
        return patiently(write, self._tell_observer, stored)

    def _tell_observer(self, message: str) -> None:
        self.observe(Troubled(view=self.view, message=message))


def _asks_prior(stages: Sequence[StageRecord]) -> bool:
    """Whether the first stage is still to be planned, or to be asked from a sampler that learns."""
    last = stages[-1] if stages else None
    return last is None or last.position < 0 or (last.position == 0 and last.sampler in LEARNING)

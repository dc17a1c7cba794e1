"""Coordinator: the one loop of a search, which decides from stored records and stores first.

Made by ``hpsearch.api`` with a lease on the search; killed at any moment, another one goes on from
the database and the finished table is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from hpsearch.coordinator import progress
from hpsearch.coordinator.asking import Asker
from hpsearch.coordinator.checking import ChecksFailed, checked, diagnoses, failed
from hpsearch.coordinator.events import (
    Advanced,
    Checked,
    Finished,
    Observer,
    StageOpened,
    Troubled,
)
from hpsearch.coordinator.failures import failure_kind, headline
from hpsearch.coordinator.groups import (
    build_group,
    cost,
    from_the_start,
    has_checkpoint,
    to_train,
)
from hpsearch.coordinator.packing import halve, pack
from hpsearch.coordinator.planning import next_stage
from hpsearch.coordinator.verdict import final_diagnoses
from hpsearch.coordinator.view import SearchView
from hpsearch.coordinator.warm_starts import resolve_warm_starts
from hpsearch.errors import HpsearchError
from hpsearch.executors.base import Ended, Executor, Lost, Raised, Reported, Update
from hpsearch.storage.leases import Lease
from hpsearch.storage.records import (
    CHECK_KIND,
    FINISHED,
    FailureKind,
    NewTrial,
    SearchRecord,
    StageRecord,
    TrialRecord,
)
from hpsearch.storage.repository import Repository
from workers.messages import Report

MAX_LOSSES = 3  # of a group's worker, before the group is parted or given up
WAIT_S = 1.0


class Coordinator:
    """Runs one search to its end on ``executor``."""

    def __init__(
        self,
        repository: Repository,
        lease: Lease,
        search: SearchRecord,
        executor: Executor,
        checkpoints: Path,
        observer: Observer = lambda event: None,
        *,
        force: bool = False,
    ) -> None:
        """``force``: the search goes on although a check failed."""
        self._repository, self._lease, self._executor = repository, lease, executor
        self._observer, self._force = observer, force
        self._folder = checkpoints
        self._view = SearchView(search)
        stages, trials = repository.load(search.id)
        self._view.stages.extend(stages)
        self._view.add(trials)
        # Once, when a trial first asks: a search may go on although a source is gone by then.
        self._look_up_warm_starts = cache(
            partial(resolve_warm_starts, repository, search.spec, checkpoints.parent, search.id)
        )
        if not stages:
            self._look_up_warm_starts()  # what cannot be started from is refused at once
        self._asker = Asker(self._view)
        self._queue = self._longest_first(self._view.unfinished_groups())
        self._running: set[int] = set()
        self._losses: dict[int, int] = {}
        self._unreadable: set[int] = set()  # groups whose checkpoint is damaged

    def run(self) -> SearchView:
        """Train until the search is complete; give its records. The lease is left to the caller."""
        while True:
            self._start_groups()
            if self._running:
                for update in self._executor.wait(WAIT_S):
                    self._take(update)
            elif not self._queue and not self._plan():
                return self._finish()

    def _start_groups(self) -> None:
        while self._queue and len(self._running) < self._executor.num_slots:
            number = self._queue.pop(0)
            members = self._members(number)
            stage = next(s for s in self._view.stages if s.id == members[0].stage_id)
            spec = self._view.search.spec
            group = build_group(
                spec,
                stage,
                members,
                self._folder,
                self._look_up_warm_starts,
                self._view.budgets(members[0]),
            )
            worker = self._executor.start(number, group)
            waiting = [trial for trial in members if trial.state not in FINISHED]
            self._repository.start_group(self._lease, [trial.id for trial in waiting], worker)
            self._view.update(
                replace(trial, state="running", attempts=trial.attempts + 1) for trial in waiting
            )
            self._running.add(number)

    def _members(self, number: int) -> list[TrialRecord]:
        """The group's members, from its checkpoint if that can be had, else from the start."""
        trials = self._view.of_group(number)
        members = to_train(trials)
        if number not in self._unreadable and has_checkpoint(members, self._folder):
            return members
        self._tell(f"group {number} has no checkpoint any more; it is trained from the start")
        return from_the_start(trials)

    def _take(self, update: Update) -> None:
        match update:
            case Reported(group=number, report=report):
                self._store(number, report)
            case Ended(group=number):
                self._running.discard(number)
                self._lost(number, "its worker ended before its last epoch")
            case Lost(group=number, message=message):
                self._running.discard(number)
                self._lost(number, message)
            case Raised(group=number, traceback=traceback):
                self._running.discard(number)
                self._raised(number, traceback)

    def _store(self, number: int, report: Report) -> None:
        if report.checkpoint is not None:
            relative = str(Path(report.checkpoint).relative_to(self._folder))
            report = replace(report, checkpoint=relative)
        objective = self._view.search.spec.objective
        changed = progress.advance(self._view.trials, report, objective)
        if not changed:
            return
        commit = progress.commit(self._view.trials, changed, report)
        self._repository.commit_report(self._lease, commit)
        self._drop_passed_checkpoint(number, report)
        self._view.update(changed)
        self._observer(Advanced(view=self._view, trial_epochs=len(commit.metrics)))

    def _drop_passed_checkpoint(self, number: int, report: Report) -> None:
        """Delete the group's checkpoint before this one, unless it is a complete trial's last."""
        if report.checkpoint is None or not report.trials:
            return
        passed = self._view.trials[report.trials[0]].checkpoint_file
        if passed is None or not passed.startswith(f"group-{number}-"):
            return
        members = self._view.of_group(number)
        if not any(t.checkpoint_file == passed and t.state == "complete" for t in members):
            (self._folder / passed).unlink(missing_ok=True)

    def _lost(self, number: int, message: str) -> None:
        """Train the group again; part it when that does not help; give up a trial alone."""
        unfinished = self._unfinished(number)
        if not unfinished:
            return  # it had sent its last report
        losses = self._losses[number] = self._losses.get(number, 0) + 1
        if losses < MAX_LOSSES:
            self._tell(f"group {number} lost its worker ({message}); it is trained again")
            self._queue.insert(0, number)
        elif len(unfinished) > 1:
            self._part(number, unfinished, f"lost its worker {losses} times ({message})")
            self._losses |= dict.fromkeys(self._queue[:2], MAX_LOSSES - 1)
        else:
            self._fail(unfinished[0], "worker_lost", message)

    def _raised(self, number: int, traceback: str) -> None:
        """Part the group until the member that raises is alone, and fails alone."""
        unfinished = self._unfinished(number)
        said = headline(traceback)
        if "CheckpointNotWritten" in said:
            raise HpsearchError(f"a checkpoint could not be stored: {said}; mend it, and resume")
        if "CheckpointError" in said and number not in self._unreadable:
            self._unreadable.add(number)
            self._queue.insert(0, number)
        elif len(unfinished) > 1:
            self._part(number, unfinished, f"raised {said}")
        elif unfinished:
            self._fail(unfinished[0], failure_kind(traceback), traceback)

    def _unfinished(self, number: int) -> list[TrialRecord]:
        return [t for t in self._view.of_group(number) if t.state not in FINISHED]

    def _part(self, number: int, members: Sequence[TrialRecord], what: str) -> None:
        groups = halve([trial.id for trial in members], self._view.next_group)
        self._repository.regroup(self._lease, groups)
        self._view.update(replace(trial, group=groups[trial.id]) for trial in members)
        self._queue = [*sorted(set(groups.values())), *self._queue]
        self._tell(f"group {number} {what}; it is parted in two to find the trial that does it")

    def _fail(self, trial: TrialRecord, kind: FailureKind, message: str) -> None:
        self._repository.fail_trials(self._lease, {trial.id: (kind, message)})
        self._view.update(
            [replace(trial, state="failed", failure_kind=kind, failure_message=message)]
        )
        self._tell(f"number {trial.number} failed ({kind})")

    def _plan(self) -> bool:
        """Ask for the stage's next trials, or open the next stage; False at the search's end."""
        if self._view.stages:
            if self._ask():
                return True
            if self._view.stages[-1].state == "running":
                self._close_stage()
        return self._open_stage()

    def _ask(self) -> bool:
        stage = self._view.stages[-1]
        generation = self._asker.next_generation(stage)
        if generation:
            trials = [replace(trial, stage_id=stage.id) for trial in self._pack(generation)]
            self._adopt(self._repository.add_trials(self._lease, trials))
        return bool(generation)

    def _open_stage(self) -> bool:
        plan = next_stage(self._view)
        if plan is None:
            return False
        stage, trials = self._repository.open_stage(
            self._lease, plan.stage, self._pack(plan.trials)
        )
        self._view.stages.append(stage)
        self._adopt(trials)
        self._observer(StageOpened(view=self._view, stage=stage))
        self._ask()  # what need not wait for the continued trials is trained beside them
        return True

    def _close_stage(self) -> None:
        stage = self._view.stages[-1]
        if stage.kind == "check":
            self._check(stage)
        else:
            self._repository.finish_stage(self._lease, stage.id)
        self._view.stages[-1] = replace(stage, state="complete")

    def _check(self, stage: StageRecord) -> None:
        """Make the checks, store them, and close the stage; ChecksFailed if one failed."""
        spec = self._view.search.spec
        results = checked(self._executor, spec, self._look_up_warm_starts())
        broken = [] if self._force else failed(results)
        self._repository.store_checks(
            self._lease, stage.id, diagnoses(results, stage.id), not broken
        )
        self._observer(Checked(view=self._view, results=tuple(results)))
        if broken:
            raise ChecksFailed(spec.name, broken)

    def _pack(self, trials: Sequence[NewTrial]) -> list[NewTrial]:
        spec = self._view.search.spec
        return pack(
            trials,
            spec.train,
            first_group=self._view.next_group,
            num_slots=self._executor.num_slots,
            width=spec.resources.width,
            rows_per_trial=spec.data.rows_per_trial,
            budgets=self._view.budgets,
        )

    def _adopt(self, trials: Sequence[TrialRecord]) -> None:
        self._view.add(trials)
        self._queue = self._longest_first([*self._queue, *{trial.group for trial in trials}])

    def _longest_first(self, groups: Sequence[int]) -> list[int]:
        spec = self._view.search.spec
        return sorted(groups, key=lambda n: (-cost(spec, self._view.of_group(n)), n))

    def _finish(self) -> SearchView:
        search = self._view.search.id
        stored = self._repository.diagnoses(search)
        # One that died after this stored them already; those of the checks are older.
        if all(found.kind.startswith(CHECK_KIND) for found in stored):
            found = final_diagnoses(self._repository, self._view)
            self._repository.add_diagnoses(self._lease, search, found)
        self._observer(Finished(view=self._view))
        return self._view

    def _tell(self, message: str) -> None:
        self._repository.add_event(self._lease, "trouble", {"message": message})
        self._observer(Troubled(view=self._view, message=message))

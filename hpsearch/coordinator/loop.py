"""Coordinator: the one loop of a search, which decides from stored records and stores first.

Made by ``hpsearch.running`` with a lease on the search; killed at any moment, another one goes on
from the database and the finished table is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from hpsearch.coordinator import progress, rungs, widths
from hpsearch.coordinator.allowance import Allowance, all_fail
from hpsearch.coordinator.asking import Asker
from hpsearch.coordinator.checking import ChecksFailed, checked, diagnoses, failed
from hpsearch.coordinator.collecting import LEAST
from hpsearch.coordinator.events import Advanced, Checked, Finished, Observer, StageOpened
from hpsearch.coordinator.groups import (
    build_group,
    cost,
    from_the_start,
    has_checkpoint,
    to_train,
)
from hpsearch.coordinator.ledger import Ledger
from hpsearch.coordinator.packing import AnyTrial, Rows, pack, rows_of, train_config
from hpsearch.coordinator.planning import next_stage
from hpsearch.coordinator.speeds import Speeds
from hpsearch.coordinator.trouble import Trouble
from hpsearch.coordinator.verdict import final_diagnoses
from hpsearch.coordinator.view import SearchView
from hpsearch.coordinator.warm_starts import resolve_warm_starts
from hpsearch.errors import Cancelled
from hpsearch.executors.base import Ended, Executor, Lost, Raised, Reported, Update
from hpsearch.settings import command
from hpsearch.spec.space import Params
from hpsearch.storage.leases import Lease, Orders
from hpsearch.storage.records import SearchRecord, SpeedRecord, TrialRecord
from hpsearch.storage.repository import Repository
from workers.config import TrainConfig
from workers.messages import Report

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
        orders: Callable[[], Orders] = Orders,
    ) -> None:
        """``force``: the search goes on although a check failed. ``orders`` are the latest."""
        self._executor, self._force, self._folder = executor, force, checkpoints
        self._orders, self._url = orders, repository.database.url
        self._ledger = Ledger(repository, lease, search, checkpoints, observer)
        self._view, self._spec = self._ledger.view, search.spec
        # Once, when a trial first asks: a search may go on although a source is gone by then.
        self._look_up_warm_starts = cache(
            partial(
                resolve_warm_starts,
                repository,
                search.spec,
                checkpoints.parent,
                search.id,
                pins=checkpoints,
            )
        )
        if not self._view.stages:
            self._look_up_warm_starts()  # what cannot be started from is refused at once
        self._allowance = Allowance(search.spec.budget, partial(repository.events, search.id))
        self._asker, self._trouble = Asker(self._view), Trouble(self._ledger)
        self._queue = self._in_order(self._view.unfinished_groups())
        self._running, self._told = set[int](), set[str]()
        self._packed_for = self._ledger.packed_for(executor.most_slots)

    def run(self) -> SearchView:
        """Train until the search is complete; give its records. The lease is left to the caller.

        Raises Cancelled once that is ordered.
        """
        self._ledger.sweep()
        self._end_if_all_fail()  # one that died may have had it happen
        self._ask()  # or have opened a stage and not asked for its trials
        self._decide_rungs()
        while True:
            self._obey()
            if self._is_over():
                return self._finish()
            self._start_groups()
            if self._running:
                for update in self._executor.wait(WAIT_S):
                    self._take(update)
            elif not self._executor.num_slots:
                time.sleep(WAIT_S)  # others have all workers now
            elif not self._queue and not self._plan():
                return self._finish()

    def _obey(self) -> None:
        orders = self._orders()
        if orders.cancelled:
            search = self._view.search
            raise Cancelled(
                f"search {search.name} (id {search.id}) was cancelled, and all that was reported "
                f"is stored: go on with {command(f'resume {search.id}', self._url)}"
            )
        if orders.workers is not None:
            self._executor.resize(orders.workers)

    def _is_over(self) -> bool:
        """Whether its budget is spent: what has not ended by then ends with what it has."""
        why = self._allowance.spent(self._view, self._executor.gpus_per_worker)
        if why is not None:
            self._ledger.end_early(why)
        return why is not None

    def _start_groups(self) -> None:
        while self._queue and len(self._running) < self._executor.num_slots:
            number = self._queue.pop(0)
            if self._is_too_wide(number):
                self._adopt(self._trouble.too_wide(number))
                continue
            members = self._members(number)
            config = train_config(self._spec.train, members[0].params)
            start_epoch, device = members[0].checkpoint_epoch, self._executor.device
            record = widths.as_started(self._view, members, config, start_epoch, device)
            group = build_group(
                self._spec,
                next(s for s in self._view.stages if s.id == members[0].stage_id),
                members,
                self._folder,
                self._look_up_warm_starts,
                self._view.budgets(members[0]),
                record,
            )
            self._trouble.begun[number] = len(members)
            self._ledger.start(members, self._executor.start(number, group), record)
            self._running.add(number)

    def _is_too_wide(self, number: int) -> bool:
        """Whether it was packed before a group of so many rows was seen to find no memory."""
        trials = self._view.of_group(number)
        if number in self._view.groups or len(trials) == 1:
            return False
        room = self._view.speeds.most(self._kind(trials[0].params), self._executor.device)
        return len(trials) * self._spec.data.rows_per_trial > room

    def _members(self, number: int) -> list[TrialRecord]:
        """The group's members, from its checkpoint if that can be had, else from the start."""
        trials = self._view.of_group(number)
        members = to_train(trials)
        if number not in self._trouble.unreadable and has_checkpoint(members, self._folder):
            return members
        self._ledger.tell(
            f"group {number} has no checkpoint any more; it is trained from the start"
        )
        return from_the_start(trials)

    def _take(self, update: Update) -> None:
        if isinstance(update, Reported):
            self._store(update.group, update.report)
            self._tell_once(update.report.note)
            return
        self._running.discard(update.group)
        self._adopt(self._again(update))
        self._end_if_all_fail()
        self._decide_rungs()
        self._ledger.collect(LEAST)

    def _tell_once(self, note: str | None) -> None:
        if note is not None and note not in self._told:
            self._told.add(note)
            self._ledger.tell(note)

    def _end_if_all_fail(self) -> None:
        if (found := all_fail(self._view, self._url)) is not None:
            raise found

    def _again(self, update: Ended | Lost | Raised) -> list[int]:
        """The groups that are to be trained next, now that one has ended, well or not."""
        match update:
            case Ended(group=number):
                return self._trouble.lost(number, "its worker ended before its last epoch")
            case Lost(group=number, message=message):
                return self._trouble.lost(number, message)
            case Raised(group=number, traceback=traceback):
                return self._trouble.raised(number, traceback)

    def _store(self, number: int, report: Report) -> None:
        if report.checkpoint is not None:
            relative = str(Path(report.checkpoint).relative_to(self._folder))
            report = replace(report, checkpoint=relative)
        changed = progress.advance(self._view.trials, report, self._spec.objective)
        group, speeds = widths.as_measured(
            self._view.groups.get(number), report, self._executor.device
        )
        if not changed and group is None:
            return
        commit = replace(
            progress.commit(self._view.trials, changed, report, self._spec),
            group=group,
            speeds=speeds,
            regrouped={} if group is None else self._widened(group.kind, speeds),
        )
        started_s = time.perf_counter()
        self._ledger.report(commit, changed)
        stored_s = time.perf_counter() - started_s
        self._adopt(set(commit.regrouped.values()))
        num_epochs = len(commit.metrics)
        self._observe(Advanced(view=self._view, trial_epochs=num_epochs, stored_s=stored_s))

    def _widened(self, kind: str, measured: Iterable[SpeedRecord]) -> dict[int, int]:
        """New groups, by trial id, for those of a kind that wait, if ``measured`` makes them wider.

        Stored with what was measured: one that dies has done both, or neither.
        """
        waiting = [number for number in self._queue if self._is_new(number, kind)]
        trials = [trial for number in waiting for trial in self._view.of_group(number)]
        trials.sort(key=lambda trial: trial.number)
        packed = self._pack(trials, self._view.speeds.with_more(measured))
        groups = {trial.id: trial.group for trial in packed}
        return groups if len(set(groups.values())) < len(waiting) else {}

    def _is_new(self, number: int, kind: str) -> bool:
        has_begun = number in self._view.groups
        return not has_begun and self._kind(self._view.of_group(number)[0].params) == kind

    def _decide_rungs(self) -> None:
        """Where all have come that are to be compared, end some trials and pack the others anew."""
        for rung in rungs.due(self._view):
            decision = rungs.decide(self._view, rung)
            kept = tuple(self._pack(decision.kept))
            self._ledger.decide(rung, replace(decision, kept=kept))
            self._adopt(_groups(kept))

    def _plan(self) -> bool:
        """Ask for the stage's next trials, or open the next stage; False at the search's end."""
        if self._ask():
            return True
        if self._view.stages and self._view.stages[-1].state == "running":
            self._close_stage()
        return self._open_stage()

    def _ask(self) -> bool:
        if not self._view.stages:
            return False
        stage = self._view.stages[-1]
        generation = self._asker.next_generation(stage)
        if generation:
            self._adopt(_groups(self._ledger.add_trials(self._pack(generation))))
        return bool(generation)

    def _open_stage(self) -> bool:
        plan = next_stage(self._view)
        if plan is None:
            return False
        self._adopt(_groups(self._ledger.open_stage(plan.stage, self._pack(plan.trials))))
        self._observe(StageOpened(view=self._view, stage=self._view.stages[-1]))
        self._ask()  # what need not wait for the continued trials is trained beside them
        return True

    def _close_stage(self) -> None:
        if self._view.stages[-1].kind == "check":
            self._check()
        else:
            self._ledger.finish_stage()
            self._ledger.collect()

    def _check(self) -> None:
        """Make the checks, store them, and close the stage; ChecksFailed if one failed."""
        results = checked(self._executor, self._spec, self._packed_for, self._look_up_warm_starts())
        broken = [] if self._force else failed(results)
        self._ledger.store_checks(diagnoses(results, self._view.stages[-1].id), not broken)
        self._observe(Checked(view=self._view, results=tuple(results)))
        if broken:
            raise ChecksFailed(self._spec.name, broken)

    def _pack(self, trials: Sequence[AnyTrial], speeds: Speeds | None = None) -> list[AnyTrial]:
        return pack(
            trials,
            self._spec.train,
            first_group=self._view.next_group,
            num_slots=self._packed_for,
            rows=partial(self._rows, speeds or self._view.speeds),
            rows_per_trial=self._spec.data.rows_per_trial,
            budgets=self._view.budgets,
        )

    def _rows(self, speeds: Speeds, config: TrainConfig) -> Rows:
        place = widths.kind(self._spec, config), self._executor.device
        return rows_of(self._spec.resources.width, speeds.best(*place), speeds.most(*place))

    def _kind(self, params: Params) -> str:
        return widths.kind(self._spec, train_config(self._spec.train, params))

    def _adopt(self, groups: Collection[int]) -> None:
        """Queue groups; those whose trials went over to them are left out."""
        if groups:
            queued = [number for number in self._queue if self._view.of_group(number)]
            self._queue = self._in_order([*queued, *groups])

    def _in_order(self, groups: Iterable[int]) -> list[int]:
        """Those that have begun, and parts of such, are next, as undisturbed; then the longest."""
        begun = self._view.groups
        return sorted(groups, key=lambda number: (number not in begun, -self._cost(number), number))

    def _cost(self, number: int) -> float:
        trials = to_train(self._view.of_group(number))
        kind, device = self._kind(trials[0].params), self._executor.device
        return cost(self._spec, trials, self._view.speeds.row_step_s(kind, device))

    def _finish(self) -> SearchView:
        if not self._ledger.is_concluded():  # by one that died after that
            repository = self._ledger.repository
            found = self._ledger.read(lambda: final_diagnoses(repository, self._view))
            self._ledger.conclude(found)
        self._ledger.collect(has_ended=True)
        self._observe(Finished(view=self._view))
        return self._view

    @property
    def _observe(self) -> Observer:
        return self._ledger.observe


def _groups(trials: Iterable[TrialRecord]) -> set[int]:
    return {trial.group for trial in trials}

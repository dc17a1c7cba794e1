"""Crashes at any write, lost workers and trials that raise: the finished table is the same."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from coordinated import WRITES, a_search, coordinate, crash, curve, finished_table, sqlite_in, stop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpsearch.coordinator.events import Event, Troubled
from hpsearch.executors.base import Ended, Lost, Raised, Update
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.repository import Repository
from workers.messages import Member, Metric, TrialGroup


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The finished table of a search that nothing happened to."""
    repository = sqlite_in(tmp_path_factory.mktemp("undisturbed"))
    coordinate(repository, a_search())
    return finished_table(repository)


CULPRIT = 13  # the id of a trial that raises, so that a crash meets groups that are being parted


def _eventful() -> SimulatedExecutor:
    """One trial raises, some stop early, some are refused; values have a spread, layers a norm."""

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if any(member.trial == CULPRIT for member in group.members) else None

    def detailed(member: Member, epoch: int) -> dict[str, Metric]:
        norms = [0.5 / epoch, math.inf]
        return {**curve(member, epoch), "spread": 0.1 / epoch, "layer_gradient_norms": norms}

    return SimulatedExecutor(
        detailed,
        fault=fault,
        stops=lambda member, epoch: member.seed % 3 == 0 and epoch == 2 + member.seed % 4,
        refuses=lambda member: "depth must be 1" if member.seed % 7 == 0 else None,
    )


def test_the_writes_that_a_crash_is_tried_at_are_all_there_are() -> None:
    assert {"open_stage", "commit_report", "decide_rung", "regroup", "fail_trials"} <= set(WRITES)
    assert len(WRITES) == 14


@pytest.fixture(scope="module")
def undisturbed_but_for_its_trials(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[object, ...]]:
    repository = sqlite_in(tmp_path_factory.mktemp("culprit"))
    view = coordinate(repository, a_search(), _eventful())
    trials = view.trials.values()
    assert {t.failure_kind for t in trials} == {None, "error"}
    assert len([t for t in trials if t.failure_message == "depth must be 1"]) >= 3
    assert len([t for t in trials if t.stopped_early and t.epochs < t.target_epochs]) >= 5
    assert any(t.stopped_early and t.epochs == t.target_epochs == 3 for t in trials)
    return finished_table(repository)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    crashes=st.lists(st.tuples(st.integers(1, 80), st.booleans()), min_size=1, max_size=6),
    checkpoints_vanish=st.booleans(),
)
def test_dying_before_or_after_any_write_leaves_the_same_finished_table(
    crashes: list[tuple[int, bool]],
    checkpoints_vanish: bool,
    undisturbed_but_for_its_trials: list[tuple[object, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("crashed")
    repository = sqlite_in(folder)
    for after_writes, before in crashes:
        crash(
            repository.database,
            folder / "checkpoints",
            after_writes,
            before,
            a_search(),
            _eventful(),
        )
        if checkpoints_vanish:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    coordinate(repository, a_search(), _eventful(), folder / "checkpoints")
    assert finished_table(repository) == undisturbed_but_for_its_trials


def test_a_worker_that_dies_after_its_last_report_costs_nothing(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    class DiesLate(SimulatedExecutor):
        def wait(self, timeout_s: float) -> list[Update]:
            return [
                Lost(group=update.group, message="too late")
                if isinstance(update, Ended)
                else update
                for update in super().wait(timeout_s)
            ]

    said: list[Event] = []
    coordinate(repository, a_search(), DiesLate(curve), observer=said.append)
    assert finished_table(repository) == undisturbed
    assert not any(isinstance(event, Troubled) for event in said)


def test_a_damaged_checkpoint_is_told_and_trained_again_from_the_start(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    class Damaged(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            self.bad = number if group.start_epoch > 0 else None
            return super().start(number, group)

        def wait(self, timeout_s: float) -> list[Update]:
            if self.bad is None:
                return super().wait(timeout_s)
            number, self.bad = self.bad, None
            del self._groups[number]
            self._events = [event for event in self._events if event.number != number]
            return [Raised(group=number, traceback="CheckpointError: g.safetensors cannot be read")]

    said: list[Event] = []
    executor = Damaged(curve, num_slots=1)
    coordinate(repository, a_search(), executor, observer=said.append)
    mine, theirs = finished_table(repository), undisturbed
    assert [row[:5] for row in mine] == [row[:5] for row in theirs]
    assert any("trained from the start" in e.message for e in said if isinstance(e, Troubled))


def test_the_two_databases_hold_the_same_finished_table(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    coordinate(repository, a_search())
    assert finished_table(repository) == undisturbed


def test_lost_workers_cost_a_segment_and_change_nothing(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "lost" if attempt == 1 and epoch == 3 else None

    said: list[Event] = []
    coordinate(repository, a_search(), SimulatedExecutor(curve, fault=fault), observer=said.append)
    assert finished_table(repository) == undisturbed
    assert sum(isinstance(event, Troubled) for event in said) >= 4


def test_a_trial_that_raises_fails_alone_with_its_traceback(repository: Repository) -> None:
    culprit = 13

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if any(member.trial == culprit for member in group.members) else None

    view = coordinate(repository, a_search(), SimulatedExecutor(curve, fault=fault))
    failed = [trial for trial in view.trials.values() if trial.state == "failed"]
    assert [(trial.id, trial.failure_kind) for trial in failed] == [(culprit, "error")]
    assert "RuntimeError" in failed[0].failure_message
    stored = {t.id: t for t in repository.load(view.search.id)[1]}
    assert stored[culprit].failure_message == failed[0].failure_message


def test_a_trial_that_kills_its_workers_is_given_up_alone_as_worker_lost(
    repository: Repository,
) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "lost" if any(member.trial == 5 for member in group.members) else None

    view = coordinate(repository, a_search(), SimulatedExecutor(curve, fault=fault))
    failed = [trial for trial in view.trials.values() if trial.state == "failed"]
    assert [(trial.id, trial.failure_kind) for trial in failed] == [(5, "worker_lost")]


def test_a_search_in_which_everything_fails_still_ends(repository: Repository) -> None:
    nan = {"val_accuracy": float("nan"), "val_loss": float("nan")}
    view = coordinate(repository, a_search(), SimulatedExecutor(lambda member, epoch: nan))
    assert {trial.failure_kind for trial in view.trials.values()} == {"diverged"}
    (said,) = [d for d in repository.diagnoses(view.search.id) if d.kind == "nothing_complete"]
    assert said.message == (
        f"all {len(view.trials)} trials diverged: lower the range of space.learning_rate, and "
        "search again"
    )
    told = len(repository.diagnoses(view.search.id))
    coordinate(repository, a_search(), SimulatedExecutor(lambda member, epoch: nan))
    assert len(repository.diagnoses(view.search.id)) == told, "told twice after a late death"


@pytest.mark.parametrize("num_slots", [1, 3, 7])
def test_the_number_of_workers_does_not_change_what_is_sampled(
    num_slots: int, undisturbed: list[tuple[object, ...]], tmp_path: Path
) -> None:
    repository = sqlite_in(tmp_path)
    coordinate(repository, a_search(), SimulatedExecutor(curve, num_slots=num_slots))
    rows = [row for row in finished_table(repository) if len(row) == len(undisturbed[10])]
    expected = [row for row in undisturbed if len(row) == len(undisturbed[10])]
    assert [row[:12] for row in rows] == [row[:12] for row in expected]


def test_groups_are_packed_for_all_workers_although_some_have_died(
    repository: Repository, tmp_path: Path
) -> None:
    search = a_search(resources={"width": 32})
    stop(repository, search, SimulatedExecutor(curve, num_slots=4), tmp_path, after_reports=3)
    alone = SimulatedExecutor(curve, num_slots=1)
    view = coordinate(repository, search, alone, tmp_path)
    other = sqlite_in(tmp_path)
    undisturbed = coordinate(other, search, SimulatedExecutor(curve, num_slots=4))
    assert [t.group for t in view.trials.values()] == [t.group for t in undisturbed.trials.values()]
    assert finished_table(repository) == finished_table(other)

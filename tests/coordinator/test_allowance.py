"""Budgets end a search, complete with what it has; a search in which everything fails is ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from coordinated import a_search, coordinate, curve

from hpsearch.coordinator import allowance as allowance_module
from hpsearch.coordinator.allowance import AllFail, carried_out_s
from hpsearch.coordinator.view import SearchView
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.database import Database
from hpsearch.storage.records import BEGUN, FINISHED, EventRecord
from hpsearch.storage.repository import Repository
from workers.messages import Member

ONE_STAGE = [{"name": "only", "trials": 24, "epochs": 4}]


@pytest.fixture
def repository(sqlite_url: str) -> Repository:
    return Repository(Database(sqlite_url))


def spent_epochs(view: SearchView) -> int:
    return sum(trial.epochs - trial.start_epoch for trial in view.trials.values())


def message(repository: Repository) -> str | None:
    return repository.find_search("simulated").message


@pytest.mark.parametrize("epochs", [1, 30, 80])
def test_a_budget_of_epochs_ends_the_search_with_what_it_has(
    repository: Repository, epochs: int
) -> None:
    view = coordinate(repository, a_search(stages=ONE_STAGE, budget={"epochs": epochs}))
    assert epochs <= spent_epochs(view) < 24 * 4
    assert message(repository) == f"budget.epochs of {epochs} is spent"
    assert repository.find_search("simulated").state == "complete"
    stages, trials = repository.load(view.search.id)
    assert [stage.state for stage in stages] == ["complete"]
    assert {trial.state for trial in trials} <= set(FINISHED)
    for trial in trials:
        if trial.epochs == 0:
            assert trial.state == "pruned"
        elif trial.epochs < 4:
            assert (trial.state, trial.stopped_early) == ("complete", True)
    assert any(trial.state == "complete" and trial.value is not None for trial in trials)


def test_a_budget_that_is_not_reached_changes_nothing(repository: Repository) -> None:
    view = coordinate(
        repository,
        a_search(budget={"epochs": 10**6, "trials": 10**6, "wall_time": "2d", "gpu_hours": 9}),
    )
    assert {trial.state for trial in view.trials.values()} <= {"complete", "failed"}
    assert message(repository) is None
    assert len(view.stages) > 2


def test_a_budget_of_trials_ends_a_later_stage(repository: Repository) -> None:
    view = coordinate(repository, a_search(budget={"trials": 26}))
    assert sum(trial.state in FINISHED for trial in view.trials.values()) >= 26
    assert len(view.stages) == 2, "the first has 24"
    assert message(repository) == "budget.trials of 26 is spent"


def test_a_budget_of_time_counts_the_earlier_runs_too(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance_module, "carried_out_s", lambda events: 3600.0)
    view = coordinate(repository, a_search(stages=ONE_STAGE, budget={"wall_time": "1h"}))
    assert spent_epochs(view) == 0
    assert message(repository) == "budget.wall_time of 3600 is spent"


def test_a_budget_of_gpu_hours_is_that_of_the_workers(repository: Repository) -> None:
    executor = SimulatedExecutor(curve)
    executor.gpus_per_worker = 0.5
    search = a_search(stages=ONE_STAGE, budget={"gpu_hours": 0.5 * 5 / 3600})
    view = coordinate(repository, search, executor)
    seconds = sum(trial.seconds for trial in view.trials.values())
    assert 5 <= seconds < 24 * 4
    assert message(repository) == f"budget.gpu_hours of {0.5 * 5 / 3600:g} is spent"


def test_one_that_died_as_its_budget_was_spent_ends_all_the_same(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = a_search(budget={"epochs": 20})
    with monkeypatch.context() as patched:
        patched.setattr(
            "hpsearch.coordinator.ledger.Ledger.finish_stage",
            lambda self: (_ for _ in ()).throw(OSError),
        )
        with pytest.raises(OSError):  # noqa: PT011 - it stands for a death
            coordinate(repository, search, folder=tmp_path)
    record = repository.find_search("simulated")
    with repository.database.write() as connection:
        from sqlalchemy import update

        from hpsearch.storage.tables import SearchRow

        connection.execute(update(SearchRow).values(lease_owner=None))
    view = coordinate(repository, search, folder=tmp_path)
    assert view.search.id == record.id
    assert [stage.state for stage in view.stages] == ["complete"]
    assert message(repository) == "budget.epochs of 20 is spent"


def log(*lines: tuple[str, float]) -> list[EventRecord]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        EventRecord(
            id=n, search_id=1, kind=kind, data={}, created_at=start + timedelta(seconds=at_s)
        )
        for n, (kind, at_s) in enumerate(lines)
    ]


def test_the_time_of_earlier_runs_is_read_from_the_log() -> None:
    events = log(
        *(("submitted", 0), ("acquired", 10), ("regrouped", 15), ("released", 20)),
        *(("submitted", 50), (BEGUN, 60)),
        *(("acquired", 100), ("trouble", 130)),  # and died
        (BEGUN, 900),
        ("acquired", 1000),  # the one that asks
    )
    assert carried_out_s(events) == 10 + 30
    assert carried_out_s(log(("acquired", 5))) == 0
    assert carried_out_s([]) == 0


def test_a_search_in_which_everything_fails_is_ended_with_the_commonest_error(
    repository: Repository,
) -> None:
    executor = SimulatedExecutor(curve, fault=lambda group, epoch, attempt: "raise")
    with pytest.raises(AllFail) as ended:
        coordinate(repository, a_search(stages=ONE_STAGE, max_failures=3), executor)
    said = str(ended.value)
    assert said.startswith("max_failures is 3, and 3 trials failed and none came to an end; 3 of ")
    url = repository.database.url
    assert said.endswith(f"try them again with `hpsearch retry-failed 1 --db {url}`")
    failed = [t for t in repository.load(1)[1] if t.state == "failed"]
    assert len(failed) == 3


def test_trials_that_are_refused_at_once_do_not_end_a_search_before_others_can(
    repository: Repository,
) -> None:
    def refuses(member: Member) -> str | None:
        return None if member.trial == 24 else "norm_groups must divide the units"

    executor = SimulatedExecutor(curve, refuses=refuses, num_slots=1)
    view = coordinate(repository, a_search(stages=ONE_STAGE, max_failures=3), executor)
    states = [trial.state for trial in view.trials.values()]
    assert sorted(states) == ["complete", *["failed"] * 23]


def test_one_trial_that_ends_well_is_enough_to_go_on(repository: Repository) -> None:
    def fault(group: Any, epoch: int, attempt: int) -> str | None:
        return None if any(member.trial == 1 for member in group.members) else "raise"

    executor = SimulatedExecutor(curve, fault=fault, num_slots=1)
    view = coordinate(repository, a_search(stages=ONE_STAGE, max_failures=20), executor)
    states = [trial.state for trial in view.trials.values()]
    assert states.count("complete") > 0
    assert states.count("failed") == 24 - states.count("complete") > 0


def test_trials_that_diverge_are_no_failures_of_the_search(repository: Repository) -> None:
    space = {"learning_rate": {"log_uniform": [10, 100]}}
    view = coordinate(repository, a_search(stages=ONE_STAGE, space=space, max_failures=1))
    assert {trial.failure_kind for trial in view.trials.values()} == {"diverged"}

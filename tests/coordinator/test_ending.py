"""A search of which no trial came to an end with a value has failed, however that came about."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from command_line import say
from coordinated import PROVENANCE, a_search, coordinate, curve
from sqlalchemy import delete

from hpsearch.coordinator.allowance import AllFail
from hpsearch.coordinator.ending import ending
from hpsearch.errors import Cancelled, HpsearchError
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.running import leased
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import TrialRow
from workers.messages import Member, Metric

STAGES = [{"name": "only", "trials": 60, "epochs": 3, "expand": 0}]
WHY = "model must take examples of shape [5], but that raises RuntimeError: boom"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(Database(f"sqlite:///{tmp_path}/hpsearch.db"))


def all_refused(repository: Repository, folder: Path | None = None) -> None:
    """60 trials that cannot be trained, as of a model of the user's own that raises."""
    executor = SimulatedExecutor(curve, refuses=lambda member: WHY, num_slots=1)
    search = a_search(stages=STAGES, max_failures=3)
    view = coordinate(repository, search, executor, folder)
    assert {trial.state for trial in view.trials.values()} == {"failed"}


def given_back(repository: Repository) -> None:
    """As whoever carries out a search gives it back when its loop is over."""
    lease = repository.acquire(1, Owner.current())
    repository.release(lease, *ending(repository, 1))


def test_a_search_in_which_every_trial_failed_has_failed_with_the_commonest_message(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    all_refused(repository)
    given_back(repository)
    record, url = repository.find_search(1), repository.database.url
    assert record.state == "failed"
    assert record.message == (
        f"none of its 60 trials ended with a value; 60 failed as error, all with: {WHY}; "
        f"mend it, and try them again with `hpsearch retry-failed 1 --db {url}`"
    )
    code, out, _ = say(capfd, "watch", "1", "--db", url)
    assert code == 1
    assert "failed (none of its 60 trials" in out
    for command in (("status", "1"), ("list",), ("events", "1")):
        assert "failed" in say(capfd, *command, "--db", url)[1]
    assert WHY in " ".join(say(capfd, "events", "1", "--db", url)[1].split())


def test_such_a_search_can_be_tried_again_and_is_complete_then(
    repository: Repository, tmp_path: Path
) -> None:
    all_refused(repository, tmp_path)
    given_back(repository)
    assert Queue(repository.database).retry_failed(1) == 60
    assert repository.find_search(1).state == "stopped"
    coordinate(repository, a_search(stages=STAGES, max_failures=3), folder=tmp_path)
    assert ending(repository, 1) == ("complete", None)
    given_back(repository)
    assert repository.find_search(1).message is None


def test_the_log_says_of_trials_that_fail_what_most_of_them_say(repository: Repository) -> None:
    def refuses(member: Member) -> str | None:
        return WHY if member.trial % 3 == 0 else "width too large" if member.trial == 1 else None

    executor = SimulatedExecutor(curve, refuses=refuses, num_slots=1)
    coordinate(repository, a_search(stages=STAGES), executor)
    log = repository.events(1)
    told = [str(event.data["message"]) for event in log if event.kind == "trouble"]
    assert any(" trials failed (error), " in one and one.endswith(f"with: {WHY}") for one in told)
    assert ending(repository, 1) == ("complete", None)


def test_a_search_whose_trials_all_diverge_has_failed(repository: Repository) -> None:
    space = {"learning_rate": {"log_uniform": [10, 100]}}
    coordinate(repository, a_search(stages=STAGES, space=space))
    state, why = ending(repository, 1)
    assert (state, why) == (
        "failed",
        "all 60 trials diverged: lower the range of space.learning_rate, and search again",
    )


def test_what_a_budget_left_of_it_is_said_before(repository: Repository) -> None:
    def nan(member: Member, epoch: int) -> dict[str, Metric]:
        return {"val_accuracy": math.nan, "val_loss": 1.0}

    search = a_search(stages=STAGES, budget={"epochs": 20})
    coordinate(repository, search, SimulatedExecutor(nan, num_slots=1))
    state, why = ending(repository, 1)
    assert state == "failed"
    assert why is not None
    assert why.startswith("budget.epochs of 20 is spent; ")


def test_a_search_without_a_trial_is_complete(repository: Repository) -> None:
    """One of checks alone, say, or an import of nothing."""
    all_refused(repository)
    with repository.database.write() as connection:
        connection.execute(delete(TrialRow))
    assert ending(repository, 1) == ("complete", None)


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (AllFail("3 failed"), "failed", "3 failed"),
        (HpsearchError("a check"), "stopped", None),
        (Cancelled("it was"), "cancelled", None),
    ],
)
def test_what_ends_a_search_before_its_end_says_how_it_is_given_back(
    repository: Repository, error: Exception, state: str, message: str | None
) -> None:
    record = repository.create_search(a_search(), PROVENANCE)
    with pytest.raises(type(error)), leased(repository, record):
        raise error
    found = repository.find_search(record.id)
    assert (found.state, found.message) == (state, message)

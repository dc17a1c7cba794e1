"""``hpsearch.run``: who owns the search while it runs, and in what state it is left."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from coordinated import PROVENANCE, a_search

import hpsearch
from hpsearch.api import _leased
from hpsearch.coordinator import heartbeat
from hpsearch.errors import Stopped
from hpsearch.storage import leases
from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseHeld, LeaseLost
from hpsearch.storage.leases import Owner
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository

ELSEWHERE = Owner(host="elsewhere", pid=1, started_s=0.0)


@pytest.fixture
def repository(database: Database) -> Repository:
    return Repository(database)


@pytest.fixture
def record(repository: Repository) -> SearchRecord:
    return repository.create_search(a_search(), PROVENANCE)


def test_a_search_that_ends_is_complete(repository: Repository, record: SearchRecord) -> None:
    with _leased(repository, record):
        assert repository.find_search(record.id).state == "running"
    assert repository.find_search(record.id).state == "complete"


@pytest.mark.parametrize(("raised", "told"), [(KeyboardInterrupt, Stopped), (OSError, OSError)])
def test_a_search_that_is_interrupted_is_stopped_and_free(
    repository: Repository,
    record: SearchRecord,
    raised: type[BaseException],
    told: type[BaseException],
) -> None:
    with pytest.raises(told), _leased(repository, record):
        raise raised
    assert repository.find_search(record.id).state == "stopped"
    repository.acquire(record.id, ELSEWHERE)


def test_a_coordinator_that_was_replaced_leaves_the_search_alone(
    repository: Repository, record: SearchRecord
) -> None:
    with pytest.raises(LeaseLost), _leased(repository, record):
        raise LeaseLost("taken")
    assert repository.find_search(record.id).state == "running"


def test_a_lease_is_kept_while_its_process_lives(
    repository: Repository, record: SearchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TTL", timedelta(seconds=0.4))
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.1)
    with _leased(repository, record):
        time.sleep(1.0)  # more than twice its time to live, without a write
        with pytest.raises(LeaseHeld):
            repository.acquire(record.id, ELSEWHERE)


def test_a_complete_search_is_only_read(tmp_path: Path) -> None:
    spec = {
        "name": "read",
        "data": {"source": "digits"},
        "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
        "stages": [{"name": "only", "trials": 2, "epochs": 1}],
    }
    url = f"sqlite:///{tmp_path / 'x.db'}"
    first = hpsearch.run(spec, db=url, ray="none")
    again = hpsearch.run(spec, db=url, ray="no cluster is asked for")
    assert again.id == first.id
    assert again.trials().equals(first.trials())
    anew = hpsearch.run(spec, db=url, ray="none", anew=True)
    assert anew.id != first.id
    assert list(anew.trials()["value"]) == list(first.trials()["value"])

"""``hpsearch.run``: who owns the search while it runs, and in what state it is left."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
from coordinated import PROVENANCE, a_search
from training_cases import blobs

import hpsearch
from hpsearch.coordinator import heartbeat
from hpsearch.coordinator.events import Advanced, Event
from hpsearch.errors import HpsearchError, Stopped
from hpsearch.running import Started, leased
from hpsearch.storage import leases
from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseHeld, LeaseLost
from hpsearch.storage.leases import Owner
from hpsearch.storage.provenance import Provenance
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
    with leased(repository, record):
        assert repository.find_search(record.id).state == "running"
    assert repository.find_search(record.id).state == "complete"


@pytest.mark.parametrize(("raised", "told"), [(KeyboardInterrupt, Stopped), (OSError, OSError)])
def test_a_search_that_is_interrupted_is_stopped_and_free(
    repository: Repository,
    record: SearchRecord,
    raised: type[BaseException],
    told: type[BaseException],
) -> None:
    with pytest.raises(told), leased(repository, record):
        raise raised
    assert repository.find_search(record.id).state == "stopped"
    repository.acquire(record.id, ELSEWHERE)


def test_a_coordinator_that_was_replaced_leaves_the_search_alone(
    repository: Repository, record: SearchRecord
) -> None:
    with pytest.raises(LeaseLost), leased(repository, record):
        raise LeaseLost("taken")
    assert repository.find_search(record.id).state == "running"


def test_a_lease_is_kept_while_its_process_lives(
    repository: Repository, record: SearchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TTL", timedelta(seconds=0.4))
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.1)
    with leased(repository, record):
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
    again = hpsearch.run(spec, db=url, ray="127.0.0.1:9")  # nobody answers there
    assert again.id == first.id
    assert again.trials().equals(first.trials())
    anew = hpsearch.run(spec, db=url, ray="none", anew=True)
    assert anew.id != first.id
    assert list(anew.trials()["value"]) == list(first.trials()["value"])


SMALL = {
    "name": "small",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [8]},
    "space": {"learning_rate": {"log_uniform": ["1e-3", "1e-1"]}},  # as YAML 1.1 reads 1e-3
    "stages": [{"name": "only", "trials": 4, "epochs": 3}],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _write_data(tmp_path, 60)
    return tmp_path


def test_a_search_of_another_spec_is_told_of_the_one_whose_name_it_takes(folder: Path) -> None:
    told: list[Started] = []
    for overrides in ([], ["seed=7"], ["seed=7"]):
        hpsearch.run(SMALL, ray="none", overrides=overrides, on_start=told.append)
    first, second, third = told
    assert (first.namesake, first.resumed) == (None, False)
    assert (second.namesake, second.resumed) == (first.search.id, False)
    assert (third.search.id, third.namesake, third.resumed) == (second.search.id, None, True)


def test_of_two_that_begin_one_search_at_once_one_is_told_of_the_other(
    folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have found none by the time that either creates it."""
    barrier, one_has_ended = threading.Barrier(2, timeout=60), threading.Event()

    def collect() -> Provenance:
        barrier.wait()
        return PROVENANCE

    def wait(event: Event) -> None:
        assert one_has_ended.wait(60)

    def run() -> object:
        try:
            return hpsearch.run(SMALL, db=database_url, ray="none", observer=wait).id
        except LeaseHeld as error:
            return str(error)
        finally:
            one_has_ended.set()

    monkeypatch.setattr(Provenance, "collect", collect)
    with ThreadPoolExecutor(2) as pool:
        ended = [future.result() for future in [pool.submit(run), pool.submit(run)]]
    (said,) = (text for text in ended if isinstance(text, str))
    assert f"search 1 is being carried out by process {os.getpid()}" in said
    assert [search.id for search in Repository(Database(database_url)).list_searches()] == [1]
    assert 1 in ended


def _write_data(folder: Path, num_train: int) -> None:
    data = blobs(num_train=num_train)
    np.savez(folder / "blobs.npz", x=data.x_train, y=data.y_train)


def _interrupt(event: Event) -> None:
    if isinstance(event, Advanced):
        raise KeyboardInterrupt


def test_a_search_whose_data_changed_is_not_gone_on_with(folder: Path) -> None:
    with pytest.raises(Stopped):
        hpsearch.run(SMALL, ray="none", observer=_interrupt)
    _write_data(folder, 64)
    with pytest.raises(HpsearchError, match=r"48 training rows.*have changed \(now 51\).*--new"):
        hpsearch.run(SMALL, ray="none")
    _write_data(folder, 60)
    assert len(hpsearch.run(SMALL, ray="none").trials()) >= 4


def test_a_search_that_another_carries_out_leaves_no_worker_processes(folder: Path) -> None:
    with pytest.raises(Stopped):
        hpsearch.run(SMALL, ray="none", observer=_interrupt)
    repository = Repository(Database("sqlite:///hpsearch.db"))
    repository.acquire(repository.find_search("small").id, ELSEWHERE)
    before = psutil.Process().children()
    with pytest.raises(LeaseHeld):
        hpsearch.run(SMALL, ray="processes")
    assert psutil.Process().children() == before


def test_a_checkpoint_folder_that_cannot_be_written_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_CHECKPOINTS", str(folder / "blobs.npz"))
    with pytest.raises(HpsearchError, match=r"checkpoints must be written to .*Not a directory"):
        hpsearch.run(SMALL, ray="none")


def test_a_checkpoint_that_cannot_be_written_stops_the_search_and_fails_no_trial(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("workers.training.checkpoints.save_file", full)
        with pytest.raises(HpsearchError, match="No space left on device"):
            hpsearch.run(SMALL, ray="none")
    assert list(hpsearch.connect().searches()["state"]) == ["stopped"]
    assert set(hpsearch.run(SMALL, ray="none").trials()["state"]) == {"complete"}


def test_a_database_that_is_not_there_is_not_made_by_reading(folder: Path) -> None:
    with pytest.raises(HpsearchError, match="there is no database"):
        hpsearch.connect("sqlite:///typo.db")
    assert not (folder / "typo.db").exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"])
def test_a_database_that_would_keep_nothing_is_refused(folder: Path, url: str) -> None:
    with pytest.raises(HpsearchError, match="SQLite database"):
        hpsearch.run(SMALL, db=url, ray="none")


def test_an_address_without_a_cluster_is_refused_at_once_and_stores_nothing(folder: Path) -> None:
    with pytest.raises(HpsearchError, match=r"no Ray cluster answers at '127.0.0.1:1'"):
        hpsearch.run(SMALL, ray="127.0.0.1:1")
    assert len(hpsearch.connect().searches()) == 0

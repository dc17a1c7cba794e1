"""The service on a real cluster: searches as Ray jobs, killed, cancelled, side by side."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from coordinated import finished_table
from killed_search import a_search, num_writes, write_search
from ray.job_submission import JobSubmissionClient
from sqlalchemy import select

from hpsearch.executors.cluster import Cluster
from hpsearch.service.jobs import ClusterAway, RayJobs
from hpsearch.service.server import Server
from hpsearch.service.serving import environment
from hpsearch.storage.database import Database
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow

PATIENCE_S = 240.0


class Service:
    """A server on the tests' cluster, and a database."""

    def __init__(self, url: str, cluster: Cluster, data: Path) -> None:
        assert cluster.dashboard is not None
        self.repository = Repository(Database(url))
        self.repository.database.upgrade()
        self.queue = Queue(self.repository.database)
        self.jobs = RayJobs(cluster.dashboard, environment(url))
        self.server = Server(self.queue, self.jobs)
        self._data = data

    def submit(self, name: str = "killed", **changes: object) -> int:
        spec = a_search(self._data, name, **changes)
        return self.queue.submit(spec, Provenance.collect()).id

    def serve_until(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s, self.repository.list_searches()
            self.server.turn()
            time.sleep(0.2)

    def state(self, search_id: int) -> str:
        return self.repository.find_search(search_id).state

    def process(self, search_id: int) -> int | None:
        """Of the job that carries it out; None before it has taken over."""
        found = {search.id: search.owner for search in self.queue.running()}.get(search_id)
        return None if found is None or found.pid == os.getpid() else found.pid


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served")
    write_search(found)
    return found


@pytest.fixture
def service(cluster: Cluster, sqlite_url: str, data: Path) -> Service:
    return Service(sqlite_url, cluster, data)


@pytest.fixture(scope="module")
def undisturbed(
    cluster: Cluster, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[object, ...]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'search.db'}"
    service = Service(url, cluster, data)
    search_id = service.submit()
    service.serve_until(lambda: service.state(search_id) == "complete")
    with service.repository.database.read() as connection:
        id = connection.execute(select(SearchRow.job)).scalar_one()
    job = JobSubmissionClient(cluster.dashboard).get_job_info(id)
    assert job.metadata is not None
    assert job.metadata["job_name"] == "killed"
    assert job.metadata["search"] == str(search_id)
    return finished_table(service.repository, "killed")


def test_a_search_whose_process_is_killed_has_the_table_of_one_that_was_not(
    service: Service, undisturbed: list[tuple[object, ...]]
) -> None:
    search_id, killed = service.submit(), set()

    def is_complete() -> bool:
        return service.state(search_id) == "complete"

    for enough in (100, 400):
        service.serve_until(lambda: num_writes(service.repository) > enough or is_complete())  # noqa: B023
        if (pid := service.process(search_id)) is not None:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        service.serve_until(
            lambda: service.process(search_id) not in (None, *killed) or is_complete()
        )
    assert killed
    service.serve_until(is_complete)
    assert finished_table(service.repository, "killed") == undisturbed


def test_a_cancelled_search_ends_and_keeps_what_it_has(service: Service) -> None:
    search_id = service.submit()
    service.serve_until(lambda: num_writes(service.repository) > 100)
    assert service.queue.cancel(search_id) == "asked"
    service.serve_until(lambda: service.state(search_id) == "cancelled")
    trials = service.repository.load(search_id)[1]
    assert any(trial.epochs for trial in trials)
    assert all(trial.state != "running" for trial in trials)


def test_a_search_that_cannot_be_fails_with_its_sentence(service: Service, tmp_path: Path) -> None:
    search_id = service.submit(data={"source": "npz", "path": str(tmp_path / "gone.npz")})
    service.serve_until(lambda: service.state(search_id) not in ("submitted", "running"))
    record = service.repository.find_search(search_id)
    assert record.state == "failed"
    assert record.message is not None
    assert "gone.npz" in record.message


def test_two_searches_run_side_by_side(service: Service) -> None:
    stages = [{"name": "coarse", "trials": 12, "epochs": 400}]
    ids = [service.submit(name, stages=stages) for name in ("one", "other")]
    started = {id: False for id in ids}

    def both_have_begun() -> bool:
        for id in ids:
            trials = service.repository.load(id)[1]
            started[id] |= any(trial.epochs for trial in trials)
        return all(started.values())

    service.serve_until(both_have_begun)
    assert all(service.state(id) == "running" for id in ids)
    assert [search.workers for search in service.queue.running()] == [1, 1]
    for id in ids:
        service.queue.cancel(id)
    service.serve_until(lambda: all(service.state(id) == "cancelled" for id in ids))


def test_a_cluster_that_is_not_there_is_waited_for(sqlite_url: str) -> None:
    jobs = RayJobs("http://127.0.0.1:9", environment(sqlite_url))
    with pytest.raises(ClusterAway, match=r"cluster at http://127\.0\.0\.1:9 does not answer"):
        jobs.capacity()
    with pytest.raises(ClusterAway):
        jobs.why_ended("hpsearch-1-1")


def test_what_the_dashboard_shows_of_a_job_has_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HPSEARCH_CHECKPOINTS", raising=False)
    assert environment("postgresql://me:secret@host/name") == {}, "the nodes have their own folder"
    monkeypatch.setenv("HPSEARCH_CHECKPOINTS", "/shared")
    found = environment("postgresql://me:secret@host/name")
    assert found == {"HPSEARCH_CHECKPOINTS": "/shared"}
    assert environment("postgresql://me@host/name")["HPSEARCH_DATABASE_URL"] == (
        "postgresql+psycopg://me@host/name"
    )

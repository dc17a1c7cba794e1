"""Server: searches get a job each, whoever dies; what ended is given back; workers are shared."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from stored_searches import ELSEWHERE, PROVENANCE, a_report, a_spec, a_stage, a_trial

from hpsearch.service import server as server_module
from hpsearch.service.jobs import Capacity, ClusterAway, job_name
from hpsearch.service.server import Server
from hpsearch.settings import MOST_SEARCHES
from hpsearch.spec.search import Resources
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Lease, Owner
from hpsearch.storage.queue import MOST_IN_VAIN, Claim, Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow

HERE = Owner.current()
DEAD = Owner(host=HERE.host, pid=2**22 + 1, started_s=1.0)


class FakeJobs:
    """Jobs that do nothing but what a test does for them."""

    def __init__(self, num_cpus: int = 4) -> None:
        self.claims: dict[str, Claim] = {}
        self.ended: dict[str, str] = {}
        self.stopped: list[str] = []
        self.num_cpus, self.is_away = num_cpus, False

    def submit(self, claim: Claim) -> str:
        self._reach()
        job = job_name(claim.lease)
        self.claims[job] = claim
        return job

    def why_ended(self, job: str) -> str | None:
        self._reach()
        return self.ended.get(job)

    def stop(self, job: str) -> None:
        self._reach()
        self.stopped.append(job)

    def capacity(self) -> Capacity:
        self._reach()
        return Capacity(num_cpus=self.num_cpus, num_gpus=0)

    def _reach(self) -> None:
        if self.is_away:
            raise ClusterAway("it is away")


class Served:
    """A server, the database and the jobs."""

    def __init__(self, database: Database, most_searches: int = MOST_SEARCHES) -> None:
        self.database, self.jobs = database, FakeJobs()
        self.queue, self.repository = Queue(database), Repository(database)
        self.server = Server(self.queue, self.jobs, most_searches)

    def submit(self, priority: int = 0, **spec: object) -> int:
        return self.queue.submit(a_spec(**spec), PROVENANCE, priority).id

    def turn(self) -> None:
        self.server.turn()

    def take_over(self, owner: Owner = ELSEWHERE) -> Lease:
        """What the newest job does first."""
        claim = list(self.jobs.claims.values())[-1]
        return self.repository.take_over(claim.lease.search_id, claim.lease.token, owner)

    def state(self, search_id: int) -> str:
        return self.repository.find_search(search_id).state

    def expire(self) -> None:
        with self.database.write() as connection:
            past = datetime.now(UTC) - timedelta(hours=1)
            connection.execute(update(SearchRow).values(lease_expires_at=past))


@pytest.fixture
def served(database: Database) -> Served:
    return Served(database)


def test_what_is_submitted_gets_a_job(served: Served) -> None:
    ids = [served.submit(), served.submit()]
    served.turn()
    assert [claim.lease.search_id for claim in served.jobs.claims.values()] == ids
    assert [search.job for search in served.queue.running()] == list(served.jobs.claims)
    served.turn()
    assert len(served.jobs.claims) == 2


def test_no_more_run_side_by_side_than_may(database: Database) -> None:
    served = Served(database, most_searches=2)
    for _ in range(3):
        served.submit()
    served.turn()
    assert len(served.jobs.claims) == 2
    served.repository.release(served.take_over(), "complete")
    served.turn()
    assert len(served.jobs.claims) == 3


def test_a_job_that_starts_outlives_the_server_that_began_it(served: Served) -> None:
    served.submit()
    served.server._owner = DEAD
    served.turn()
    other = Server(served.queue, served.jobs)
    for _ in range(2):
        served.expire()  # as if it took longer than a lease lasts
        other.turn()
        assert len(served.jobs.claims) == 1, "it was begun again beside the job that starts"
        other._keep_starting()
        assert not served.queue.running()[0].has_expired
    assert served.take_over().token == 2


def test_what_a_server_claimed_and_died_before_it_had_a_job_is_begun_by_another(
    served: Served,
) -> None:
    search_id = served.submit()
    assert served.queue.claim(DEAD, MOST_SEARCHES) is not None
    served.turn()
    assert [claim.lease.search_id for claim in served.jobs.claims.values()] == [search_id]


def test_a_cluster_without_workers_begins_nothing_and_is_told_of_once(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    search_id, served.jobs.num_cpus = served.submit(), 0
    for _ in range(3):
        served.turn()
    assert served.state(search_id) == "submitted"
    assert [record.message for record in caplog.records if "neither CPUs" in record.message] == [
        "the cluster has neither CPUs nor GPUs for workers: nodes must join it"
    ]
    served.jobs.num_cpus = 1
    served.turn()
    assert served.state(search_id) == "running"


def test_a_lease_is_held_for_a_job_until_it_takes_over(served: Served) -> None:
    served.submit()
    served.turn()
    served.expire()
    served.server._keep_starting()
    assert not served.queue.running()[0].has_expired
    served.take_over()
    served.turn()
    assert served.queue.running()[0].owner == ELSEWHERE
    assert served.server._starting == {}


def test_a_search_whose_job_died_is_carried_out_by_another(served: Served) -> None:
    search_id = served.submit()
    served.turn()
    old = served.take_over()
    (job,) = served.jobs.claims
    served.jobs.ended[job] = "its job failed: killed"
    served.turn()
    assert len(served.jobs.claims) == 2
    assert served.take_over().token > old.token
    assert served.state(search_id) == "running"


def test_a_search_whose_process_died_here_is_taken_up_before_its_lease_ends(
    served: Served,
) -> None:
    served.submit()
    served.turn()
    served.take_over(DEAD)
    served.turn()
    assert len(served.jobs.claims) == 2


def test_what_another_server_left_is_taken_up(served: Served) -> None:
    served.submit()
    assert served.queue.claim(DEAD) is not None
    served.turn()
    assert len(served.jobs.claims) == 1


def test_a_server_elsewhere_keeps_what_it_claimed_until_its_lease_ends(served: Served) -> None:
    served.submit()
    assert served.queue.claim(ELSEWHERE) is not None
    served.turn()
    assert not served.jobs.claims
    served.expire()
    served.turn()
    assert len(served.jobs.claims) == 1


def test_a_search_that_never_gets_anywhere_fails_with_the_reason(served: Served) -> None:
    search_id = served.submit()
    for _ in range(MOST_IN_VAIN):
        served.turn()
        newest = list(served.jobs.claims)[-1]
        served.jobs.ended[newest] = "its job failed: no memory"
    served.turn()
    record = served.repository.find_search(search_id)
    assert record.state == "failed"
    assert record.message == (
        f"it ended {MOST_IN_VAIN} times before an epoch was stored; the last time: its job failed: "
        "no memory"
    )
    assert len(served.jobs.claims) == MOST_IN_VAIN


def test_one_that_dies_often_but_gets_on_is_gone_on_with(served: Served) -> None:
    served.submit()
    served.turn()
    lease = served.take_over()
    _, trials = served.repository.open_stage(lease, a_stage(), [a_trial(0)])
    for epoch in range(1, MOST_IN_VAIN + 3):
        served.repository.commit_report(lease, a_report(epoch, {trials[0].id: 0.5}))
        served.jobs.ended[list(served.jobs.claims)[-1]] = "its job failed"
        served.turn()
        lease = served.take_over()
    assert len(served.jobs.claims) == MOST_IN_VAIN + 3


def test_while_the_cluster_is_away_a_claim_is_given_back(served: Served) -> None:
    search_id = served.submit()
    served.jobs.is_away = True
    with pytest.raises(ClusterAway):
        served.turn()
    assert served.state(search_id) == "submitted"
    served.jobs.is_away = False
    served.turn()
    assert len(served.jobs.claims) == 1


def test_a_turn_asks_twice_what_runs_however_many_are_claimed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, running = [], served.queue.running
    monkeypatch.setattr(served.queue, "running", lambda: asked.append(1) or running())
    for _ in range(5):
        served.submit()
    served.turn()
    assert len(served.jobs.claims) == 5
    assert len(asked) == 2


# Cancelling


def test_a_cancelled_search_that_does_not_end_is_killed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_id = served.submit()
    served.turn()
    served.take_over()
    served.queue.cancel(search_id)
    served.turn()
    assert served.jobs.stopped == []
    monkeypatch.setattr(server_module, "GRACE_S", 0.0)
    served.turn()
    served.turn()
    assert served.jobs.stopped == list(served.jobs.claims)
    served.jobs.ended[served.jobs.stopped[0]] = "its job stopped"
    served.turn()
    assert served.state(search_id) == "cancelled"


def test_a_cancelled_search_whose_job_is_dead_is_not_begun_again(served: Served) -> None:
    search_id = served.submit()
    served.turn()
    served.take_over(HERE)
    served.queue.cancel(search_id)
    served.jobs.ended[next(iter(served.jobs.claims))] = "its job failed"
    served.turn()
    assert served.state(search_id) == "cancelled"
    assert len(served.jobs.claims) == 1


def test_so_is_one_whose_lease_ran_out(served: Served) -> None:
    search_id = served.submit()
    assert served.queue.claim(ELSEWHERE) is not None
    served.queue.cancel(search_id)
    served.expire()
    served.turn()
    assert served.state(search_id) == "cancelled"


# Sharing


def test_workers_are_shared_among_those_that_run(served: Served) -> None:
    served.submit()
    served.turn()
    assert [search.workers for search in served.queue.running()] == [4]
    served.submit(resources=Resources(workers=1))
    served.turn()
    assert [search.workers for search in served.queue.running()] == [3, 1]
    served.submit()
    served.turn()
    assert sorted(search.workers or 0 for search in served.queue.running()) == [1, 1, 2]


def test_turns_follow_the_clock_of_the_database(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        served.submit()
    served.jobs.num_cpus = 1
    served.turn()
    given, running, now = set(), served.queue.running, datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(
        served.queue, "running", lambda: [replace(search, seen_at=now) for search in running()]
    )
    for _ in range(3):
        served.server._share(served.jobs.capacity())
        given |= {search.id for search in running() if search.workers}
        now += timedelta(seconds=server_module.TURN_S)
    assert len(given) == 3


def test_a_search_that_asks_for_gpus_that_are_not_there_is_left_to_say_so(served: Served) -> None:
    served.submit(resources=Resources(gpus_per_worker=1.0))
    served.turn()
    assert served.queue.running()[0].workers == 4


@pytest.mark.parametrize(("devices", "workers"), [(1, 4), (2, 2), (4, 1), (8, 1)])
def test_a_worker_of_several_devices_counts_for_as_many(
    served: Served, devices: int, workers: int
) -> None:
    """One of more than there are is left to say so."""
    served.submit(resources=Resources(devices_per_trial=devices))
    served.turn()
    assert served.queue.running()[0].workers == workers

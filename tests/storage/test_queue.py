"""Queue: submitted searches are claimed once each, by priority, and what is left is taken up."""

from __future__ import annotations

import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import claim_all, submit_many
from sqlalchemy import select, update
from stored_searches import ELSEWHERE, PROVENANCE, Writer, a_report, a_spec, a_stage, a_trial

from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseHeld, LeaseLost, StorageError
from hpsearch.storage.leases import Lease, Orders, Owner
from hpsearch.storage.queue import Queue, Running
from hpsearch.storage.records import BEGUN
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow

HERE = Owner.current()
DEAD = Owner(host=HERE.host, pid=2**22 + 1, started_s=1.0)


def submit(database: Database, name: str = "digits", priority: int = 0) -> int:
    return Queue(database).submit(a_spec(name), PROVENANCE, priority).id


def claimed(database: Database, owner: Owner = ELSEWHERE) -> Lease:
    claim = Queue(database).claim(owner)
    assert claim is not None
    return claim.lease


def expire(database: Database) -> None:
    with database.write() as connection:
        past = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(SearchRow).values(lease_expires_at=past))


def state(database: Database, search_id: int) -> str:
    return Repository(database).find_search(search_id).state


def running(database: Database) -> list[Running]:
    return Queue(database).running()


# Claims


def test_a_submitted_search_waits_and_is_claimed_once(database: Database) -> None:
    search_id = submit(database)
    assert state(database, search_id) == "submitted"
    lease = claimed(database)
    assert (lease.search_id, lease.owner) == (search_id, ELSEWHERE)
    assert state(database, search_id) == "running"
    assert Queue(database).claim(HERE) is None


def test_the_highest_priority_is_claimed_first_and_the_oldest_of_equals(database: Database) -> None:
    ids = [submit(database, priority=priority) for priority in (0, -1, 5, 0, 5)]
    claims = [claimed(database).search_id for _ in ids]
    assert claims == [ids[2], ids[4], ids[0], ids[3], ids[1]]


def test_a_search_that_is_run_here_and_now_is_nobodys_to_claim(database: Database) -> None:
    repository = Repository(database)
    search = repository.create_search(a_spec(), PROVENANCE)
    assert Queue(database).claim(ELSEWHERE) is None
    repository.acquire(search.id, DEAD)
    expire(database)
    assert Queue(database).claim(ELSEWHERE) is None
    assert running(database) == []


def test_a_search_whose_lease_ran_out_is_claimed_again_with_a_higher_token(
    database: Database,
) -> None:
    submit(database)
    first = claimed(database)
    assert Queue(database).claim(HERE) is None
    expire(database)
    assert claimed(database, HERE).token > first.token
    with pytest.raises(LeaseLost):
        Repository(database).renew(first)


def test_jobs_are_counted_until_an_epoch_is_stored(database: Database) -> None:
    search_id = submit(database)
    repository, queue = Repository(database), Queue(database)

    def begin() -> int:
        claim = queue.claim(HERE)
        assert claim is not None
        queue.set_job(claim.lease, "job")
        expire(database)
        return claim.in_vain

    assert [begin(), begin(), begin()] == [0, 1, 2]
    lease = claimed(database, HERE)
    _, trials = repository.open_stage(lease, a_stage(), [a_trial(0)])
    repository.commit_report(lease, a_report(1, {trials[0].id: 0.5}))
    expire(database)
    assert [begin(), begin(), begin()] == [0, 1, 2]
    queue.cancel(search_id)
    queue.submit_again(search_id)
    assert [begin(), begin()] == [0, 1]


def test_a_claim_without_a_job_counts_for_nothing(database: Database) -> None:
    submit(database)
    for _ in range(3):
        claim = Queue(database).claim(HERE)
        assert claim is not None
        assert claim.in_vain == 0
        expire(database)


def test_nothing_is_noted_of_a_claim_that_was_lost(database: Database) -> None:
    search_id = submit(database)
    lost = claimed(database)
    expire(database)
    lease = claimed(database, HERE)
    queue = Queue(database)
    queue.set_job(lease, "theirs")
    queue.set_job(lost, "late")
    assert running(database)[0].job == "theirs"
    events = Repository(database).events(search_id)
    assert [event.data["job"] for event in events if event.kind == BEGUN] == ["theirs"]


def test_a_job_is_noted_that_has_taken_over_already(database: Database) -> None:
    submit(database)
    lease = claimed(database)
    Repository(database).take_over(lease.search_id, lease.token, HERE)
    Queue(database).set_job(lease, "quick")
    assert running(database)[0].job == "quick"


def test_servers_that_claim_at_once_keep_to_the_number_that_may_run(database: Database) -> None:
    for _ in range(6):
        submit(database)
    with ThreadPoolExecutor(6) as servers:
        claims = list(servers.map(lambda _: Queue(database).claim(HERE, 3), range(6)))
    assert len([claim for claim in claims if claim is not None]) == 3
    assert len(running(database)) == 3


def test_what_was_left_is_claimed_though_as_many_seem_to_run_as_may(database: Database) -> None:
    submit(database)
    claimed(database)
    assert Queue(database).claim(HERE, 1) is None
    expire(database)
    assert Queue(database).claim(HERE, 1) is not None


def test_a_copy_of_sqlites_file_has_what_was_submitted(sqlite_url: str, tmp_path: Path) -> None:
    submit(Database(sqlite_url))
    copy = tmp_path / "copy.db"
    shutil.copy(tmp_path / "search.db", copy)
    assert len(Repository(Database(f"sqlite:///{copy}")).list_searches()) == 1


@pytest.mark.parametrize("servers", [4])
def test_many_submissions_and_claims_at_once_lose_nothing_and_take_nothing_twice(
    database_url: str, servers: int
) -> None:
    context = multiprocessing.get_context("spawn")
    claims: Any = context.Queue()
    Database(database_url).upgrade()
    submitters = [
        context.Process(target=submit_many, args=(database_url, 10)) for _ in range(servers)
    ]
    claimers = [
        context.Process(target=claim_all, args=(database_url, 10 * servers, claims))
        for _ in range(servers)
    ]
    for process in (*submitters, *claimers):
        process.start()
    ids = [id for _ in claimers for id in claims.get(timeout=120)]
    for process in (*submitters, *claimers):
        process.join(timeout=60)
    assert sorted(ids) == [
        search.id for search in Repository(Database(database_url)).list_searches()
    ]
    assert len(ids) == len(set(ids)) == 10 * servers


# Who it is meant for


def test_a_job_takes_over_from_the_server_that_claimed_for_it(database: Database) -> None:
    submit(database)
    lease = claimed(database)
    repository = Repository(database)
    taken = repository.take_over(lease.search_id, lease.token, HERE)
    assert taken.owner == HERE
    repository.renew(taken)
    with pytest.raises(LeaseLost):
        repository.renew(lease)


def test_a_job_that_comes_too_late_does_nothing(database: Database) -> None:
    submit(database)
    lease = claimed(database)
    expire(database)
    again = claimed(database, HERE)
    with pytest.raises(LeaseLost, match="nothing is to be done"):
        Repository(database).take_over(lease.search_id, lease.token, DEAD)
    assert running(database)[0].owner == HERE
    Repository(database).renew(again)


def test_nobody_takes_over_what_is_carried_out_here(database: Database) -> None:
    repository = Repository(database)
    search = repository.create_search(a_spec(), PROVENANCE)
    lease = repository.acquire(search.id, HERE)
    with pytest.raises(LeaseLost, match="nothing is to be done"):
        repository.take_over(search.id, lease.token, DEAD)
    repository.renew(lease)


def test_what_is_running_is_told_with_its_job_and_its_workers(database: Database) -> None:
    search_id = submit(database, priority=3)
    submit(database, "waits")
    lease = claimed(database)
    queue = Queue(database)
    queue.set_job(lease, "hpsearch-1-1")
    queue.allot({search_id: 2})
    (found,) = running(database)
    assert (found.id, found.name, found.priority, found.token) == (
        search_id,
        "digits",
        3,
        lease.token,
    )
    assert (found.job, found.workers, found.has_expired) == ("hpsearch-1-1", 2, False)
    assert found.cancel_age_s is None
    assert Repository(database).renew(lease) == Orders(workers=2)
    expire(database)
    assert running(database)[0].has_expired


# Cancelling, and going on


def test_a_search_that_nobody_carries_out_is_cancelled_at_once(database: Database) -> None:
    search_id = submit(database)
    assert Queue(database).cancel(search_id) == "cancelled"
    assert state(database, search_id) == "cancelled"
    assert Queue(database).claim(HERE) is None
    with pytest.raises(StorageError, match="is cancelled: there is nothing to cancel"):
        Queue(database).cancel(search_id)


@pytest.mark.parametrize("owner", [DEAD, ELSEWHERE])
def test_so_is_one_whose_owner_is_gone(database: Database, owner: Owner) -> None:
    search_id = submit(database)
    claimed(database, owner)
    if owner is ELSEWHERE:
        expire(database)
    assert Queue(database).cancel(search_id) == "cancelled"


def test_a_search_that_is_carried_out_is_asked_to_end(database: Database) -> None:
    search_id = submit(database)
    lease = claimed(database, HERE)
    repository = Repository(database)
    assert repository.renew(lease) == Orders()
    assert Queue(database).cancel(search_id) == "asked"
    assert repository.renew(lease) == Orders(cancelled=True)
    age = running(database)[0].cancel_age_s
    assert age is not None
    assert Queue(database).cancel(search_id) == "asked"  # once more: it counts from the first
    assert (running(database)[0].cancel_age_s or 0.0) >= age
    repository.release(lease, "cancelled")
    assert state(database, search_id) == "cancelled"


def test_one_that_was_asked_to_end_is_not_claimed_when_it_dies(database: Database) -> None:
    search_id = submit(database)
    claimed(database, HERE)
    Queue(database).cancel(search_id)
    expire(database)
    assert Queue(database).claim(ELSEWHERE) is None


def test_trials_of_a_cancelled_search_run_no_more(database: Database) -> None:
    writer = begin_served(database)
    writer.repository.start_group(writer.lease, writer.ids, "w")
    expire(database)
    Queue(database).cancel(writer.search.id)
    assert {trial.state for trial in writer.stored()} == {"waiting"}


@pytest.mark.parametrize("ended", ["stopped", "cancelled", "failed"])
def test_an_ended_search_is_submitted_again(database: Database, ended: Any) -> None:
    writer = begin_served(database)
    Queue(database).cancel(writer.search.id)
    writer.repository.release(writer.lease, ended, "why")
    assert writer.repository.find_search(writer.search.id).message == "why"
    Queue(database).submit_again(writer.search.id)
    found = writer.repository.find_search(writer.search.id)
    assert (found.state, found.message, found.finished_at) == ("submitted", None, None)
    assert Repository(database).renew(claimed(database)) == Orders()


def test_a_search_that_was_run_here_can_be_given_to_the_service(database: Database) -> None:
    repository = Repository(database)
    search = repository.create_search(a_spec(), PROVENANCE)
    repository.release(repository.acquire(search.id, HERE), "stopped")
    Queue(database).submit_again(search.id)
    assert claimed(database).search_id == search.id


def test_what_cannot_be_submitted_again_is_refused(database: Database) -> None:
    writer = begin_served(database)
    with pytest.raises(LeaseHeld, match=f"being carried out by process {HERE.pid}"):
        Queue(database).submit_again(writer.search.id)
    writer.repository.release(writer.lease, "complete")
    with pytest.raises(StorageError, match="is complete"):
        Queue(database).submit_again(writer.search.id)
    with pytest.raises(StorageError, match="there is no search 99"):
        Queue(database).submit_again(99)


def test_going_on_here_forgets_that_it_was_cancelled(database: Database) -> None:
    writer = begin_served(database)
    Queue(database).cancel(writer.search.id)
    expire(database)
    lease = writer.repository.acquire(writer.search.id, HERE)
    assert writer.repository.renew(lease) == Orders()


def test_the_end_of_a_search_keeps_why(database: Database) -> None:
    writer = begin_served(database)
    writer.repository.release(writer.lease, "failed", "its data are gone")
    record = writer.repository.find_search(writer.search.id)
    assert (record.state, record.message) == ("failed", "its data are gone")
    assert record.finished_at is not None
    with database.read() as connection:
        assert connection.execute(select(SearchRow.lease_owner)).scalar_one() is None


def begin_served(database: Database) -> Writer:
    """A search of the service, carried out by this process."""
    submit(database)
    lease, repository = claimed(database, HERE), Repository(database)
    trials = [a_trial(number) for number in range(3)]
    stage, stored = repository.open_stage(lease, a_stage(), trials)
    return Writer(repository, repository.find_search(lease.search_id), lease, stage.id, stored)

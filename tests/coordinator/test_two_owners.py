"""Two coordinators that both believe they own a search, and clocks that jump: one table comes out.

Where the clock of the database jumps ahead, a lease is over while its owner lives and goes on.
"""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from coordinated import PROVENANCE, a_search, coordinate, curve, finished_table
from sqlalchemy import Connection, select, update

from hpsearch.coordinator.events import Advanced, Event
from hpsearch.coordinator.heartbeat import heartbeat
from hpsearch.coordinator.loop import Coordinator
from hpsearch.executors.base import Update
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage import leases
from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseLost
from hpsearch.storage.leases import Owner
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import MetricRow, SearchRow

HERE = Owner.current()
OTHERS = [Owner(host=f"host-{n}", pid=1, started_s=1.0) for n in range(3)]


class Slow(SimulatedExecutor):
    """Takes a little real time for each report."""

    def wait(self, timeout_s: float) -> list[Update]:
        time.sleep(0.01)  # so that the first owner is never done before the second comes
        return super().wait(timeout_s)


def jump_ahead(connection: Connection) -> None:
    """The database's clock jumps: the lease is over, its owner knows nothing of it."""
    past = datetime.now(UTC) - timedelta(hours=1)
    held = SearchRow.lease_owner.is_not(None)
    connection.execute(update(SearchRow).where(held).values(lease_expires_at=past))


def carry_on(url: str, search_id: int, owner: Owner, folder: Path, outcomes: list[Any]) -> None:
    """A coordinator that takes the search as the clock jumps, until it has lost or ended it."""
    repository = Repository(Database(url))
    record = repository.find_search(search_id)
    try:
        with repository.database.write() as connection:
            jump_ahead(connection)
            lease = leases.acquire(connection, search_id, owner)
        Coordinator(repository, lease, record, Slow(curve), folder).run()
        repository.release(lease, "complete")
        outcomes.append("complete")
    except LeaseLost:
        outcomes.append("lost")


@pytest.mark.parametrize("seed", range(2))
def test_owners_that_overlap_leave_the_table_of_an_undisturbed_search(
    database: Database, database_url: str, tmp_path: Path, seed: int
) -> None:
    chance, outcomes = random.Random(seed), list[Any]()
    undisturbed = Repository(Database(f"sqlite:///{tmp_path / 'undisturbed.db'}"))
    coordinate(undisturbed, a_search())
    repository = Repository(database)
    search_id = repository.create_search(a_search(), PROVENANCE).id
    threads = []
    while "complete" not in outcomes:
        owner = chance.choice(OTHERS)
        given = (database_url, search_id, owner, tmp_path, outcomes)
        threads.append(threading.Thread(target=carry_on, args=given))
        threads[-1].start()
        threads[-1].join(chance.uniform(0.1, 0.3) * 1.5 ** len(threads))
    for thread in threads:
        thread.join()
    complete = outcomes.count("complete")
    assert complete in (1, 2), "the last may have begun just as the one before it ended"
    assert outcomes.count("lost") == len(threads) - complete > 0
    assert finished_table(repository) == finished_table(undisturbed)
    with database.read() as connection:
        rows = connection.execute(select(MetricRow.trial_id, MetricRow.epoch)).all()
    assert len(rows) == len(set(rows)), "no epoch counts twice"


def test_an_owner_whose_lease_ran_out_unnoticed_goes_on_if_nobody_else_took_it(
    database: Database, tmp_path: Path
) -> None:
    repository = Repository(database)

    def jump(event: Event) -> None:
        if isinstance(event, Advanced):
            with database.write() as connection:
                jump_ahead(connection)

    view = coordinate(repository, a_search(), folder=tmp_path, observer=jump)
    assert repository.find_search("simulated").state == "complete"
    assert {trial.state for trial in view.trials.values()} <= {"complete", "failed"}


def test_a_clock_that_went_back_keeps_nobody_of_this_host_waiting(database: Database) -> None:
    """The lease seems to hold for hours then, but its process is known to be dead."""
    repository = Repository(database)
    search_id = repository.create_search(a_search(), PROVENANCE).id
    dead = Owner(host=HERE.host, pid=2**22 + 1, started_s=1.0)
    repository.acquire(search_id, dead)
    with database.write() as connection:
        ahead = datetime.now(UTC) + timedelta(hours=5)
        connection.execute(update(SearchRow).values(lease_expires_at=ahead))
    repository.release(repository.acquire(search_id, HERE), "stopped")


def test_a_clock_that_went_back_is_put_right_by_the_next_beat(database: Database) -> None:
    """An owner that lives, and then dies on another host, is not waited for longer than a lease."""
    repository = Repository(database)
    search_id = repository.create_search(a_search(), PROVENANCE).id
    lease = repository.acquire(search_id, OTHERS[0])
    with database.write() as connection:
        ahead = datetime.now(UTC) + timedelta(hours=5)
        connection.execute(update(SearchRow).values(lease_expires_at=ahead))
    with heartbeat(repository, lease):
        pass
    with database.read() as connection:
        expires_at = connection.scalar(select(SearchRow.lease_expires_at))
    assert expires_at is not None
    assert expires_at - datetime.now(UTC) < timedelta(minutes=1)

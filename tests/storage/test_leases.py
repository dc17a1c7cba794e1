"""Leases: one owner at a time, and the writes of one that was replaced change nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import WIDTH, race, write_until_killed
from sqlalchemy import func, select, update
from stored_searches import (
    ELSEWHERE,
    PROVENANCE,
    Writer,
    a_group,
    a_report,
    a_spec,
    a_stage,
    a_trial,
    begin,
)

from hpsearch.storage import database as database_module
from hpsearch.storage import sqlite_files
from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseHeld, LeaseLost, StorageError
from hpsearch.storage.leases import TTL, Owner
from hpsearch.storage.records import NewDiagnosis, RungCommit, SearchState
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import MetricRow, SearchRow
from hpsearch.storage.urls import sqlite_file

WRITES: dict[str, Callable[[Writer], object]] = {
    "renew": lambda w: w.repository.renew(w.lease),
    "release": lambda w: w.repository.release(w.lease, "complete"),
    "open_stage": lambda w: w.repository.open_stage(w.lease, a_stage(1), [a_trial(9)]),
    "add_trials": lambda w: w.repository.add_trials(w.lease, [a_trial(8, stage_id=w.stage_id)]),
    "finish_stage": lambda w: w.repository.finish_stage(w.lease, w.stage_id),
    "start_group": lambda w: w.repository.start_group(w.lease, w.ids, "w", a_group()),
    "decide_rung": lambda w: w.repository.decide_rung(
        w.lease, RungCommit(pruned=(w.ids[0],), kept={w.ids[1]: (5, 4)}, data={})
    ),
    "commit_report": lambda w: w.repository.commit_report(w.lease, a_report(1, {w.ids[0]: 0.5})),
    "end_early": lambda w: w.repository.end_early(w.lease, w.ids[:1], w.ids[1:2], "w"),
    "fail_trials": lambda w: w.repository.fail_trials(w.lease, {w.ids[0]: ("error", "x")}),
    "regroup": lambda w: w.repository.regroup(w.lease, {w.ids[0]: 5}),
    "add_event": lambda w: w.repository.add_event(w.lease, "note", {}),
    "store_checks": lambda w: w.repository.store_checks(
        w.lease, w.stage_id, [NewDiagnosis(kind="k", message="m", evidence={})], True
    ),
    "add_diagnoses": lambda w: w.repository.add_diagnoses(
        w.lease, w.search.id, [NewDiagnosis(kind="k", message="m", evidence={})]
    ),
}


def expire(writer: Writer) -> None:
    with writer.repository.database.write() as connection:
        past = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(SearchRow).values(lease_expires_at=past))


def expires_at(database: Database) -> datetime:
    with database.read() as connection:
        return connection.execute(select(SearchRow.lease_expires_at)).scalar_one()


def everything(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with database.read() as connection:
        return {
            name: connection.execute(select(table)).all()
            for name, table in SearchRow.metadata.tables.items()
        }


def test_every_write_of_the_repository_is_tried_below() -> None:
    leased = {
        name
        for name, method in vars(Repository).items()
        if "lease" in getattr(method, "__annotations__", {}) and not name.startswith("_")
    }
    assert leased == set(WRITES)


def test_a_zombies_writes_are_refused_and_change_nothing(database: Database) -> None:
    zombie = begin(database, owner=ELSEWHERE)
    expire(zombie)
    zombie.repository.acquire(zombie.search.id, Owner.current())
    before = everything(database)
    for write in WRITES.values():
        with pytest.raises(LeaseLost, match="taken over from process 7 on elsewhere"):
            write(zombie)
        assert everything(database) == before


def test_every_write_extends_the_lease(database: Database) -> None:
    writer = begin(database)
    for name in set(WRITES) - {"release"}:
        expire(writer)
        WRITES[name](writer)
        assert timedelta(0) < expires_at(database) - datetime.now(UTC) <= TTL


def test_a_second_coordinator_is_refused_while_the_first_lives(database: Database) -> None:
    writer = begin(database, owner=Owner.current())
    with pytest.raises(LeaseHeld, match=rf"carried out by process {os.getpid()} on "):
        writer.repository.acquire(writer.search.id, Owner.current())
    WRITES["commit_report"](writer)


def test_the_lease_of_another_host_is_taken_when_it_has_expired(database: Database) -> None:
    writer = begin(database, owner=ELSEWHERE)
    with pytest.raises(LeaseHeld, match="process 7 on elsewhere"):
        writer.repository.acquire(writer.search.id, Owner.current())
    expire(writer)
    lease = writer.repository.acquire(writer.search.id, Owner.current())
    assert lease.token > writer.lease.token


def test_the_lease_of_a_dead_process_of_this_host_is_taken_at_once(database: Database) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(Owner.current(), pid=process.pid)
    writer = begin(database, owner=owner)
    process.kill()
    process.wait()
    writer.repository.acquire(writer.search.id, Owner.current())


def test_an_owner_is_dead_when_killed_or_when_its_pid_belongs_to_a_later_process() -> None:
    me = Owner.current()
    assert not me.is_dead()
    assert replace(me, started_s=me.started_s - 3600).is_dead()
    assert not replace(me, host="elsewhere", started_s=0.0).is_dead()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        child = replace(me, pid=process.pid, started_s=psutil.Process(process.pid).create_time())
        assert not child.is_dead()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
        assert child.is_dead()


def test_a_released_search_is_free_and_its_old_lease_of_no_use(database: Database) -> None:
    writer = begin(database)
    writer.repository.release(writer.lease, "stopped")
    assert writer.repository.find_search(writer.search.id).state == "stopped"
    with pytest.raises(LeaseLost):
        WRITES["renew"](writer)
    lease = writer.repository.acquire(writer.search.id, ELSEWHERE)
    assert writer.repository.find_search(writer.search.id).state == "running"
    assert lease.token > writer.lease.token


def test_a_search_has_an_end_when_it_is_complete(database: Database) -> None:
    writer = begin(database)
    assert writer.repository.find_search(writer.search.id).finished_at is None
    writer.repository.release(writer.lease, "complete")
    assert writer.repository.find_search(writer.search.id).finished_at is not None


@pytest.mark.parametrize("state", ["complete", "stopped"])
def test_the_file_alone_is_whole_once_a_search_is_given_back(
    sqlite_url: str, tmp_path: Path, state: SearchState
) -> None:
    writer = begin(Database(sqlite_url), num_trials=3)
    writer.repository.release(writer.lease, state)
    (tmp_path / "copies").mkdir()
    copied = shutil.copy(sqlite_file(sqlite_url) or "", tmp_path / "copies" / "copy.db")
    copy = Repository(Database(f"sqlite:///{copied}"))
    assert copy.find_search(writer.search.id).state == state
    assert copy.load(writer.search.id)[1] == writer.stored()


def test_a_reader_keeps_no_search_from_being_given_back(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "FOLD_TIMEOUT_MS", 10)
    writer = begin(Database(sqlite_url))
    with Database(sqlite_url).read() as reader:
        reader.execute(select(SearchRow.id)).all()
        writer.repository.release(writer.lease, "complete")
    assert writer.repository.find_search(writer.search.id).state == "complete"
    timeout = "PRAGMA busy_timeout"
    with writer.repository.database.read() as connection:
        waits = connection.exec_driver_sql(timeout).scalar_one()
    assert waits == sqlite_files.BUSY_TIMEOUT_MS


def test_a_search_that_does_not_exist_cannot_be_acquired(database: Database) -> None:
    with pytest.raises(StorageError, match="none with id 99"):
        Repository(database).acquire(99, ELSEWHERE)


def test_of_two_processes_that_race_exactly_one_gets_the_lease(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.Queue()
    search = Repository(Database(database_url)).create_search(a_spec(), PROVENANCE)
    racers = [
        context.Process(target=race, args=(database_url, search.id, barrier, won)) for _ in "ab"
    ]
    for racer in racers:
        racer.start()
    outcome = {won.get(timeout=60) for _ in racers}
    for racer in racers:
        racer.join()
    assert outcome == {None, 1}


def test_a_process_killed_within_a_write_leaves_whole_reports_only(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    process = context.Process(target=write_until_killed, args=(database_url, events))
    process.start()
    assert events.get(timeout=60) == "inside"
    process.kill()
    process.join()
    database = Database(database_url)
    repository = Repository(database)
    (search,) = repository.list_searches()
    lease = repository.acquire(search.id, Owner.current())
    assert _stored(repository, search.id) == ({2}, {1: WIDTH, 2: WIDTH})
    ids = [trial.id for trial in repository.load(search.id)[1]]
    repository.commit_report(lease, a_report(3, dict.fromkeys(ids, 0.5)))
    assert _stored(repository, search.id) == ({3}, {1: WIDTH, 2: WIDTH, 3: WIDTH})


def _stored(repository: Repository, search_id: int) -> tuple[set[int], dict[int, int]]:
    """The epochs that the trials say they have, and how many have metrics by epoch."""
    trials = repository.load(search_id)[1]
    count = select(MetricRow.epoch, func.count()).group_by(MetricRow.epoch)
    with repository.database.read() as connection:
        return {trial.epochs for trial in trials}, dict(connection.execute(count).all())

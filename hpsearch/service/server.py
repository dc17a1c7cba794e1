"""Server: one turn after the other, it gives submitted searches to jobs and looks after the jobs.

Run by ``hpsearch serve``. Nothing that matters is kept in its memory: each turn begins with what
the database says, so any number of servers may run, and one that dies is not missed.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import datetime

from hpsearch.executors.pool import pool
from hpsearch.service.jobs import Capacity, ClusterAway, Jobs, is_starting
from hpsearch.service.shares import Demand, shares
from hpsearch.settings import MOST_SEARCHES
from hpsearch.spec.search import Resources
from hpsearch.storage.bell import Bell
from hpsearch.storage.errors import DatabaseAway, LeaseLost, StorageError
from hpsearch.storage.leases import TTL, Lease, Owner
from hpsearch.storage.queue import MOST_IN_VAIN, Claim, Queue, Running
from hpsearch.storage.repository import Repository

LOG = logging.getLogger("hpsearch.service")
TURN_S = 30.0  # of searches that have to take turns, as there are more of them than workers
GRACE_S = 10.0  # for a search that was cancelled to end by itself, before its job is killed
PATIENCE_S = 5.0  # between two tries while the cluster or the database is away


class Server:
    """Serves the searches of ``queue`` on ``jobs``."""

    def __init__(self, queue: Queue, jobs: Jobs, most_searches: int = MOST_SEARCHES) -> None:
        """No more than ``most_searches`` run side by side, whoever serves them."""
        self._queue, self._jobs, self._most_searches = queue, jobs, most_searches
        self._repository = Repository(queue.database)
        self._owner, self._bell = Owner.current(), Bell(queue.database)
        self._starting: dict[str, Lease] = {}  # by job: those that have not taken over yet
        self._stopped: set[str] = set()
        self._told_empty = False
        self._names: dict[int, str] = {}  # of the searches that ran at the last turn

    def run(self, wait_s: float = 1.0) -> None:
        """Serve until this process is stopped; what is out of reach is waited for."""
        while True:
            try:
                self.turn()
                self._bell.wait(wait_s)
            except ClusterAway as error:
                LOG.warning("%s; trying again", error)
                time.sleep(PATIENCE_S)
            except DatabaseAway as error:
                LOG.warning("%s; trying again", error)
                self._await_database()

    def _await_database(self) -> None:
        """Wait until it answers, and then until those who run have renewed their leases in it."""
        while True:
            time.sleep(PATIENCE_S)
            try:
                self._queue.running()
            except DatabaseAway:
                continue
            LOG.info("the database is back")
            time.sleep(TTL.total_seconds())
            return

    def turn(self) -> None:
        """Once over all: end what is over, claim what waits, and share the workers."""
        capacity = self._jobs.capacity()  # while there is no cluster nothing is claimed
        self._keep_starting()
        running = self._queue.running()
        self._tell_of_ended({search.id: search.name for search in running})
        for search in running:
            self._look_after(search)
        self._keep_starting()
        while self._has_place(capacity) and self._claim():
            self._keep_starting()
        self._share(capacity)

    def _tell_of_ended(self, running: dict[int, str]) -> None:
        """Log how those ended that ran at the last turn."""
        for search_id in self._names.keys() - running:
            with suppress(StorageError):  # it was deleted
                state = self._repository.find_search(search_id).state
                LOG.info("%s is %s", self._names[search_id], state, extra={"search": search_id})
        self._names = running

    def _has_place(self, capacity: Capacity) -> bool:
        """Whether there is anything for workers; that there is not is told once."""
        is_empty = not (capacity.num_cpus or capacity.num_gpus)
        if is_empty and not self._told_empty:
            LOG.warning("the cluster has neither CPUs nor GPUs for workers: nodes must join it")
        self._told_empty = is_empty
        return not is_empty

    def _keep_starting(self) -> None:
        """Hold the leases that are meant for jobs, until those have started and take over."""
        for job, lease in list(self._starting.items()):
            try:
                self._repository.renew(lease)
            except LeaseLost:
                del self._starting[job]

    def _look_after(self, search: Running) -> None:
        if why := self._why_ended(search):
            self._give_back(search, why)
        elif search.job and (search.cancel_age_s or 0.0) > GRACE_S:
            self._stop(search.job)

    def _why_ended(self, search: Running) -> str | None:
        """Why nobody carries the search out any more, in words; None while somebody may."""
        is_ours = search.owner == self._owner
        if search.job is not None and (why := self._jobs.why_ended(search.job)):
            return why
        if search.job is not None and is_starting(search):  # for whoever meant it for its job
            self._starting[search.job] = self._lease(search)
            return None
        if search.owner is not None and not is_ours and search.owner.is_dead():
            return f"{search.owner} has died"
        if search.has_expired and search.cancel_age_s is not None:
            return f"{search.owner} is gone"
        return None

    def _give_back(self, search: Running, why: str) -> None:
        """For another job to go on with, unless it was cancelled."""
        try:
            self._repository.release(self._lease(search), "submitted", why)
        except LeaseLost:
            return  # it lives, or somebody was faster
        LOG.warning("%s: %s", search.name, why, extra={"search": search.id})

    def _lease(self, search: Running) -> Lease:
        """The one that whoever has the search has, here to keep or to end it."""
        return Lease(search_id=search.id, token=search.token, owner=self._owner)

    def _stop(self, job: str) -> None:
        if job not in self._stopped:
            self._jobs.stop(job)
            self._stopped.add(job)

    def _claim(self) -> bool:
        """Take the next search that waits, and have a job carry it out; False if none may begin."""
        claim = self._queue.claim(self._owner, self._most_searches)
        if claim is None:
            return False
        if claim.in_vain >= MOST_IN_VAIN:
            self._give_up(claim)
            return True
        try:
            job = self._jobs.submit(claim)
        except ClusterAway:
            with suppress(LeaseLost):  # it took so long that another server has claimed it
                self._repository.release(claim.lease, "submitted")
            raise
        self._queue.set_job(claim.lease, job)
        self._starting[job] = claim.lease
        LOG.info(
            "%s is carried out by job %s", claim.name, job, extra={"search": claim.lease.search_id}
        )
        return True

    def _give_up(self, claim: Claim) -> None:
        search_id = claim.lease.search_id
        last = self._repository.find_search(search_id).message
        why = f"it ended {MOST_IN_VAIN} times before an epoch was stored; the last time: {last}"
        self._repository.release(claim.lease, "failed", why)
        LOG.error("%s failed: %s", claim.name, why, extra={"search": search_id})

    def _share(self, capacity: Capacity) -> None:
        """Say how many workers each search may have, where that has changed."""
        running = self._queue.running()  # those too that were claimed just now
        if not running:
            return
        demands = [_demand(search, capacity) for search in running]
        total = capacity.num_gpus or capacity.num_cpus
        given = shares(demands, total, turn=_turn(running[0].seen_at))
        before = {search.id: search.workers for search in running}
        changed = {id: number for id, number in given.items() if number != before[id]}
        if changed:
            self._queue.allot(changed)


def _turn(now: datetime) -> int:
    """Counts up; by the database's clock, since all servers must come to the same."""
    return int(now.timestamp() / TURN_S)


def _demand(search: Running, capacity: Capacity) -> Demand:
    wanted = pool(capacity.num_cpus, capacity.num_gpus, _that_fit(search.resources, capacity))
    return Demand(
        search_id=search.id,
        priority=search.priority,
        most=wanted.num_workers,
        each=wanted.gpus_per_worker if capacity.num_gpus and wanted.gpus else wanted.devices,
    )


def _that_fit(resources: Resources, capacity: Capacity) -> Resources:
    """What is more than there is, the search's own process refuses, with a sentence."""
    gpus, devices = resources.gpus_per_worker, resources.devices_per_trial
    if gpus != "auto" and gpus > capacity.num_gpus:
        resources = resources.model_copy(update={"gpus_per_worker": "auto"})
    has_gpus = resources.gpus_per_worker and capacity.num_gpus
    there = capacity.num_gpus if has_gpus else capacity.num_cpus
    return resources.model_copy(update={"devices_per_trial": max(1, min(devices, there))})

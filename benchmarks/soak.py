"""The service for an hour, with everything killed, cut and cancelled: nothing lost, nothing grows.

Run as ``python benchmarks/soak.py [--minutes 60] [--every 10] [--sqlite]``. Small searches of
digits are submitted to two servers on a Ray cluster; at random moments searches are cancelled,
resumed, retried and deleted, and SIGKILL ends their processes, their workers and a server;
connections to PostgreSQL are cut, and it is stopped and started. Then all is left alone. What was
not cancelled or deleted must come to its end, with the very table of an undisturbed search.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from click.testing import CliRunner
from lab import Lab, a_lab
from record import print_head, print_others, verdict
from soundness import left_over, not_complete, other_tables
from vitals import Sample, growth, look

from hpsearch.cli.main import cli
from hpsearch.coordinator.patience import patiently
from hpsearch.spec import load
from hpsearch.storage.database import Database
from hpsearch.storage.errors import DatabaseAway, StorageError
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.queue import Queue
from hpsearch.storage.records import ENDED, SearchRecord
from hpsearch.storage.repository import Repository

SEEDS = 3  # as many searches are undisturbed, and all others are like one of them
OPEN = 3  # searches at once
LOOK_S, AWAY_S, SETTLE_S = 30.0, 8.0, 900.0
LEAST_H = 0.5  # for a verdict on growth
KEPT = 40  # ended searches, before the oldest are deleted too
SPEC: dict[str, Any] = {
    "data": {"source": "digits", "limit": 300, "validation": {"folds": 2}},
    "train": {"hidden_units": [8]},
    "space": {
        "optimizer": {"choice": ["momentum", "adam"]},
        "learning_rate": {"log_uniform": [1e-4, 1e2]},  # the upper part of it diverges
        "batch_size": {"choice": [32, 64]},
    },
    "stages": [
        {"name": "coarse", "trials": 12, "epochs": 20, "sampler": "qmc", "expand": 0},
        {
            **{"name": "fine", "trials": 8, "epochs": 30, "continue": 2, "sampler": "tpe"},
            **{"batch": 4, "pruner": {"name": "hyperband", "reduction_factor": 3}},
        },
    ],
    # A group is one trial, its folds stacked: however many workers there are, and whatever they
    # measured, its sums are the same to the last bit.
    "resources": {"width": 2, "checkpoint_every": 4},
}


class Soak:
    """Disturbs a lab, and knows what must have come of it."""

    def __init__(self, lab: Lab, rng: random.Random) -> None:
        self._lab, self._rng = lab, rng
        self.database = Database(lab.url)
        self._queue, self.repository = Queue(self.database), Repository(self.database)
        self.done: Counter[str] = Counter()
        self.cancelled: set[int] = set()
        self.undisturbed: set[int] = set()
        self.started_s = time.monotonic()
        self.hours: list[float] = []
        self.samples: list[Sample] = []
        self._disturbances: dict[Callable[[], bool], float] = {
            self._cancel: 2,
            self._resume: 2,
            self._retry: 1,
            self._delete: 2,
            self._kill_job: 3,
            self._kill_worker: 2,
            self._kill_server: 1,
        }
        if lab.postgresql is not None:
            self._disturbances |= {self._cut: 1, self._restart_database: 0.5}

    def begin(self) -> None:
        """Carry out one search of each seed, undisturbed."""
        self.undisturbed = {self._submit(seed) for seed in range(SEEDS)}
        if not self.settle():
            sys.exit("the undisturbed searches did not end:\n" + self._lab.log("serve"))

    def disturb(self, minutes: float, every_s: float) -> None:
        """Submit, and do something bad now and then."""
        self.started_s = time.monotonic()
        while time.monotonic() < self.started_s + minutes * 60:
            for act in (self._fill, self._disturb, self.look):
                try:
                    act()
                except (DatabaseAway, psycopg.OperationalError):
                    self.done["not done, the database was away"] += 1
                except StorageError:  # it ended, or was claimed, between two looks
                    self.done["refused"] += 1
            time.sleep(self._rng.uniform(0, 2 * every_s))

    def settle(self) -> bool:
        """Wait until all has ended that nobody cancelled; whether it has."""
        end_s = time.monotonic() + SETTLE_S
        while any(record.state not in ENDED for record in self.records()):
            if time.monotonic() > end_s:
                return False
            time.sleep(0.5)
        return True

    def resume_failed(self) -> list[str]:
        """Give those back to the service that it gave up, as a person would; their messages."""
        left = [record for record in self.records() if record.state in ("failed", "stopped")]
        for record in left:
            self._queue.submit_again(record.id)
        return [str(record.message) for record in left]

    def records(self) -> list[SearchRecord]:
        """All that are stored; waits while the database is away."""
        return patiently(self.repository.list_searches, lambda text: None)

    def look(self) -> None:
        """Take a sample, if it is time."""
        now_s = time.monotonic() - self.started_s
        if not self.hours or now_s - self.hours[-1] * 3600 >= LOOK_S:
            self.samples.append(look(self._lab, self.database))
            self.hours.append(now_s / 3600)

    def _fill(self) -> None:
        while sum(record.state not in ENDED for record in self.records()) < OPEN:
            self._submit(self._rng.randrange(SEEDS))

    def _submit(self, seed: int) -> int:
        spec = load({**SPEC, "name": f"seed-{seed}", "seed": seed})
        self.done["submitted"] += 1
        priority = self._rng.choice([-1, 0, 0, 1])
        return self._queue.submit(spec, Provenance.collect(), priority).id

    def _disturb(self) -> None:
        acts, weights = zip(*self._disturbances.items(), strict=True)
        (act,) = self._rng.choices(acts, weights)
        if act():
            self.done[act.__name__.strip("_")] += 1

    def _one(self, *states: str) -> SearchRecord | None:
        """One that may be disturbed, in one of ``states``."""
        found = [r for r in self.records() if r.state in states and r.id not in self.undisturbed]
        return self._rng.choice(found) if found else None

    def _cancel(self) -> bool:
        if (record := self._one("submitted", "running")) is None:
            return False
        self.cancelled.add(record.id)  # first: it may be stored although we are not told
        self._queue.cancel(record.id)
        return True

    def _resume(self) -> bool:
        if (record := self._one("cancelled", "failed", "stopped")) is None:
            return False
        self._queue.submit_again(record.id)
        self.cancelled.discard(record.id)
        return True

    def _retry(self) -> bool:
        record = self._one(*ENDED)
        if record is None or not self._queue.retry_failed(record.id):
            return False
        self._queue.submit_again(record.id)
        self.cancelled.discard(record.id)
        return True

    def _delete(self) -> bool:
        ended = [record for record in self.records() if record.state in ENDED]
        record = ended[SEEDS] if len(ended) > KEPT else self._one("cancelled")
        if record is None:
            return False
        command = ["delete", str(record.id), "--yes", "--db", self._lab.url]
        return CliRunner().invoke(cli, command).exit_code == 0

    def _kill_job(self) -> bool:
        servers = {server.pid for server in self._lab.servers}
        owners = [search.owner for search in self._queue.running() if search.owner is not None]
        pids = [owner.pid for owner in owners if owner.pid not in servers]
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._rng.choice(pids), signal.SIGKILL)
        return True

    def _kill_worker(self) -> bool:
        return self._lab.kill_worker(self._rng) is not None

    def _kill_server(self) -> bool:
        self._lab.kill_server(self._rng.uniform(0, AWAY_S))
        return True

    def _cut(self) -> bool:
        self._lab.cut()
        return True

    def _restart_database(self) -> bool:
        self._lab.restart_database(self._rng.uniform(0, AWAY_S))
        return True


def main() -> None:
    """Print the record; exit with 1 if something is not as it must be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds, of disturbances")
    parser.add_argument("--sqlite", action="store_true", help="instead of PostgreSQL")
    parser.add_argument("--seed", type=int, default=0, help="of what is done when")
    given = parser.parse_args()
    print_head("torch", "ray", "sqlalchemy", "psycopg")
    print_others()
    with a_lab(sqlite=given.sqlite) as lab:
        Database(lab.url).upgrade()
        soak = Soak(lab, random.Random(given.seed))
        soak.begin()
        soak.disturb(given.minutes, given.every)
        given_up = soak.resume_failed()
        has_settled = soak.settle()
        broken = [] if has_settled else ["some searches have not ended"]
        records = soak.records()
        broken += not_complete(records, soak.cancelled)
        broken += other_tables(soak.repository, records, soak.undisturbed)
        broken += left_over(lab)
    what = "SQLite" if given.sqlite else "PostgreSQL"
    states = Counter(record.state for record in records)
    print(f"{given.minutes:g} minutes on {what}: {_said(soak.done)}; at the end {_said(states)}")
    for message in given_up:
        print(f"given up by the service and resumed: {message}")
    print_growth(soak)
    print("\n".join(f"BROKEN: {rule}" for rule in broken) or "nothing is broken")
    sys.exit(bool(broken))


def _said(counted: Counter[str]) -> str:
    return ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in counted.most_common())


def print_growth(soak: Soak) -> None:
    """A line a figure. Rows are as many as the searches that nobody deleted have.

    In a short time all that is loaded once, and kept, looks like growth: there is no verdict then.
    """
    is_long = soak.hours[-1] >= LEAST_H
    for name in soak.samples[0]:
        values = [sample.get(name, 0.0) for sample in soak.samples]
        found = growth(soak.hours, values)
        said = verdict("no growth without bound", reached=not found.is_unbounded)
        said = said if is_long and name != "database: rows" else ""
        print(f"{name}: {values[0]:.1f} at first, {values[-1]:.1f} at last, {found}{said}")


if __name__ == "__main__":
    main()

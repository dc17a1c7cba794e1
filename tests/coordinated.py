"""Searches to coordinate in tests: a spec, a simulated curve with a known optimum, results."""

from __future__ import annotations

import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

from hpsearch.coordinator.events import Advanced, Event
from hpsearch.coordinator.loop import Coordinator
from hpsearch.coordinator.view import SearchView
from hpsearch.executors.base import Executor
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec import load
from hpsearch.spec.search import Search
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import TrialRecord
from hpsearch.storage.repository import Repository
from workers.messages import Member, Metric

PROVENANCE = Provenance(hpsearch_version="0", git_commit=None, host="h", user="u", packages={})
STAGES = [
    {"name": "coarse", "trials": 24, "epochs": 3, "sampler": "qmc", "expand": 1},
    {"name": "fine", "trials": 16, "epochs": 6, "continue": 5, "sampler": "tpe", "batch": 4},
    {"name": "confirm", "top": 3, "seeds": 2},
]


def a_search(**changes: Any) -> Search:
    """A coarse-to-fine search over two optimizers; the curve below has its optimum at 1e-2."""
    return load(
        {
            "name": "simulated",
            "data": {"source": "digits"},
            "train": {"hidden_units": [8]},
            "space": {
                "optimizer": {"choice": ["sgd", "adam"]},
                "learning_rate": {"log_uniform": [1e-5, 1e-3]},
                "batch_size": {"choice": [32, 64]},
            },
            "stages": STAGES,
            "resources": {"width": 8, "checkpoint_every": 2},
            "seed": 3,
            **changes,
        }
    )


def a_record(**changes: Any) -> TrialRecord:
    """A stored trial that is running, with defaults for whatever a test does not care about."""
    given: dict[str, Any] = {
        **{"id": 1, "search_id": 1, "stage_id": 1, "number": 0, "branch": "all", "generation": 1},
        **{"group": 0, "params": {}, "seed": 1, "replicate": 0, "start_epoch": 0},
        **{"target_epochs": 9, "state": "running"},
    } | changes
    return TrialRecord(**{"until_epoch": given["target_epochs"], **given})


def curve(member: Member, epoch: int) -> dict[str, Metric]:
    """A bowl in log10 of the rate that deepens with epochs; rates above 1 diverge at epoch 2."""
    rate = member.config.learning_rate
    if rate > 1.0 and epoch >= 2:
        return {"val_accuracy": math.nan, "val_loss": math.nan}
    noise = 0.01 * math.sin(member.seed % 1000)
    value = 1.0 - 0.1 * (math.log10(rate) + 2) ** 2 - 0.3 / epoch + noise
    return {"val_accuracy": value, "val_loss": 1.0 - value}


def coordinate(
    repository: Repository,
    search: Search,
    executor: Executor | None = None,
    folder: Path | None = None,
    **more: Any,
) -> SearchView:
    """Carry ``search`` out, or go on with it, to its end; checkpoints go to ``folder``."""
    record = repository.find_same(search) or repository.create_search(search, PROVENANCE)
    lease = repository.acquire(record.id, Owner.current())
    made = executor or SimulatedExecutor(curve)
    folder = folder or Path(tempfile.mkdtemp(prefix="hpsearch-test-"))
    view = Coordinator(repository, lease, record, made, folder, **more).run()
    repository.release(lease, "complete")
    return view


class Crash(BaseException):
    """Stands for the death of the process."""


WRITES = [
    name
    for name, method in vars(Repository).items()
    if callable(method)
    and not name.startswith("_")  # what each of them begins with is no write of its own
    and "lease" in getattr(method, "__annotations__", {})
]


class _CrashingRepository(Repository):
    """Dies before or after its n-th write."""

    def __init__(self, database: Database, after_writes: int, before: bool) -> None:
        super().__init__(database)
        self.left, self.before = after_writes, before

    def __getattribute__(self, name: str) -> object:
        method = super().__getattribute__(name)
        if name not in WRITES or name in ("renew", "release"):
            return method

        def dying(*arguments: object) -> object:
            self.left -= 1
            if self.left == 0 and self.before:
                raise Crash
            result = method(*arguments)
            if self.left == 0:
                raise Crash
            return result

        return dying


def crash(
    database: Database,
    folder: Path,
    after_writes: int,
    before: bool,
    search: Search,
    executor: Executor,
) -> bool:
    """Carry the search on until it dies, or to its end if that comes first; whether it died."""
    repository = _CrashingRepository(database, after_writes, before)
    record = repository.find_same(search) or repository.create_search(search, PROVENANCE)
    dead = Owner(host=Owner.current().host, pid=2**22 + 1, started_s=1.0)
    lease = repository.acquire(record.id, dead)
    try:
        Coordinator(repository, lease, record, executor, folder).run()
    except Crash:
        return True
    return False


def stop(
    repository: Repository, search: Search, executor: Executor, folder: Path, after_reports: int
) -> None:
    """Carry the search on until it is stopped, as by Ctrl-C, after so many reports."""
    left = itertools.count(after_reports - 1, -1)

    def interrupt(event: Event) -> None:
        if isinstance(event, Advanced) and next(left) == 0:
            raise KeyboardInterrupt

    record = repository.find_same(search) or repository.create_search(search, PROVENANCE)
    lease = repository.acquire(record.id, Owner.current())
    try:
        Coordinator(repository, lease, record, executor, folder, interrupt).run()
    except KeyboardInterrupt:
        repository.release(lease, "stopped")
        return
    raise AssertionError(f"the search ended before its report {after_reports}")


def finished_table(repository: Repository, ref: str | int = "simulated") -> list[tuple[Any, ...]]:
    """All that a search found out, without times: what must not depend on how often it died."""
    from hpsearch.analysis.frames import Frames

    record = repository.find_search(ref)
    stages, trials = repository.load(record.id)
    frames = Frames(repository)
    numbers = {trial.id: trial.number for trial in trials}
    curves = frames.curves(record.id).drop(columns=["seconds"])
    curves["trial"] = curves["trial"].map(numbers)
    curves["layer_gradient_norms"] = curves["layer_gradient_norms"].map(repr)  # nan is not nan
    rows = curves.sort_values(["trial", "epoch"]).astype(object).where(curves.notna(), None)
    return [
        *((s.position, s.name, s.branches, s.state, [r.text for r in s.reasons]) for s in stages),
        *(
            (
                *(t.number, t.branch, t.generation, t.params, t.seed, t.replicate, t.start_epoch),
                *(t.target_epochs, numbers.get(t.parent_id or -1), t.state, t.failure_kind),
                *(t.value, t.spread, t.best_epoch, t.epochs, t.stopped_early, t.until_epoch),
                # What has failed may have been trained again, in the company of others.
                *((t.checkpoint_epoch, t.checkpoint_row) if t.state != "failed" else ()),
            )
            for t in trials
        ),
        *map(tuple, rows.values.tolist()),
        *(
            (found.kind, found.message if found.kind != "check_cost" else "in its own time")
            for found in repository.diagnoses(record.id)
        ),
    ]


def sqlite_in(folder: Path) -> Repository:
    """The database of ``folder``, made where there is none."""
    folder.mkdir(exist_ok=True)
    database = Database(f"sqlite:///{folder / 'search.db'}")
    database.check_revision()
    return Repository(database)

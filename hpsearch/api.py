"""What a notebook and the command line call: ``connect`` to read, ``run`` to search.

``run`` is the way to a search in one place: the spec is checked, the data are read while workers
start, and the search is stored or found; ``hpsearch.running`` then carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpsearch.coordinator.checking import checked
from hpsearch.coordinator.events import Observer
from hpsearch.coordinator.prior import resolve_prior
from hpsearch.coordinator.warm_starts import WarmStarts, resolve_warm_starts
from hpsearch.errors import HpsearchError
from hpsearch.executors.backends import IN_PROCESS, check_address, default_ray, starting
from hpsearch.executors.base import Task
from hpsearch.running import DATA, Started, Watch, awaited, carry_out, created
from hpsearch.settings import checkpoint_root, command, database_url
from hpsearch.spec import load, load_data
from hpsearch.spec.search import Search
from hpsearch.spec.warm_start import warm_starts
from hpsearch.storage.database import Database
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository
from hpsearch.storage.searches import check_is_trained_here
from hpsearch.storage.urls import check_exists, sqlite_file
from workers.messages import CheckResult

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpsearch.analysis.frames import Frames

SET_PATH = "--set data.path=PATH"  # of run and check; a search that is stored keeps its path


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A search that ``run`` carried out; ``db`` reads its tables, by ``id``."""

    id: int
    name: str
    parameters: tuple[str, ...]
    mode: Literal["max", "min"]
    db: Frames

    def best(self, n: int = 10) -> DataFrame:
        """The best trials, one row each."""
        return self.db.best(self.id, n=n)

    def trials(self) -> DataFrame:
        """All trials, one row each."""
        return self.db.trials(self.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What ``check`` found, on one of ``num_workers`` workers that the search would have."""

    search: Search
    results: tuple[CheckResult, ...]
    num_workers: int


def open_repository(url: str | None = None) -> Repository:
    """The database at ``url`` or where :func:`database_url` says, its schema checked."""
    database = Database(database_url(url))
    database.check_revision()
    return Repository(database)


def connect(url: str | None = None) -> Frames:
    """Open a database of searches for reading: every method gives a pandas DataFrame.

    Raises StorageError if it cannot be opened, or is a file that does not exist.
    """
    from hpsearch.analysis.frames import Frames

    check_exists(database_url(url))
    return Frames(open_repository(url))


def run(
    spec: str | Path | Mapping[str, Any] | Search,
    *,
    db: str | None = None,
    ray: str | None = None,
    overrides: Sequence[str] = (),
    anew: bool = False,
    force: bool = False,
    on_start: Callable[[Started], None] = lambda started: None,
    on_wait: Callable[[str], None] = lambda what: None,
    observer: Observer = lambda event: None,
) -> Result:
    """Carry out the search of ``spec``: a YAML file, the name of a packaged one, a mapping, or one
    that :func:`hpsearch.Search` made, which takes no ``overrides``.

    ``ray`` is "processes" for worker processes of this machine without Ray, "local" to start Ray
    here, the address of a cluster, or "none" for this process; None is the first of these, or, of a
    trainable, the second. A search of the same name and spec that is in the database is gone on
    with, or, if it is complete, only read; with ``anew`` it is searched again. With ``force`` it
    goes on where a check failed. One of which no trial came to an end with a value has failed, and
    says why in the ``message`` of ``db.searches()``. Raises SpecError for a spec or data that
    cannot be, ChecksFailed, AllFail once ``max_failures`` is reached, LeaseHeld if another process
    carries the search out, HpsearchError if that is left to the service, and Stopped on Ctrl-C; all
    results are stored by then. ``on_wait`` is told what is waited for next, before there is
    anything to observe.
    """
    search = spec if isinstance(spec, Search) else load(spec, overrides)
    ray = default_ray(search) if ray is None else ray
    check_address(ray)  # also where nothing is left to run
    _check_own(search, ray)
    watch = Watch(on_start=on_start, on_wait=on_wait, observer=observer, force=force)
    repository = _existing(db)
    found = None if anew or repository is None else repository.find_same(search)
    if repository is not None and found is not None and found.state == "complete":
        return _read_only(repository, found, watch)
    if found is not None:
        _check_is_ours(found, db, ", or search again with --new")
    with starting(ray, search) as ready:
        on_wait(DATA)
        dataset = load_data(search, SET_PATH)  # if they are refused, nothing is stored
        repository = repository or open_repository(db)
        folder = checkpoint_root(database_url(db))
        own_id = None if found is None else found.id
        resolve_warm_starts(repository, search, folder, own_id)
        if found is None:  # one that has begun may go on although its prior is gone by now
            resolve_prior(repository, search)
        provenance = Provenance.collect()
        backend = awaited(ready, ray, search, on_wait)  # nor does a cluster that does not answer
        if found is None:
            started = created(repository, search, provenance, backend, anew)
        else:
            started = Started(search=found, resumed=True, backend=backend)
    with closing(backend):
        if started.search.state == "complete":  # somebody was as fast as that
            return _read_only(repository, started.search, watch)
        _check_is_ours(started.search, db)
        carry_out(repository, started, dataset, folder, watch)
    return _result(repository, started.search)


def _check_own(search: Search, ray: str) -> None:
    """Workers import what a spec names, and have nothing of a notebook or a script."""
    of_main = [name for name in search.python_names if name.startswith("__main__:")]
    if of_main and ray != IN_PROCESS:
        raise HpsearchError(
            f"workers must be able to import {of_main[0].partition(':')[2]}, but it is of a "
            f'notebook or a script; put it into a file that is imported, or train with ray="none"'
        )


def resume(
    search: str | int,
    *,
    db: str | None = None,
    ray: str | None = None,
    force: bool = False,
    on_start: Callable[[Started], None] = lambda started: None,
    on_wait: Callable[[str], None] = lambda what: None,
    observer: Observer = lambda event: None,
) -> Result:
    """Go on with a stored search, by name or id, from where the database says that it is.

    Raises what :func:`run` raises, and StorageError if there is no such search.
    """
    if ray is not None:
        check_address(ray)
    repository = open_repository(db)
    record = repository.find_search(search)
    watch = Watch(on_start=on_start, on_wait=on_wait, observer=observer, force=force)
    if record.state == "complete":
        return _read_only(repository, record, watch)
    check_is_trained_here(record)
    _check_is_ours(record, db)
    ray = default_ray(record.spec) if ray is None else ray
    with starting(ray, record.spec) as ready:
        on_wait(DATA)
        dataset = load_data(record.spec)
        backend = awaited(ready, ray, record.spec, on_wait)
        started = Started(search=record, resumed=True, backend=backend)
    with closing(backend):
        folder = checkpoint_root(database_url(db))
        carry_out(repository, started, dataset, folder, watch)
    return _result(repository, record)


def check(
    spec: str | Path | Mapping[str, Any],
    *,
    db: str | None = None,
    ray: str = IN_PROCESS,
    overrides: Sequence[str] = (),
) -> Checked:
    """Make the checks of ``spec``; nothing is searched or stored.

    A database is only read, if there is one, for the trials that ``warm_start`` names. Raises
    SpecError for a spec or data that cannot be, HpsearchError for a warm start that cannot, and
    ChecksBroken if a check itself breaks.
    """
    search = load(spec, overrides)
    if search.trainable is not None:
        raise HpsearchError(
            f"checks look into a training of ours, but search {search.name} has the trainable "
            f"{search.trainable}: run it with a small stage first"
        )
    with starting(ray, search) as ready:
        found = _warm_starts_at_hand(search, db)
        dataset = load_data(search, SET_PATH)
        backend = ready()
    title = f"{search.name} (checks)"
    task = Task(search=search, title=title, dataset=dataset)
    with closing(backend), closing(backend.executor(task)) as executor:
        results = tuple(checked(executor, search, executor.num_slots, found))
        return Checked(search=search, results=results, num_workers=executor.num_slots)


def _check_is_ours(record: SearchRecord, db: str | None, other: str = "") -> None:
    """Raises HpsearchError for a search that the service carries out, or will."""
    if not record.served or record.state not in ("submitted", "running"):
        return
    url = database_url(db)
    raise HpsearchError(
        f"search {record.name} (id {record.id}) was submitted to the service, which it is left to: "
        f"see how far it is with {command(f'watch {record.id}', url)}, take it back with "
        f"{command(f'cancel {record.id}', url)} first{other}"
    )


def _existing(db: str | None) -> Repository | None:
    """The database, but for a SQLite file that is not there yet: none is made."""
    file = sqlite_file(database_url(db))
    return open_repository(db) if file is None or file.exists() else None


def _warm_starts_at_hand(search: Search, db: str | None) -> WarmStarts:
    """Those that a check can start from: without a database, files alone."""
    if not any(warm_starts(search)):
        return {}
    folder, repository = checkpoint_root(database_url(db)), _existing(db)
    same = None if repository is None else repository.find_same(search)
    return resolve_warm_starts(repository, search, folder, None if same is None else same.id)


def _read_only(repository: Repository, record: SearchRecord, watch: Watch) -> Result:
    watch.on_start(Started(search=record, resumed=True, backend=None))
    return _result(repository, record)


def _result(repository: Repository, record: SearchRecord) -> Result:
    from hpsearch.analysis.frames import Frames

    return Result(
        id=record.id,
        name=record.name,
        parameters=tuple(record.spec.space.parameters),
        mode=record.spec.objective.mode,
        db=Frames(repository),
    )

"""``examine``: is everything there that a search needs, and what to do where it is not.

Called by ``hpsearch doctor``. Each check is a function that gives what it found, or raises an
HpsearchError whose sentence says how to mend it; none leaves anything behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile

from hpsearch.coordinator.resources import not_writable
from hpsearch.errors import HpsearchError
from hpsearch.settings import checkpoint_root, database_url, given_url
from hpsearch.storage.database import Database
from hpsearch.storage.urls import masked_url, sqlite_file

PACKAGES = "hpsearch", "ray", "torch", "numpy"  # what all nodes must have alike
LEAST_FREE = 2 * 2**30  # bytes
ANSWER_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a check found; one that is not ``good`` says how to mend it."""

    check: str
    good: bool
    text: str


def examine(db: str | None, address: str | None) -> Iterator[Finding]:
    """The database, the checkpoints, and, if there is an ``address``, the Ray cluster there."""
    yield _checked("database", lambda: _database(database_url(db)))
    yield _checked("checkpoints", partial(_checkpoints, given_url(db)))
    if address is not None:
        cluster = _checked("cluster", partial(_cluster, address))
        yield cluster
        if cluster.good:
            yield _checked("nodes", partial(_nodes, address))


def _checked(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(check=name, good=True, text=check())
    except HpsearchError as error:
        return Finding(check=name, good=False, text=str(error))


def _database(url: str) -> str:
    file, shown = sqlite_file(url), masked_url(url)
    none_yet = (
        "the first `hpsearch run` or `hpsearch submit` makes it; if there should be, see --db"
    )
    if file is not None and not file.exists():
        return f"there is none at {shown} yet: {none_yet}"
    with closing(Database(url)) as database:
        if database.is_empty():
            return f"{shown} has no tables yet: {none_yet}"
        database.check_sound()
        return f"{shown} has schema {database.current_revision()}"


def _checkpoints(url: str) -> str:
    folder = checkpoint_root(url)
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise not_writable(folder, error) from error
    what = "can be written" if there == folder else "is made when it is needed"
    return f"{folder} {what}, {_free(there)} are free"


def _free(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise HpsearchError(
            f"{LEAST_FREE / 2**30:g} GB must be free for checkpoints, but {str(folder)!r} has "
            f"{free / 2**30:.1f}: make room, or name another folder in HPSEARCH_CHECKPOINTS"
        )
    return f"{free / 2**30:.0f} GB"


def _cluster(address: str) -> str:
    from hpsearch.service.jobs import RayJobs

    capacity = RayJobs(address, {}).capacity()
    if not (capacity.num_cpus or capacity.num_gpus):
        raise HpsearchError(
            f"the cluster at {address} must have CPUs or GPUs for workers, but has none: join a "
            "machine with `ray start --address HOST:PORT`"
        )
    token = "with a token" if os.environ.get("RAY_AUTH_MODE") == "token" else "without a token"
    return f"{capacity.num_cpus} CPUs and {capacity.num_gpus} GPUs, reached {token}"


def _nodes(address: str) -> str:
    """That all have the same versions as here; asks a task on each."""
    import ray

    from hpsearch.executors.cluster import connect, disconnect

    cluster = connect(address, "hpsearch doctor")
    try:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's
        found = [
            (node["NodeManagerHostname"], _asked(node["NodeID"])) for node in nodes if node["Alive"]
        ]
    finally:
        if cluster.is_own:
            disconnect()
    here = _versions()
    others = [f"{host} has {versions}" for host, versions in found if versions != here]
    if others:
        raise HpsearchError(
            f"all nodes must have the versions of this one ({here}), but {'; '.join(others)}: "
            "install the same"
        )
    return f"{len(found)} with the same versions: {here}"


def _asked(node: str) -> str:
    """The versions that a node has, or why it does not tell them."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(_versions).options(num_cpus=0, scheduling_strategy=there)
    try:
        versions: str = ray.get(task.remote(), timeout=ANSWER_S)
    except RayError as error:  # it may have no hpsearch
        return f"no answer ({str(error).strip().splitlines()[-1]})"
    return versions


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"

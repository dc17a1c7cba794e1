"""A Ray cluster to run on: a local one started for the search, or one that is there already.

Called in the thread of ``connecting`` before an executor is made.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.job_config import JobConfig

from hpsearch.errors import HpsearchError, MayPass
from hpsearch.executors.carried import carried

PROBE_S = 5.0
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "1",  # before we are connected: 0.3 s sooner
}
_OURS: list[bytes | None] = []  # the code of the connection that we made, if there is one


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A connection to Ray; ``dashboard`` is an address for a browser, None if there is none.

    ``is_own``: the connection was made by this call, and is no older one of this process.
    """

    dashboard: str | None
    num_cpus: int
    num_gpus: int
    is_own: bool = False


def connect(address: str, title: str, code: bytes | None = None) -> Cluster:
    """Connect to ``address``, or start a cluster on this machine if it is "local".

    The dashboard lists this process as a job named ``title``. A connection that this process has
    already is used as it is, but made anew for other ``code``, a package that workers are to
    import. Raises HpsearchError if there is no cluster at the address, or the connection is not
    ours to make anew.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    _probe(address)
    _end_without(code)
    is_own = not ray.is_initialized()
    try:
        with _own_sigterm(), carried(code) as environment:
            context = ray.init(
                address=address,
                runtime_env=environment or None,
                job_config=JobConfig(metadata={"job_name": title}),
                ignore_reinit_error=True,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, str(error).strip().splitlines()[0]) from error
    if is_own:
        _OURS[:] = [code]
    num_cpus, num_gpus = cpus_and_gpus()
    return Cluster(
        dashboard=f"http://{context.dashboard_url}" if context.dashboard_url else None,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        is_own=is_own,
    )


def _end_without(code: bytes | None) -> None:
    """End a connection whose workers have not the code that they are to import."""
    if code is None or not ray.is_initialized() or [code] == _OURS:
        return
    if not _OURS:
        raise HpsearchError(
            "code of one's own must be sent to a cluster when it is connected to, but this process "
            "has connected to Ray by itself: call ray.shutdown() first"
        )
    disconnect()


def cpus_and_gpus() -> tuple[int, int]:
    """How many the cluster has now, busy or not."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's
    return int(resources.get("CPU", 1)), int(resources.get("GPU", 0))


def disconnect() -> None:
    """End this process's connection, and with it the cluster that was started for it."""
    _OURS.clear()
    ray.shutdown()


def _probe(address: str) -> None:
    """Refuse an address where nothing listens at once; Ray would go on trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # local, or auto
    if not (host and port.isdecimal()):
        raise HpsearchError(
            f"the address of a Ray cluster must be HOST:PORT, but got {address!r}: give one, or "
            "use --ray local"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, why: str) -> MayPass:
    return MayPass(
        f"no Ray cluster answers at {address!r} ({why}); "
        "start one with `ray start --head`, or use --ray local"
    )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's SIGTERM handler: Ray's would exit before the search is given back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():  # elsewhere Ray sets none
        signal.signal(signal.SIGTERM, before)

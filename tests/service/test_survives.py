"""The service as a lab has it, in processes of its own: the server and the cluster are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from coordinated import finished_table
from free_ports import free_port
from killed_search import a_search, num_writes, write_search

from hpsearch.storage.database import Database
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository

PATIENCE_S = 240.0


class Lab:
    """A Ray cluster and servers, each in processes of its own that can be killed."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, "RAY_AUTH_MODE": "token", **environment}
        self._ports = [str(free_port()) for _ in range(4)]
        # Ray's sockets have long names, and a path of one has at most 107 bytes.
        self._ray_folder = tempfile.mkdtemp(prefix="lab-")
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_cluster(self) -> subprocess.Popen[bytes]:
        port, dashboard, client, agent = self._ports  # another cluster may run beside this one
        ports = ["--port", port, "--dashboard-port", dashboard, "--ray-client-server-port", client]
        ports += ["--dashboard-agent-listen-port", agent]
        start = ["start", "--head", "--block", "--num-cpus", "2", "--temp-dir", self._ray_folder]
        ray = str(Path(sys.executable).with_name("ray"))
        return self._start([ray, *start, *ports], "ray")

    def start_server(self) -> subprocess.Popen[bytes]:
        address = f"127.0.0.1:{self._ports[0]}"
        serve = [sys.executable, "-m", "hpsearch", "serve", "--ray", address]
        return self._start(serve, "serve")

    def _start(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def kill_all(self) -> None:
        for process in self._processes:
            kill_tree(process)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for it and all that it began, the workers and the jobs of a cluster too."""
    if process.poll() is None:
        family = psutil.Process(process.pid)
        for member in [*family.children(recursive=True), family]:
            with_pid = psutil.pid_exists(member.pid)
            if with_pid:
                os.kill(member.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("lab-data")
    write_search(found)
    return found


@pytest.fixture
def lab(sqlite_url: str, tmp_path: Path) -> Iterator[Lab]:
    environment = {
        "HPSEARCH_DATABASE_URL": sqlite_url,
        "HPSEARCH_CHECKPOINTS": str(tmp_path / "checkpoints"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "",
    }
    lab = Lab(tmp_path, environment)
    yield lab
    lab.kill_all()


def _submit(repository: Repository, data: Path) -> int:
    return Queue(repository.database).submit(a_search(data), Provenance.collect()).id


def _await(is_so: Callable[[], bool], lab: Lab) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, lab.log("serve") + lab.log("ray")
        time.sleep(0.2)


def test_servers_and_the_whole_cluster_may_die(lab: Lab, sqlite_url: str, data: Path) -> None:
    """One search after another: first undisturbed, then with everything killed on its way."""
    repository = Repository(Database(sqlite_url))
    repository.database.upgrade()
    cluster, server = lab.start_cluster(), lab.start_server()
    first = _submit(repository, data)

    def is_complete(search_id: int) -> bool:
        return repository.find_search(search_id).state == "complete"

    _await(lambda: is_complete(first), lab)

    second = _submit(repository, data)
    _await(lambda: num_writes(repository) > 60, lab)
    server.kill()  # its search goes on without it
    kill_tree(cluster)
    assert not is_complete(second)
    lab.start_server()  # before there is a cluster: it waits for one
    lab.start_cluster()
    _await(lambda: is_complete(second), lab)
    assert finished_table(repository, second) == finished_table(repository, first)
    assert "Traceback" not in lab.log("serve")
    repository.database.close()

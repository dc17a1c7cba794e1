"""The service as a lab has it, in processes of its own, each of which is killed on the way."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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

PATIENCE_S = 600.0
WORKER = "worker"
PARTS = (WORKER, "job", "server", "node", "cluster")
FURTHER = 60  # writes that a search makes between two deaths: it is under way again


class Lab:
    """A Ray cluster (a head without work of its own, two nodes) and a server, and a database.

    All are processes that can be killed. Other clusters may run on this host: each port is free.
    """

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'search.db'}"
        self.repository = Repository(Database(self.url))
        self.repository.database.upgrade()
        self.queue = Queue(self.repository.database)
        self._folder, self._port, self._dashboard = folder, free_port(), free_port()
        # Ray's sockets have long names, and a path of one has at most 107 bytes.
        self._ray_folder = tempfile.mkdtemp(prefix="lab-")
        self._environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": "",
            "HPSEARCH_DATABASE_URL": self.url,
            "HPSEARCH_CHECKPOINTS": str(folder / "checkpoints"),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.start_cluster()
        self.start_server()

    def start_cluster(self) -> None:
        ports = ["--port", self._port, "--dashboard-port", self._dashboard]
        head = ["--head", "--num-cpus", 0, "--temp-dir", self._ray_folder, *ports]
        self._ray("head", *head, "--ray-client-server-port", free_port())
        for name in ("node", "other-node"):
            self.start_node(name)

    def start_node(self, name: str) -> None:
        """Until it is there: two that join a head of this host at once fail."""
        self.wait_until(lambda: _listens(self._port))
        joins = ("--address", f"127.0.0.1:{self._port}", "--num-cpus", 1)
        self._ray(name, *joins)

        def is_there() -> bool:
            if self.processes[name].poll() is not None:
                self._ray(name, *joins)
            return "Ray runtime started" in self.log(name)

        self.wait_until(is_there)

    def start_server(self) -> None:
        address = f"http://127.0.0.1:{self._dashboard}"
        self._begin("server", [sys.executable, "-m", "hpsearch", "serve", "--ray", address])

    def kill(self, part: str, search_id: int) -> None:
        """SIGKILL for a part, and then what an operator or its supervisor would start again."""
        if part == WORKER:
            os.kill(self._workers()[0].pid, signal.SIGKILL)
        elif part == "job":
            os.kill(self._job(search_id), signal.SIGKILL)
        elif part == "server":
            self.processes["server"].kill()
            self.start_server()
        elif part == "node":  # its raylet, and the worker on it
            kill_tree(self.processes["node"])
            self.start_node("node")
        else:
            for name in ("node", "other-node", "head"):
                kill_tree(self.processes[name])
            self.start_cluster()

    def can_kill(self, part: str, search_id: int) -> bool:
        if part == WORKER:
            return bool(self._workers())
        return part != "job" or self._job(search_id) != 0

    def submit(self, data: Path) -> int:
        return self.queue.submit(a_search(data), Provenance.collect()).id

    def is_complete(self, search_id: int) -> bool:
        return self.repository.find_search(search_id).state == "complete"

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s, self.log("server") + self.log("head")
            time.sleep(0.2)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def close(self) -> None:
        for process in self.processes.values():
            kill_tree(process)
        self.repository.database.close()

    def _workers(self) -> list[psutil.Process]:
        """Those of the search, whose title is their name or that of the group that they train."""
        processes = (self.processes[name] for name in ("node", "other-node"))
        family = (child for node in processes for child in _family(node))
        return [child for child in family if _title(child).startswith("ray::killed")]

    def _job(self, search_id: int) -> int:
        """The process that carries the search out, 0 where none has taken it over."""
        owners = {search.id: search.owner for search in self.queue.running()}
        owner = owners.get(search_id)
        server = self.processes["server"].pid
        return 0 if owner is None or owner.pid == server or owner.is_dead() else owner.pid

    def _ray(self, name: str, *options: object) -> None:
        agent = ["--dashboard-agent-listen-port", free_port()]
        ray = str(Path(sys.executable).with_name("ray"))
        self._begin(name, [ray, "start", "--block", *map(str, (*options, *agent))])

    def _begin(self, name: str, command: list[str]) -> None:
        mode = "ab" if name == "server" else "wb"
        with (self._folder / f"{name}.log").open(mode) as log:
            self.processes[name] = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """It and all that it began, the workers and the jobs of a node too; none once it has ended."""
    if process.poll() is not None:
        return []
    root = psutil.Process(process.pid)
    return [*root.children(recursive=True), root]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    for member in _family(process):
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    process.wait(30)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("lab-data")
    write_search(found)
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    lab.start()
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, data: Path) -> list[tuple[object, ...]]:
    search_id = lab.submit(data)
    lab.wait_until(lambda: lab.is_complete(search_id))
    return finished_table(lab.repository, search_id)


def _disturbed(lab: Lab, data: Path, parts: Iterable[str]) -> list[str]:
    """A search to its end, in which one part after the other was killed; those that were."""
    search_id, killed, begun = lab.submit(data), list[str](), 0
    for part in parts:
        enough = begun + FURTHER

        def is_time(part: str = part, enough: int = enough) -> bool:
            is_over = lab.is_complete(search_id)
            return is_over or (
                num_writes(lab.repository) > enough and lab.can_kill(part, search_id)
            )

        lab.wait_until(is_time)
        if lab.is_complete(search_id):
            break
        lab.kill(part, search_id)
        killed.append(part)
        begun = num_writes(lab.repository)
    lab.wait_until(lambda: lab.is_complete(search_id))
    return killed


def test_each_part_of_a_lab_may_die_and_the_table_is_that_of_an_undisturbed_search(
    lab: Lab, data: Path, undisturbed: list[tuple[object, ...]]
) -> None:
    assert _disturbed(lab, data, PARTS) == [*PARTS]
    assert finished_table(lab.repository, "killed") == undisturbed
    assert "Traceback" not in lab.log("server")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_parts_that_die_at_random_moments_change_nothing(
    lab: Lab, data: Path, undisturbed: list[tuple[object, ...]], seed: int
) -> None:
    chance = random.Random(seed)
    killed = _disturbed(lab, data, (chance.choice(PARTS) for _ in range(20)))
    assert len(killed) > 3
    assert finished_table(lab.repository, "killed") == undisturbed
    assert "Traceback" not in lab.log("server")

"""Code of one's own on a cluster that has never seen it, begun by ``ray start`` somewhere else."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from free_ports import free_port

from hpsearch.errors import HpsearchError
from hpsearch.own_code import packed
from hpsearch.service.jobs import RayJobs
from hpsearch.service.server import Server
from hpsearch.spec import load
from hpsearch.storage.database import Database
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0
# Both say where they were imported from, each in a file of the process that did.
MODULE = """
import os
from pathlib import Path

import torch
from torch import nn

def told(what):
    Path(os.environ["TOLD"], f"{what}-{os.getpid()}").write_text(__file__)

class Net(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        told("model")
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)

class Line(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, place):
        return torch.full((3,), place / 20 - 1), int(place >= 20)

def load():
    told("data")
    return Line()
"""
SPEC = {
    "name": "travels",
    "model": "from_afar.nets:Net",
    "data": {"source": "from_afar.nets:load", "stream": True, "loader_workers": 0},
    "resources": {"workers": 1, "width": 2},
    "space": {"learning_rate": {"log_uniform": [1e-2, 1e-1]}},
    "stages": [{"name": "only", "trials": 2, "epochs": 1}],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Afar:
    """A cluster in another folder; ``told`` is where imports are told, by all its processes."""

    address: str
    dashboard: str
    told: Path

    def imported_from(self, what: str) -> set[Path]:
        return {Path(file.read_text()) for file in self.told.glob(f"{what}-*")}


@pytest.fixture(scope="module")
def afar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Afar]:
    elsewhere, told = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("told")
    port, dashboard = free_port(), free_port()
    temporary = tempfile.mkdtemp(prefix="afar-")  # short, for a path of a socket is
    options = {"port": port, "dashboard-port": dashboard, "dashboard-host": "127.0.0.1"}
    options |= {"node-ip-address": "127.0.0.1", "dashboard-agent-listen-port": free_port()}
    options |= {"num-cpus": 2, "temp-dir": temporary}
    ray = str(Path(sys.executable).with_name("ray"))
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", *(f"--{k}={v}" for k, v in options.items())],
        cwd=elsewhere,
        env={**_environment(), "TOLD": str(told)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until(lambda: _listens(port) and _listens(dashboard))
        yield Afar(
            address=f"127.0.0.1:{port}", dashboard=f"http://127.0.0.1:{dashboard}", told=told
        )
    finally:
        head.send_signal(signal.SIGTERM)  # upon which it ends all that it has begun
        head.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)


def _environment() -> dict[str, str]:
    """That of somebody who has installed hpsearch, and nothing else of ours."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return {**found, **settings, "PYTHONPATH": str(ROOT)}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(is_so: Callable[[], bool], turn: Callable[[], object] = lambda: None) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s
        turn()
        time.sleep(0.2)


@pytest.fixture
def laptop(tmp_path: Path, afar: Afar) -> Path:
    """The folder of the one who has written the code."""
    for file in afar.told.iterdir():
        file.unlink()
    (tmp_path / "from_afar").mkdir()
    (tmp_path / "from_afar" / "nets.py").write_text(MODULE)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path


def test_run_on_a_cluster_sends_the_code_along(laptop: Path, afar: Afar) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hpsearch", "run", "own.yaml", "--ray", afar.address],
        cwd=laptop,
        env={**_environment(), "TOLD": str(afar.told)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for what in ("model", "data"):
        here, there = laptop / "from_afar" / "nets.py", afar.imported_from(what)
        there.discard(here)  # the process that was started here has it at hand
        assert there, what
        assert all("runtime_resources" in path.parts for path in there)


class _Served:
    """A search that was submitted from the laptop, and the server that is to carry it out."""

    def __init__(self, laptop: Path, afar: Afar, *, allowed: bool) -> None:
        url = f"sqlite:///{laptop}/search.db"
        self.repository = Repository(Database(url))
        self.repository.database.upgrade()
        submit = [sys.executable, "-m", "hpsearch", "submit", "own.yaml", "--db", url]
        told = {**_environment(), "TOLD": str(laptop)}
        subprocess.run(submit, cwd=laptop, env=told, check=True, timeout=PATIENCE_S)
        shutil.rmtree(laptop / "from_afar")  # the database is where the code is now
        environment = {"HPSEARCH_DATABASE_URL": url, "HPSEARCH_CHECKPOINTS": f"{laptop}/kept"}
        environment |= {"HPSEARCH_ALLOW_IMPORTS": "1"} if allowed else {}
        queue = Queue(self.repository.database)
        self._server = Server(queue, RayJobs(afar.dashboard, environment))

    def end(self) -> tuple[str, str | None]:
        _wait_until(lambda: self._record().finished_at is not None, self._server.turn)
        record = self._record()
        return record.state, record.message

    def _record(self) -> object:
        return self.repository.find_search(1)


def test_a_submitted_search_has_the_code_it_was_submitted_with(laptop: Path, afar: Afar) -> None:
    assert _Served(laptop, afar, allowed=True).end() == ("complete", None)
    for what in ("model", "data"):
        there = afar.imported_from(what)
        assert there, what
        assert all("runtime_resources" in path.parts for path in there)


def test_without_the_operators_consent_nothing_of_it_is_imported(laptop: Path, afar: Afar) -> None:
    state, message = _Served(laptop, afar, allowed=False).end()
    assert state == "failed"
    assert "its operator allows that by HPSEARCH_ALLOW_IMPORTS=1" in str(message)
    assert not list(afar.told.iterdir())


def test_the_code_stays_with_its_search_whoever_claims_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back and taken up again, it has the same; deleted, it is gone."""
    from hpsearch.storage.leases import Owner

    monkeypatch.chdir(tmp_path)
    (tmp_path / "submitted_once.py").write_text(MODULE)
    data = {"source": "submitted_once:load"}
    spec = load({**{key: SPEC[key] for key in SPEC if key != "model"}, "data": data})
    database = Database(f"sqlite:///{tmp_path}/search.db")
    database.upgrade()
    queue, code = Queue(database), packed(spec)
    record = queue.submit(spec, Provenance.collect(), code=code)
    for _ in range(2):
        claim = queue.claim(Owner.current())
        assert claim is not None
        assert claim.code == code
        Repository(database).release(claim.lease, "submitted")
    queue.delete(record.id)
    other = queue.submit(load("digits"), Provenance.collect())
    claim = queue.claim(Owner.current())
    assert claim is not None
    assert (claim.lease.search_id, claim.code) == (other.id, None)


def test_a_connection_that_others_made_is_not_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpsearch.executors import cluster

    ended: list[bool] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(cluster, "disconnect", lambda: ended.append(True))
    monkeypatch.setattr(cluster, "_OURS", [])
    with pytest.raises(HpsearchError, match=r"call ray.shutdown\(\) first"):
        cluster._end_without(b"code")
    cluster._end_without(None)
    cluster._OURS.append(b"code")
    cluster._end_without(b"code")
    assert not ended
    cluster._end_without(b"other")
    assert ended

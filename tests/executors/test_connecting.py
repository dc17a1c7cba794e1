"""Ray is connected to in a thread: what becomes of it when it is wanted, refused or interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from left_over import left_of

from hpsearch.errors import HpsearchError
from hpsearch.executors.cluster import Cluster
from hpsearch.executors.connecting import connecting

TWICE = """
import threading
import ray
from hpsearch.executors.cluster import disconnect
from hpsearch.executors.connecting import connecting

@ray.remote
def double(number):
    return 2 * number

for title in ("first", "second"):
    with connecting("local", title) as cluster:
        assert cluster().is_own
    with connecting("local", "again") as cluster:
        assert not cluster().is_own
    print(ray.get([double.remote(number) for number in range(3)]))
    disconnect()
    assert not ray.is_initialized()
assert [thread.name for thread in threading.enumerate()].count("ray") == 1
"""

REFUSED = """
import subprocess, sys, time, psutil
import hpsearch.executors.cluster  # or the thread would be importing it when it is refused
from hpsearch.executors.connecting import connecting

of_user = subprocess.Popen([sys.executable, "monitor.py"], stdin=subprocess.PIPE)
try:
    with connecting("local", "refused") as cluster:
        time.sleep(0.3)
        raise ValueError("nobody waits")
except ValueError as error:
    print(error)
{after}
assert of_user.poll() is None
of_user.communicate()
"""

ENDED = """
def is_alone():
    return psutil.Process().children() == [psutil.Process(of_user.pid)]

while is_alone():
    time.sleep(0.01)  # Ray's processes come
while not is_alone():
    time.sleep(0.01)  # and go
"""

NEXT = """
import ray
with connecting("local", "next") as cluster:
    assert cluster().is_own
time.sleep(3)  # in which a refused one would have ended it
print(ray.get(ray.put("lives")))
"""


def _python(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=folder
    )


def test_a_cluster_lives_on_in_any_thread_until_it_is_ended_and_can_be_started_again() -> None:
    done = _python(TWICE)
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 2, 4]\n" * 2, "", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a program of the user that has the name of one of Ray's."""
    (tmp_path / "monitor.py").write_text("import sys; sys.stdin.read()")
    return tmp_path


def test_a_cluster_that_nobody_waits_for_is_ended_and_nothing_else(folder: Path) -> None:
    done = _python(REFUSED.format(after=ENDED), folder)
    assert (done.stdout, done.stderr, done.returncode) == ("nobody waits\n", "", 0)


def test_a_refused_cluster_is_ended_before_the_next_one_starts(folder: Path) -> None:
    done = _python(REFUSED.format(after=NEXT), folder)
    assert (done.stdout, done.stderr, done.returncode) == ("nobody waits\nlives\n", "", 0)


class _Ray:
    """What is told to connect and to disconnect; the first to come has a cluster of its own."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.has_begun, self.may_connect = threading.Event(), threading.Event()
        self.is_up = False

    def connect(self, address: str, title: str, code: bytes | None = None) -> Cluster:
        self.has_begun.set()
        assert self.may_connect.wait(60)
        self.calls.append(title)
        is_own, self.is_up = not self.is_up, True
        return Cluster(dashboard=None, num_cpus=1, num_gpus=0, is_own=is_own)

    def disconnect(self) -> None:
        self.calls.append("end")
        self.is_up = False


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> _Ray:
    fake = _Ray()
    monkeypatch.setattr("hpsearch.executors.cluster.connect", fake.connect)
    monkeypatch.setattr("hpsearch.executors.cluster.disconnect", fake.disconnect)
    return fake


def _connected(title: str) -> Cluster:
    with connecting("local", title) as cluster:
        return cluster()


def _refused(title: str, body: Callable[[], object]) -> None:
    with connecting("local", title):
        body()
        raise ValueError("no data")


def test_what_is_refused_before_its_turn_is_never_started(fake: _Ray) -> None:
    with pytest.raises(ValueError, match="no data"):
        _refused("first", fake.has_begun.wait)
    with pytest.raises(ValueError, match="no data"):
        _refused("second", lambda: None)
    fake.may_connect.set()
    assert _connected("third").is_own
    assert fake.calls == ["first", "end", "third"]


def test_a_cluster_that_another_has_connected_to_since_is_not_ended(fake: _Ray) -> None:
    fake.may_connect.set()
    with pytest.raises(ValueError, match="no data"):
        _refused("first", lambda: _connected("second"))
    assert not _connected("third").is_own
    assert fake.calls == ["first", "second", "third"]


def test_an_older_connection_of_the_process_is_left_alone(cluster: Cluster) -> None:
    import ray

    def refused() -> None:
        with connecting("local", "second") as connected:
            assert not connected().is_own
            raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        refused()
    assert ray.is_initialized()


def test_what_connecting_raises_is_raised_where_the_cluster_is_waited_for() -> None:
    with connecting("127.0.0.1:1", "nowhere") as cluster:
        pass
    with pytest.raises(HpsearchError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        cluster()


SPEC = """
name: refused
data: {{source: {source}, path: {path}}}
space: {{learning_rate: {{log_uniform: [1e-3, 1e-1]}}}}
stages: [{{name: only, trials: 2, epochs: 1}}]
"""


def _start(folder: Path, ray: str, **data: str) -> subprocess.Popen[str]:
    """``hpsearch run`` of a spec, in a session of its own."""
    (folder / "spec.yaml").write_text(SPEC.format(**data))
    return subprocess.Popen(
        [sys.executable, "-m", "hpsearch", "run", "spec.yaml", "--ray", ray],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},  # nothing to one who says where
        start_new_session=True,
    )


@pytest.mark.parametrize("ray", ["local", "processes"])
def test_a_spec_whose_data_are_refused_leaves_nothing_behind(tmp_path: Path, ray: str) -> None:
    process = _start(tmp_path, ray, source="npz", path="nothing.npz")
    out, error = process.communicate(timeout=120)
    assert (out, process.returncode) == ("", 1)
    assert len(error.splitlines()) == 1
    assert "nothing.npz" in error
    assert left_of(process.pid) == []
    assert not (tmp_path / "hpsearch.db").exists()


@pytest.mark.parametrize("ray", ["local", "processes"])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_search_is_stopped_while_its_workers_start(
    tmp_path: Path, stop: signal.Signals, ray: str
) -> None:
    process = _start(tmp_path, ray, source="digits", path="null")
    while not (tmp_path / "hpsearch.db").exists() and process.poll() is None:
        time.sleep(0.01)  # the database is opened as soon as the data are read
    process.send_signal(stop)
    _, error = process.communicate(timeout=120)
    assert (error.split(), process.returncode) == (["stopped"], 130)
    assert left_of(process.pid) == []

"""Worker processes: how they start, what they see, and that none outlives what started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from left_over import left_of_pids
from training_cases import blobs, config, group

import hpsearch
from hpsearch.errors import HpsearchError
from hpsearch.executors.backends import starting
from hpsearch.executors.base import Ended, Lost, Reported, Update
from hpsearch.executors.crew import Crew
from hpsearch.executors.inprocess import InProcessExecutor
from hpsearch.executors.machine import gpus_of, num_cpus, visible_gpus
from hpsearch.executors.pool import pool
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.spec import load
from hpsearch.spec.search import Resources

ALONE = Resources(workers=1)
SEARCH = load("digits").model_copy(update={"resources": ALONE})
TRAINS = """
from training_cases import blobs, config, group
from hpsearch.executors.crew import Crew
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.spec import load
from hpsearch.spec.search import Resources

crew = Crew(Resources())
executor = ProcessExecutor(crew, blobs(num_train=500_000), "killed")
print(executor.device)
for number in range(executor.num_slots):  # 500,000 steps an epoch
    executor.start(number, group(config(batch_size=1), epochs=1))
print(*[process.pid for process in crew.processes], flush=True)
executor.wait(600)
"""
STREAMS = """
from pathlib import Path
from training_cases import blobs, config, group
from hpsearch.executors.crew import Crew
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.spec import load
from hpsearch.spec.search import Resources

executor = ProcessExecutor(Crew(Resources(workers=1)), blobs(), "streams")
executor.start(1, group(config(), epochs=1))
updates = []
while len(updates) < 2:
    updates += executor.wait(60)
executor.close()
Path("said").write_text(type(updates[-1]).__name__)
"""
SCRIPT = """
import hpsearch
print("this file is run")
spec = {
    "name": "script",
    "data": {"source": "digits"},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "stages": [{"name": "only", "trials": 4, "epochs": 1}],
}
result = hpsearch.run(spec, ray="processes")
print(len(result.trials()) >= 4)
"""


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew(ALONE)
    yield made
    made.end()


def test_workers_end_in_the_midst_of_an_epoch_when_what_started_them_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", TRAINS],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert parent.stdout is not None
    _, pids = parent.stdout.readline(), [int(pid) for pid in parent.stdout.readline().split()]
    assert pids
    assert all(psutil.pid_exists(pid) for pid in pids)
    parent.kill()
    parent.communicate()
    assert left_of_pids(pids) == []


def test_ctrl_c_in_a_terminal_reaches_no_worker(crew: Crew) -> None:
    (worker,) = crew.processes
    assert os.getpgid(worker.pid) != os.getpgid(0)
    assert os.getsid(worker.pid) == os.getsid(0)


def test_workers_of_a_search_whose_data_are_refused_are_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crews: list[Crew] = []
    monkeypatch.setattr(
        "hpsearch.executors.crew.Crew", lambda resources: crews.append(Crew(resources)) or crews[0]
    )

    def refused() -> None:
        with starting("processes", SEARCH):
            pids.extend(worker.pid for worker in crews[0].processes)
            raise ValueError("no data")

    pids: list[int] = []
    with pytest.raises(ValueError, match="no data"):
        refused()
    assert len(pids) == 1
    assert left_of_pids(pids) == []


def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "HPSEARCH_DATABASE_URL": ""}
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("this file is run\nTrue\n", "")


def test_a_worker_that_cannot_start_says_why_and_only_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch.py").write_text("print('hello')\nraise ImportError('no torch here')")
    monkeypatch.syspath_prepend(tmp_path)  # workers import what would be imported here
    with closing(ProcessExecutor(Crew(ALONE), blobs(), "broken")) as made:
        expected = r"^a worker could not start: ImportError: no torch here \(exit code 1\)$"
        with pytest.raises(HpsearchError, match=expected):
            made.device  # noqa: B018 - it is waited for
    assert capfd.readouterr() == ("", "")


def test_a_lost_worker_is_said_to_be_killed(crew: Crew) -> None:
    made = ProcessExecutor(crew, blobs(), "lost")
    os.kill(crew.processes[0].pid, signal.SIGKILL)
    made.start(1, group(config(), epochs=1))
    assert made.wait(60) == [Lost(group=1, message="its process is gone: ended by SIGKILL")]


def test_a_worker_trains_to_the_last_bit_as_this_process_does(crew: Crew) -> None:
    here = InProcessExecutor(blobs(), num_threads=crew.pool.threads)
    there = ProcessExecutor(crew, blobs(), "there")
    assert there.device == here.device
    mixed = group(config(), config(optimizer="adam", dropout=0.2), epochs=3)
    metrics = []
    for executor in (here, there):
        executor.start(1, mixed)
        found: list[Update] = []
        while Ended(group=1) not in found:
            found += executor.wait(60)
        # as texts: nothing equals NaN, which stands for units that cannot be saturated
        metrics.append([repr(u.report.metrics) for u in found if isinstance(u, Reported)])
    here.close()
    assert len(metrics[0]) == 3
    assert metrics[0] == metrics[1]


def test_ending_a_crew_leaves_no_process_and_no_file(crew: Crew) -> None:
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    other = Crew(ALONE)
    pids = [worker.pid for worker in other.processes]
    ProcessExecutor(other, blobs(), "ended").close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not files or len(os.listdir("/proc/self/fd")) == files


V2, *V1 = "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({V2: "max 100000"}, 8),
        ({V2: "250000 100000"}, 2),
        ({V2: "50000 100000"}, 1),
        ({V1[0]: "300000", V1[1]: "100000"}, 3),
        ({V1[0]: "-1", V1[1]: "100000"}, 8),
        ({}, 8),
    ],
)
def test_a_container_has_as_many_cores_as_its_quota(
    files: dict[str, str], found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr("hpsearch.executors.machine.CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert num_cpus() == found


@pytest.mark.parametrize(
    ("told", "found"),
    [("", ()), ("0,2", ("0", "2")), ("MIG-1/2, GPU-3", ("MIG-1/2", "GPU-3")), ("1,-1,2", ("1",))],
)
def test_gpus_are_those_that_cuda_would_see(
    told: str, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.executors.machine._num_gpus", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible_gpus() == found


def test_a_gpu_that_is_named_where_there_is_none_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpsearch.executors.machine._num_gpus", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert visible_gpus() == ()


class _Nvml:
    """NVIDIA's library on a machine with two GPUs."""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 2
        return 0

    def nvmlShutdown(self) -> int:
        return 0


def test_gpus_are_counted_by_the_driver_if_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: _Nvml())
    assert visible_gpus() == ("0", "1")


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("hpsearch.executors.machine.DRIVER", "no-such-library.so")
    assert visible_gpus() == ()


def test_a_word_that_is_no_address_is_refused_with_the_nearest() -> None:
    with pytest.raises(HpsearchError, match=r"got 'process'; did you mean processes\?"):
        starting("process", SEARCH)


@pytest.mark.parametrize("address", ["processes:", ":", "foo:bar"])
def test_an_address_without_a_port_is_refused_in_words(address: str) -> None:
    with (
        pytest.raises(HpsearchError, match="must be HOST:PORT, but got"),
        starting(address, SEARCH) as ready,
    ):
        ready()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_workers_train_where_standard_streams_are_closed(closed: str, tmp_path: Path) -> None:
    (tmp_path / "trains.py").write_text(STREAMS)
    command = f"{sys.executable} trains.py {closed}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "said").read_text() == "Ended"


def test_a_worker_that_is_killed_as_it_starts_is_replaced(crew: Crew) -> None:
    os.kill(crew.processes[0].pid, signal.SIGKILL)
    with closing(ProcessExecutor(crew, blobs(), "killed")) as executor:
        assert executor.device
        executor.start(1, group(config(), epochs=1))
        assert isinstance(executor.wait(60)[0], Reported)


def test_what_the_system_refuses_to_start_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("hpsearch.executors.crew.WorkerProcess", refuse)
    with pytest.raises(HpsearchError, match=r"refused number 1 \(Too many open files\): lower"):
        Crew(ALONE)


def test_a_crew_ends_if_its_executor_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.executors.processes.write", lambda dataset, file: 1 / 0)
    before = set(psutil.Process().children())
    with pytest.raises(ZeroDivisionError):
        hpsearch.run("digits", db=f"sqlite:///{tmp_path}/ends.db", ray="processes")
    assert set(psutil.Process().children()) <= before
    (record,) = hpsearch.connect(f"sqlite:///{tmp_path}/ends.db").searches()["state"]
    assert record == "stopped"


@pytest.mark.parametrize(
    ("each", "of_workers"),
    [
        ("auto", [("a",), ("b",), ("c",), ("d",)]),
        (0.5, [("a",), ("a",), ("b",), ("b",), ("c",), ("c",), ("d",), ("d",)]),
        (0.4, [("a",), ("a",), ("b",), ("b",), ("c",), ("c",), ("d",), ("d",)]),
        (2, [("a", "b"), ("c", "d")]),
        (0, [(), ()]),
    ],
)
def test_each_worker_has_gpus_of_its_own_or_a_part_of_one(
    each: float | str, of_workers: list[tuple[str, ...]]
) -> None:
    gpus = ("a", "b", "c", "d")
    made = pool(2, len(gpus), Resources(gpus_per_worker=each))
    assert [gpus_of(n, made, gpus) for n in range(made.num_workers)] == of_workers


def test_a_worker_is_told_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpsearch.executors.machine._num_gpus", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    made = Crew(Resources(gpus_per_worker=0.5, workers=3))
    try:
        told = [_environment(worker.pid)["CUDA_VISIBLE_DEVICES"] for worker in made.processes]
    finally:
        made.end()
    assert told == ["5", "5", "7"]


def _environment(pid: int) -> dict[str, str]:
    """Of a process that has just started: for a moment there is nothing to read."""
    while not (found := psutil.Process(pid).environ()):
        pass
    return found


def test_more_gpus_than_the_machine_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(HpsearchError, match=r"at most 0.*but got 1"):
        Crew(Resources(gpus_per_worker=1))

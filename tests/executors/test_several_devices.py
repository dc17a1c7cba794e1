"""Workers of several devices: processes that train each group together, on Ray and without."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from coordinated import finished_table
from executor_cases import check_plan, made_executor, until_free
from training_cases import blobs, config, group, mixed

from hpsearch.errors import HpsearchError
from hpsearch.executors.backends import starting
from hpsearch.executors.base import Ended, Executor, Lost, Raised, Update
from hpsearch.executors.inprocess import InProcessExecutor
from hpsearch.executors.machine import num_cpus
from hpsearch.executors.pool import pool
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.executors.ray import RayExecutor
from hpsearch.spec import load
from hpsearch.spec.search import Resources
from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository

pytestmark = pytest.mark.skipif(num_cpus() < 2, reason="two devices need two cores")
SPEC: dict[str, Any] = {
    "name": "two-devices",
    "data": {"source": "digits", "limit": 600},
    "train": {"hidden_units": [16], "batch_size": 50, "dropout": 0.2},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e3]}},  # the upper part of it diverges
    "stages": [
        {"name": "coarse", "trials": 8, "epochs": 20},
        {"name": "confirm", "top": 1, "seeds": 2},
    ],
    "resources": {"devices_per_trial": 2, "width": 4, "checkpoint_every": 5},
}


@pytest.fixture(
    scope="module", params=[("processes", "data"), ("processes", "model"), ("ray", "model")]
)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """One of each kind for all tests here: its workers take seconds to start."""
    kind, form = request.param
    resources = {"devices_per_trial": 2, "parallel": form}
    with closing(made_executor(kind, "two", request, **resources)) as made:
        yield made


def _metrics(updates: list[Update]) -> list[dict[str, Any]]:
    *reported, end = updates
    assert isinstance(end, Ended)
    return [update.report.metrics for update in reported]


def test_two_devices_report_once_what_one_would(executor: Executor) -> None:
    one = group(*mixed("batch norm"), epochs=3)
    with closing(InProcessExecutor(blobs())) as here:
        here.start(1, one)
        expected = _metrics(until_free(here, 1))
    for number in (1, 2):
        executor.start(number, one)
        found = _metrics(until_free(executor, number))
        for mine, theirs in zip(found, expected, strict=True):
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-9)
            assert mine["val_accuracy"] == theirs["val_accuracy"]


def test_a_worker_is_as_many_devices_and_named_after_them(executor: Executor) -> None:
    assert re.fullmatch("2 x [^,]+, 1 thread(, model)?", executor.device)
    assert executor.num_slots == executor.most_slots == num_cpus() // 2


def test_checks_are_made_on_one_device_while_the_others_wait(executor: Executor) -> None:
    assert executor.check(check_plan())[0].name == "inputs"
    executor.start(1, group(config(), epochs=1))
    assert until_free(executor, 1)[-1] == Ended(group=1)


def test_what_is_raised_comes_back_and_the_worker_is_replaced(executor: Executor) -> None:
    executor.start(1, group(config(hidden_units=(2**50,)), epochs=1))
    (update,) = until_free(executor, 1)
    assert isinstance(update, Raised)
    executor.start(2, group(config(), epochs=2))
    assert len(_metrics(until_free(executor, 2))) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_device_is_a_lost_worker_and_replaced(executor: Executor, rank: int) -> None:
    pid = _pids(executor)[rank]
    executor.start(1, group(config(), epochs=100_000))
    while not executor.wait(10.0):
        pass
    os.kill(pid, signal.SIGKILL)
    assert isinstance(until_free(executor, 1)[-1], Lost)
    executor.start(2, group(config(), epochs=2))
    assert len(_metrics(until_free(executor, 2))) == 2
    assert pid not in _pids(executor)


def _pids(executor: Executor) -> list[int]:
    """Of the first worker's devices."""
    assert executor.device
    if isinstance(executor, ProcessExecutor):
        return [process.pid for process in executor._slots[0].processes]
    import ray

    assert isinstance(executor, RayExecutor)
    pids: list[int] = ray.get([actor.pid.remote() for actor in executor._slots[0].actors])
    return pids


@pytest.mark.parametrize(
    ("cpus", "gpus", "resources", "workers", "held", "threads"),
    [
        (16, 8, {"devices_per_trial": 4}, 2, 4.0, 2),
        (16, 8, {"devices_per_trial": 3}, 2, 3.0, 2),  # two are left over
        (16, 8, {"devices_per_trial": 2, "workers": 1}, 1, 2.0, 8),
        (16, 0, {"devices_per_trial": 4}, 4, 0.0, 1),
        (16, 8, {"devices_per_trial": 4, "gpus_per_worker": 0}, 4, 0.0, 1),
    ],
)
def test_a_worker_holds_as_many_devices_as_a_trial_is_to_have(
    cpus: int, gpus: int, resources: dict[str, Any], workers: int, held: float, threads: int
) -> None:
    made = pool(cpus, gpus, Resources(**resources))
    assert (made.num_workers, made.gpus_per_worker, made.threads) == (workers, held, threads)
    assert made.sharing == (1 if held else made.num_workers * resources["devices_per_trial"])


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        (64, 2, "at most 2, the GPUs that are there, but got 4: lower it"),
        (2, 0, "at most 2, the CPU cores that are there, but got 4: lower it"),
    ],
)
def test_more_devices_than_there_are_is_refused(cpus: int, gpus: int, expected: str) -> None:
    with pytest.raises(HpsearchError) as caught:
        pool(cpus, gpus, Resources(devices_per_trial=4))
    assert str(caught.value) == f"resources.devices_per_trial must be {expected}"


def test_one_process_cannot_be_several_devices() -> None:
    with pytest.raises(HpsearchError) as caught:
        starting("none", load(SPEC))
    assert str(caught.value) == (
        "resources.devices_per_trial must be 1 with --ray none, which trains in one process, but "
        "got 2: use --ray processes, or a cluster"
    )


@pytest.mark.parametrize("form", ["data", "model"])
def test_a_search_that_lost_a_device_has_the_table_of_one_that_did_not(
    tmp_path: Path, form: str
) -> None:
    spec = {**SPEC, "resources": {**SPEC["resources"], "parallel": form}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    tables = []
    for name in ("undisturbed", "killed"):
        url = f"sqlite:///{tmp_path / name}.db"
        command = [sys.executable, "-m", "hpsearch", "run", "spec.yaml", "--db", url]
        searching = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if name == "killed":
            _kill_second_device(searching, url, epoch=5)
        said = searching.communicate(timeout=240)[0]
        assert searching.returncode == 0, said.decode()
        repository = Repository(Database(url))
        lost = [e for e in repository.events(1) if "gone" in str(e.data)]
        assert bool(lost) == (name == "killed")
        tables.append(finished_table(repository, "two-devices"))
        repository.database.close()
    assert tables[0] == tables[1]
    assert any("diverged" in row for row in tables[0])


def _kill_second_device(searching: subprocess.Popen[bytes], url: str, epoch: int) -> None:
    """Once some trial has so many epochs in the database."""
    while True:
        assert searching.poll() is None, "the search must be long enough to be killed in it"
        time.sleep(0.1)
        try:
            repository = Repository(Database(url))
            _, trials = repository.load(1)
            repository.database.close()
        except Exception:  # there is no search yet
            continue
        if max((trial.epochs for trial in trials), default=0) >= epoch:
            break
    workers = [
        child
        for child in psutil.Process(searching.pid).children()
        if "workers.process" in child.cmdline()
    ]
    assert len(workers) == 2
    max(workers, key=lambda child: child.create_time()).kill()

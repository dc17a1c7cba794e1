"""The contract of executors where each test needs one of its own: faults, workers, closing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_cases import KINDS, check_plan, curve, made_executor, until_free
from training_cases import blobs, config, group

from hpsearch.errors import HpsearchError
from hpsearch.executors.base import ChecksBroken, Ended, Executor, Lost, Raised, Reported
from hpsearch.executors.cluster import Cluster
from hpsearch.executors.inprocess import InProcessExecutor
from hpsearch.executors.machine import num_cpus
from hpsearch.executors.pool import pool
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.executors.ray import RayExecutor
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.executors.slots import FILES
from hpsearch.spec.search import Resources
from workers.messages import CheckpointSlice, TrialGroup

Make = Callable[..., Executor]
ALL = pytest.mark.parametrize("kind", KINDS)
TRAINING = pytest.mark.parametrize("kind", ["inprocess", "ray", "processes"])
WORKERS = pytest.mark.parametrize("kind", ["ray", "processes"])


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes executors of any kind, by name, and closes them after the test."""
    with ExitStack() as made:

        def make(kind: str, title: str = request.node.name, **resources: Any) -> Executor:
            return made.enter_context(closing(made_executor(kind, title, request, **resources)))

        yield make


@ALL
def test_slots_that_are_taken_away_come_back_and_running_groups_end(kind: str, make: Make) -> None:
    executor = make(kind)
    most = executor.num_slots
    executor.start(1, group(config(), epochs=3))
    executor.resize(0)
    assert (executor.num_slots, executor.most_slots) == (0, most)
    *reports, end = until_free(executor, 1)
    assert [update.report.epoch for update in reports] == [1, 2, 3]
    assert end == Ended(group=1)
    executor.resize(most + 5)
    assert executor.num_slots == most
    executor.start(2, group(config(), epochs=1))
    assert until_free(executor, 2)[-1] == Ended(group=2)


@ALL
def test_closing_twice_is_harmless(kind: str, make: Make) -> None:
    executor = make(kind, workers=1)
    executor.start(0, group(config(), epochs=50))
    executor.close()
    executor.close()


def test_a_worker_on_ray_that_is_too_many_gives_its_place_to_others(
    make: Make, cluster: Cluster
) -> None:
    executor = make("ray", workers=2)
    assert executor.device
    executor.resize(1)
    other = RayExecutor(cluster, blobs(), Resources(workers=1), "other", patience_s=None)
    assert other.device  # it has a core now
    other.close()


@WORKERS
def test_a_worker_whose_reports_nobody_takes_waits(kind: str, make: Make, tmp_path: Path) -> None:
    """So what is kept while the database is away is bounded: here, by the checkpoints written."""
    made, most = make(kind, workers=1), 600
    stem = str(tmp_path / "g")
    made.start(1, group(config(), epochs=most, checkpoint_stem=stem, checkpoint_every=1))
    counts = [-1, 0]
    while counts[-1] == 0 or counts[-1] != counts[-2]:
        time.sleep(1.0)
        counts.append(sum(1 for _ in tmp_path.iterdir()))
    assert 10 < counts[-1] < most / 2
    *reports, end = until_free(made, 1, most + 400)
    assert len(reports) == most
    assert end == Ended(group=1)


@TRAINING
def test_a_check_that_raises_is_one_clear_error(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    with pytest.raises(ChecksBroken, match=r"one of them broke \(KeyError") as caught:
        made.check(check_plan(activation="none such"))
    assert len(str(caught.value).splitlines()) == 1
    assert made.check(check_plan())


@WORKERS
def test_checks_can_be_made_after_one_lost_its_worker(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    pid, _ = _pid(made), made.device
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ChecksBroken):
        made.check(check_plan())
    for _ in range(2):
        assert made.check(check_plan())[0].name == "inputs"


@TRAINING
def test_what_training_raises_comes_back_as_a_traceback(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    bad = group(config(hidden_units=(2**50,)), epochs=1)
    made.start(7, bad)
    (update,) = until_free(made, 7)
    assert isinstance(update, Raised)
    assert "group_training.py" in update.traceback
    assert "can't allocate memory" in update.traceback
    assert "\x1b" not in update.traceback
    made.start(8, group(config(), epochs=1))
    assert until_free(made, 8)[-1] == Ended(group=8)


def _pid(executor: Executor) -> int:
    """The process of the first worker."""
    if isinstance(executor, ProcessExecutor):
        return executor._slots[0].process.pid
    import ray

    assert isinstance(executor, RayExecutor)
    pid: int = ray.get(executor._slots[0].actors[0].pid.remote())
    return pid


@WORKERS
def test_a_killed_worker_is_lost_and_replaced(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    pid = _pid(made)
    made.start(1, group(config(), epochs=100_000))
    while not made.wait(10.0):
        pass
    os.kill(pid, signal.SIGKILL)
    update = until_free(made, 1)[-1]
    assert isinstance(update, Lost)
    made.start(2, group(config(), epochs=2))
    assert until_free(made, 2)[-1] == Ended(group=2)


@WORKERS
def test_a_worker_that_died_while_it_was_free_is_lost_and_replaced(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    pid, _ = _pid(made), made.device
    os.kill(pid, signal.SIGKILL)
    made.start(1, group(config(), epochs=1))
    assert isinstance(until_free(made, 1)[-1], Lost)
    made.start(2, group(config(), epochs=1))
    assert until_free(made, 2)[-1] == Ended(group=2)


Workers = RayExecutor | ProcessExecutor


@pytest.fixture(params=["ray", "processes"])
def two_workers(request: pytest.FixtureRequest, make: Make) -> Workers:
    if num_cpus() < 2:
        pytest.skip("two workers need two cores")
    made = make(request.param, workers=2)
    assert isinstance(made, Workers)
    return made


def _await_both(executor: Workers) -> None:
    """Until both workers have said something."""
    if isinstance(executor, RayExecutor):
        import ray

        streams = [slot.streams[0] for slot in executor._slots]
        ray.wait(streams, num_returns=2, fetch_local=False)
        return
    for slot in executor._slots:
        assert slot.process.connection.poll(60)


def test_all_that_is_ready_comes_at_once(two_workers: Workers) -> None:
    assert two_workers.device  # or the first that a process says would be that it is ready
    for number in (1, 2):
        two_workers.start(number, group(config(), epochs=1))
    _await_both(two_workers)
    found = two_workers.wait(0.0)
    assert [type(update) for update in found] == [Reported, Reported]
    assert {update.group for update in found} == {1, 2}


def test_a_group_goes_to_the_worker_that_wrote_its_checkpoints(
    two_workers: Workers, tmp_path: Path
) -> None:
    wholes = {
        number: replace(group(config(), epochs=2), checkpoint_stem=str(tmp_path / f"g{number}"))
        for number in (1, 2)
    }
    names = {number: two_workers.start(number, whole) for number, whole in wholes.items()}
    ended: set[int] = set()
    while len(ended) < 2:
        ended |= {u.group for u in two_workers.wait(1.0) if isinstance(u, Ended)}
    assert names[1] != names[2]
    for number, name in reversed(names.items()):  # the second worker is not the first that is free
        assert two_workers.start(10 + number, _going_on(wholes[number])) == name
        assert until_free(two_workers, 10 + number)[-1] == Ended(group=10 + number)


def test_only_the_last_checkpoints_of_a_worker_are_remembered(
    two_workers: Workers, tmp_path: Path
) -> None:
    slot = two_workers._slots[0]
    slot.files.extend(f"old-{number}" for number in range(FILES))
    stem = str(tmp_path / "g")
    whole = replace(group(config(), epochs=2), checkpoint_stem=stem, checkpoint_every=1)
    assert two_workers.start(1, whole) == slot.name
    until_free(two_workers, 1)
    assert len(slot.files) == FILES
    assert list(slot.files)[-3:] == [
        f"old-{FILES - 1}",
        f"{stem}-1.safetensors",
        f"{stem}-2.safetensors",
    ]


def test_workers_that_train_on_different_devices_are_named_together(make: Make) -> None:
    import ray

    two_workers = make("ray", workers=2)
    assert isinstance(two_workers, RayExecutor)

    @ray.remote(num_cpus=0)
    class Elsewhere:  # in here it is sent as it is: workers do not find this file
        def device_name(self) -> str:
            return "another"

    name = ray.get(two_workers._slots[1].actors[0].device_name.remote())
    ray.kill(two_workers._slots[0].actors[0])
    two_workers._slots[0].actors[0] = Elsewhere.remote()
    assert two_workers.device == f"another and {name}"


def _going_on(whole: TrialGroup) -> TrialGroup:
    """``whole`` from its last checkpoint to twice its epochs."""
    file = whole.due_checkpoint(whole.end_epoch)
    assert file is not None
    member = replace(whole.members[0], resume=CheckpointSlice(file=file, row=0))
    return replace(
        whole, members=(member,), start_epoch=whole.end_epoch, end_epoch=2 * whole.end_epoch
    )


@TRAINING
def test_a_worker_has_its_last_checkpoints_in_memory(kind: str, tmp_path: Path, make: Make) -> None:
    made = make(kind, workers=1)
    whole = replace(group(config(), epochs=1), checkpoint_stem=str(tmp_path / "g"))
    made.start(1, whole)
    until_free(made, 1)
    (tmp_path / "g-1.safetensors").unlink()
    made.start(2, _going_on(whole))
    assert until_free(made, 2)[-1] == Ended(group=2)


@WORKERS
def test_workers_have_readable_names(kind: str, make: Make) -> None:
    made = make(kind, title="digits (search 4)", workers=1)
    assert made.start(1, group(config(), epochs=1)) == "digits (search 4) worker 1"


def test_more_of_a_gpu_than_there_is_is_refused() -> None:
    with pytest.raises(HpsearchError, match=r"at most 0.*but got 1"):
        pool(2, 0, Resources(gpus_per_worker=1))


def test_an_injected_fault_is_lost_or_raised_and_then_not() -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return {1: "lost", 2: "raise"}.get(attempt) if epoch == 2 else None

    made = SimulatedExecutor(curve, fault=fault)
    seen = []
    for _ in range(3):
        made.start(1, group(config(), epochs=3))
        seen.append(type(until_free(made, 1)[-1]))
    assert seen == [Lost, Raised, Ended]
    assert made.now_s == 2 + 2 + 3


@pytest.mark.parametrize(
    ("cpus", "gpus", "resources", "workers", "gpus_each", "threads"),
    [
        (2, 0, {}, 2, 0.0, 1),
        (16, 0, {"workers": 4}, 4, 0.0, 4),
        (16, 2, {}, 2, 1.0, 8),
        (16, 2, {"gpus_per_worker": 0.5}, 4, 0.5, 4),
        (16, 2, {"gpus_per_worker": 0.4}, 4, 0.4, 4),  # two on each; no worker has parts of two
        (16, 2, {"workers": 99}, 2, 1.0, 8),
        (16, 2, {"gpus_per_worker": 0}, 16, 0.0, 1),
    ],
)
def test_the_pool_has_a_worker_a_gpu_or_a_core(
    cpus: int, gpus: int, resources: dict[str, object], workers: int, gpus_each: float, threads: int
) -> None:
    made = pool(cpus, gpus, Resources(**resources))
    assert (made.num_workers, made.gpus, made.threads) == (workers, gpus_each, threads)


def test_training_in_this_process_leaves_its_settings_as_they_were() -> None:
    threads = torch.get_num_threads()
    made = InProcessExecutor(blobs(), num_threads=threads + 1)
    assert torch.get_num_threads() == threads + 1
    made.close()
    assert torch.get_num_threads() == threads
    assert (torch.tensor([1e-310], dtype=torch.float64) / 2).item() > 0

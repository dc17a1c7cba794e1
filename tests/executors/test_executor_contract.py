"""One contract for all executors: in-process, simulated, Ray actors, and processes."""

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
from training_cases import blobs, config, group

from hpsearch.errors import HpsearchError
from hpsearch.executors.base import ChecksBroken, Ended, Executor, Lost, Raised, Reported, Update
from hpsearch.executors.cluster import Cluster
from hpsearch.executors.crew import Crew
from hpsearch.executors.inprocess import InProcessExecutor
from hpsearch.executors.machine import num_cpus
from hpsearch.executors.pool import pool
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.executors.ray import RayExecutor
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.executors.slots import FILES
from hpsearch.spec.search import Resources
from workers.messages import (
    CheckPlan,
    CheckpointSlice,
    CheckResult,
    Member,
    Probe,
    TrialGroup,
)
from workers.training.device_name import device_name


def _curve(member: Member, epoch: int) -> dict[str, float]:
    value = float("nan") if member.config.learning_rate > 1e6 else 1 - 1 / (epoch + 1)
    return {"val_accuracy": value, "val_loss": 1 - value}


def _stops(member: Member, epoch: int) -> bool:
    """As training does with :data:`STOPPING`: the first epoch is the best."""
    return member.config.patience is not None and epoch == 1 + member.config.patience


def _refuses(member: Member) -> str | None:
    return None if member.config.normalization == "none" else "normalization needs images"


STOPPING = {"patience": 1, "min_delta": 1e9}  # nothing is ever so much better


Make = Callable[..., Executor]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes executors of any kind, by name, and closes them after the test."""
    with ExitStack() as made:

        def make(kind: str, title: str = request.node.name, **resources: Any) -> Executor:
            return made.enter_context(closing(_made(kind, title, Resources(**resources), request)))

        yield make


def _made(kind: str, title: str, resources: Resources, request: pytest.FixtureRequest) -> Executor:
    match kind:
        case "inprocess":
            return InProcessExecutor(blobs(), num_threads=1)
        case "simulated":
            return SimulatedExecutor(_curve, stops=_stops, refuses=_refuses, checks=CHECKS)
        case "processes":
            return ProcessExecutor(Crew(resources), blobs(), title)
        case _:
            return RayExecutor(request.getfixturevalue("cluster"), blobs(), resources, title)


@pytest.fixture(params=["inprocess", "simulated", "ray", "processes"])
def executor(request: pytest.FixtureRequest, make: Make) -> Executor:
    return make(request.param)


TRAINING = pytest.mark.parametrize("kind", ["inprocess", "ray", "processes"])
WORKERS = pytest.mark.parametrize("kind", ["ray", "processes"])


def _until_free(executor: Executor, number: int, most: int = 400) -> list[Update]:
    """Everything that group ``number`` says until its slot is free."""
    found: list[Update] = []
    for _ in range(most):
        found += [update for update in executor.wait(1.0) if update.group == number]
        if found and not isinstance(found[-1], Reported):
            return found
    raise AssertionError(f"group {number} did not end: {found}")


def test_reports_come_in_order_and_then_the_end(executor: Executor) -> None:
    executor.start(3, group(config(), config(optimizer="adam"), epochs=4))
    *reports, end = _until_free(executor, 3)
    assert [update.report.epoch for update in reports] == [1, 2, 3, 4]
    assert all(sorted(update.report.trials) == [0, 1] for update in reports)
    assert end == Ended(group=3)


def test_slots_that_are_taken_away_come_back_and_running_groups_end(executor: Executor) -> None:
    most = executor.num_slots
    executor.start(1, group(config(), epochs=3))
    executor.resize(0)
    assert (executor.num_slots, executor.most_slots) == (0, most)
    *reports, end = _until_free(executor, 1)
    assert [update.report.epoch for update in reports] == [1, 2, 3]
    assert end == Ended(group=1)
    executor.resize(most + 5)
    assert executor.num_slots == most
    executor.start(2, group(config(), epochs=1))
    assert _until_free(executor, 2)[-1] == Ended(group=2)


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
    made, most = make(kind, workers=1), 3000
    stem = str(tmp_path / "g")
    made.start(1, group(config(), epochs=most, checkpoint_stem=stem, checkpoint_every=1))
    counts = [-1, 0]
    while counts[-1] == 0 or counts[-1] != counts[-2]:
        time.sleep(1.0)
        counts.append(sum(1 for _ in tmp_path.iterdir()))
    assert 10 < counts[-1] < most / 2
    *reports, end = _until_free(made, 1, most + 400)
    assert len(reports) == most
    assert end == Ended(group=1)


def test_a_segment_starts_after_its_start_epoch(executor: Executor, tmp_path: Path) -> None:
    whole = group(config(), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    executor.start(1, whole)
    *_, last, _ = _until_free(executor, 1)
    assert last.report.checkpoint == str(tmp_path / "g-2.safetensors")
    resume = CheckpointSlice(file=last.report.checkpoint, row=0)
    member = replace(whole.members[0], resume=resume)
    executor.start(2, replace(whole, members=(member,), start_epoch=2, end_epoch=5))
    reports = _until_free(executor, 2)[:-1]
    assert [update.report.epoch for update in reports] == [3, 4, 5]


def test_a_diverging_member_is_named_once_and_the_others_go_on(executor: Executor) -> None:
    wild = config(optimizer="sgd", learning_rate=1e200)
    executor.start(1, group(config(), wild, config(), epochs=3))
    *reports, end = _until_free(executor, 1)
    assert [d.trial for update in reports for d in update.report.diverged] == [1]
    assert sorted(reports[-1].report.trials) == [0, 2]
    assert end == Ended(group=1)


def test_a_group_whose_members_all_diverged_ends(executor: Executor) -> None:
    executor.start(1, group(config(optimizer="sgd", learning_rate=1e200), epochs=9))
    reported, end = _until_free(executor, 1)
    assert reported.report.trials == ()
    assert end == Ended(group=1)


def test_a_member_that_stops_early_is_named_in_its_last_report(
    executor: Executor, tmp_path: Path
) -> None:
    whole = group(config(), config(**STOPPING), config(), epochs=4)
    whole = replace(whole, checkpoint_stem=str(tmp_path / "g"), checkpoint_every=2)
    executor.start(1, whole)
    *reports, end = _until_free(executor, 1)
    assert end == Ended(group=1)
    assert [update.report.stopped for update in reports] == [(), (1,), (), ()]
    assert [update.report.trials for update in reports] == [(0, 1, 2)] * 2 + [(0, 2)] * 2
    files = [update.report.checkpoint for update in reports]
    assert files == [
        None,
        str(tmp_path / "g-2.safetensors"),
        None,
        str(tmp_path / "g-4.safetensors"),
    ]
    assert not any(update.report.diverged for update in reports)


def test_a_group_whose_members_have_all_stopped_ends(executor: Executor) -> None:
    executor.start(1, group(config(**STOPPING), config(**STOPPING), epochs=9))
    *reports, end = _until_free(executor, 1)
    assert [update.report.stopped for update in reports] == [(), (0, 1)]
    assert end == Ended(group=1)


def test_members_that_cannot_be_trained_are_refused_in_a_sentence(executor: Executor) -> None:
    bad = config(normalization="instance")
    executor.start(1, group(bad, bad, epochs=3))
    *reports, end = _until_free(executor, 1)
    refused = [refusal for update in reports for refusal in update.report.refused]
    assert [refusal.trial for refusal in refused] == [0, 1]
    assert all(refusal.message.startswith("normalization ") for refusal in refused)
    assert not any(update.report.trials or update.report.metrics for update in reports)
    assert end == Ended(group=1)


def test_a_free_slot_takes_the_next_group(executor: Executor) -> None:
    for number in range(4):
        executor.start(number, group(config(), epochs=1))
        assert _until_free(executor, number)[-1] == Ended(group=number)


def test_as_many_groups_as_slots_run_at_once(executor: Executor) -> None:
    waiting = set(range(executor.num_slots))
    for number in waiting:
        executor.start(number, group(config(), epochs=2))
    while waiting:
        for update in executor.wait(1.0):
            if isinstance(update, Ended):
                waiting.remove(update.group)


def test_an_executor_says_what_its_workers_train_on(executor: Executor) -> None:
    if isinstance(executor, SimulatedExecutor):
        assert executor.device == "simulated"
    else:  # one thread each, or as many as the cluster has cores for each
        name = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        assert executor.device.partition(",")[0] == name.partition(",")[0]


def test_waiting_with_nothing_running_gives_nothing(executor: Executor) -> None:
    assert executor.wait(0.01) == []


CHECKS = (CheckResult(name="inputs", probe=None, verdict="pass", text="fine", evidence={}),)


def _check_plan(**fields: object) -> CheckPlan:
    probe = Probe(label="all", config=config(**fields), rates=(1e-3, 1.0))
    return CheckPlan(probes=(probe,), seed=0, order_seed=1, width=2)


def test_checks_give_their_results_and_leave_the_slots_free(executor: Executor) -> None:
    found = executor.check(_check_plan())
    assert found[0].name == "inputs"
    assert {result.verdict for result in found} <= {"pass", "warn", "skip"}
    executor.start(1, group(config(), epochs=1))
    assert _until_free(executor, 1)[-1] == Ended(group=1)


@TRAINING
def test_a_check_that_raises_is_one_clear_error(kind: str, make: Make) -> None:
    made = make(kind)
    with pytest.raises(ChecksBroken, match=r"one of them broke \(KeyError") as caught:
        made.check(_check_plan(activation="none such"))
    assert len(str(caught.value).splitlines()) == 1
    assert made.check(_check_plan())


@WORKERS
def test_checks_can_be_made_after_one_lost_its_worker(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    pid, _ = _pid(made), made.device
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ChecksBroken):
        made.check(_check_plan())
    for _ in range(2):
        assert made.check(_check_plan())[0].name == "inputs"


def test_closing_twice_is_harmless(executor: Executor) -> None:
    executor.start(0, group(config(), epochs=50))
    executor.close()
    executor.close()


@TRAINING
def test_what_training_raises_comes_back_as_a_traceback(kind: str, make: Make) -> None:
    made = make(kind)
    bad = group(config(hidden_units=(2**50,)), epochs=1)
    made.start(7, bad)
    (update,) = _until_free(made, 7)
    assert isinstance(update, Raised)
    assert "group_training.py" in update.traceback
    assert "can't allocate memory" in update.traceback
    assert "\x1b" not in update.traceback
    made.start(8, group(config(), epochs=1))
    assert _until_free(made, 8)[-1] == Ended(group=8)


def _pid(executor: Executor) -> int:
    """The process of the first worker."""
    if isinstance(executor, ProcessExecutor):
        return executor._slots[0].process.pid
    import ray

    assert isinstance(executor, RayExecutor)
    pid: int = ray.get(executor._slots[0].actor.pid.remote())
    return pid


@WORKERS
def test_a_killed_worker_is_lost_and_replaced(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    pid = _pid(made)
    made.start(1, group(config(), epochs=100_000))
    while not made.wait(10.0):
        pass
    os.kill(pid, signal.SIGKILL)
    update = _until_free(made, 1)[-1]
    assert isinstance(update, Lost)
    made.start(2, group(config(), epochs=2))
    assert _until_free(made, 2)[-1] == Ended(group=2)


@WORKERS
def test_a_worker_that_died_while_it_was_free_is_lost_and_replaced(kind: str, make: Make) -> None:
    made = make(kind, workers=1)
    pid, _ = _pid(made), made.device
    os.kill(pid, signal.SIGKILL)
    made.start(1, group(config(), epochs=1))
    assert isinstance(_until_free(made, 1)[-1], Lost)
    made.start(2, group(config(), epochs=1))
    assert _until_free(made, 2)[-1] == Ended(group=2)


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

        streams = [slot.stream for slot in executor._slots]
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
        assert _until_free(two_workers, 10 + number)[-1] == Ended(group=10 + number)


def test_only_the_last_checkpoints_of_a_worker_are_remembered(
    two_workers: Workers, tmp_path: Path
) -> None:
    slot = two_workers._slots[0]
    slot.files.extend(f"old-{number}" for number in range(FILES))
    stem = str(tmp_path / "g")
    whole = replace(group(config(), epochs=2), checkpoint_stem=stem, checkpoint_every=1)
    assert two_workers.start(1, whole) == slot.name
    _until_free(two_workers, 1)
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

    name = ray.get(two_workers._slots[1].actor.device_name.remote())
    ray.kill(two_workers._slots[0].actor)
    two_workers._slots[0].actor = Elsewhere.remote()
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
    _until_free(made, 1)
    (tmp_path / "g-1.safetensors").unlink()
    made.start(2, _going_on(whole))
    assert _until_free(made, 2)[-1] == Ended(group=2)


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

    made = SimulatedExecutor(_curve, fault=fault)
    seen = []
    for _ in range(3):
        made.start(1, group(config(), epochs=3))
        seen.append(type(_until_free(made, 1)[-1]))
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

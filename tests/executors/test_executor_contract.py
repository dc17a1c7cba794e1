"""One contract for all executors: in-process, simulated, Ray actors, and processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from executor_cases import KINDS, STOPPING, check_plan, made_executor, until_free
from training_cases import config, group

from hpsearch.executors.base import Ended, Executor
from hpsearch.executors.simulated import SimulatedExecutor
from workers.messages import CheckpointSlice
from workers.training.device_name import device_name


@pytest.fixture(scope="module", params=KINDS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """One of each kind for all tests here: its workers take seconds to start."""
    with closing(made_executor(request.param, "contract", request)) as made:
        yield made


def test_reports_come_in_order_and_then_the_end(executor: Executor) -> None:
    executor.start(3, group(config(), config(optimizer="adam"), epochs=4))
    *reports, end = until_free(executor, 3)
    assert [update.report.epoch for update in reports] == [1, 2, 3, 4]
    assert all(sorted(update.report.trials) == [0, 1] for update in reports)
    assert end == Ended(group=3)


def test_a_segment_starts_after_its_start_epoch(executor: Executor, tmp_path: Path) -> None:
    whole = group(config(), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    executor.start(1, whole)
    *_, last, _ = until_free(executor, 1)
    assert last.report.checkpoint == str(tmp_path / "g-2.safetensors")
    resume = CheckpointSlice(file=last.report.checkpoint, row=0)
    member = replace(whole.members[0], resume=resume)
    executor.start(2, replace(whole, members=(member,), start_epoch=2, end_epoch=5))
    reports = until_free(executor, 2)[:-1]
    assert [update.report.epoch for update in reports] == [3, 4, 5]


def test_a_diverging_member_is_named_once_and_the_others_go_on(executor: Executor) -> None:
    wild = config(optimizer="sgd", learning_rate=1e200)
    executor.start(1, group(config(), wild, config(), epochs=3))
    *reports, end = until_free(executor, 1)
    assert [d.trial for update in reports for d in update.report.diverged] == [1]
    assert sorted(reports[-1].report.trials) == [0, 2]
    assert end == Ended(group=1)


def test_a_group_whose_members_all_diverged_ends(executor: Executor) -> None:
    executor.start(1, group(config(optimizer="sgd", learning_rate=1e200), epochs=9))
    reported, end = until_free(executor, 1)
    assert reported.report.trials == ()
    assert end == Ended(group=1)


def test_a_member_that_stops_early_is_named_in_its_last_report(
    executor: Executor, tmp_path: Path
) -> None:
    whole = group(config(), config(**STOPPING), config(), epochs=4)
    whole = replace(whole, checkpoint_stem=str(tmp_path / "g"), checkpoint_every=2)
    executor.start(1, whole)
    *reports, end = until_free(executor, 1)
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
    *reports, end = until_free(executor, 1)
    assert [update.report.stopped for update in reports] == [(), (0, 1)]
    assert end == Ended(group=1)


def test_members_that_cannot_be_trained_are_refused_in_a_sentence(executor: Executor) -> None:
    bad = config(normalization="instance")
    executor.start(1, group(bad, bad, epochs=3))
    *reports, end = until_free(executor, 1)
    refused = [refusal for update in reports for refusal in update.report.refused]
    assert [refusal.trial for refusal in refused] == [0, 1]
    assert all(refusal.message.startswith("normalization ") for refusal in refused)
    assert not any(update.report.trials or update.report.metrics for update in reports)
    assert end == Ended(group=1)


def test_a_free_slot_takes_the_next_group(executor: Executor) -> None:
    for number in range(4):
        executor.start(number, group(config(), epochs=1))
        assert until_free(executor, number)[-1] == Ended(group=number)


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


def test_checks_give_their_results_and_leave_the_slots_free(executor: Executor) -> None:
    found = executor.check(check_plan())
    assert found[0].name == "inputs"
    assert {result.verdict for result in found} <= {"pass", "warn", "skip"}
    executor.start(1, group(config(), epochs=1))
    assert until_free(executor, 1)[-1] == Ended(group=1)

"""Whole searches whose widths are measured: what later groups have, also after a crash."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from coordinated import a_search, coordinate, crash, curve, finished_table, sqlite_in, stop
from sqlalchemy import delete, update

from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import GroupRow, SpeedRow
from workers.messages import TrialGroup

STAGES = [
    {"name": "coarse", "trials": 200, "epochs": 4, "expand": 0},
    {"name": "fine", "trials": 40, "epochs": 8, "continue": 10, "expand": 0},
]


class _Watching(SimulatedExecutor):
    """Notes how each group was started: its number, first epoch, trials, measuring, width."""

    def __init__(
        self, *, step_s: Any = lambda width: 1.0 + width / 16, num_slots: int = 2, **more: Any
    ) -> None:
        super().__init__(curve, step_s=step_s, num_slots=num_slots, **more)
        self.started: list[tuple[int, int, int, bool, int | None]] = []

    def start(self, number: int, group: TrialGroup) -> str:
        members = len(group.members)
        self.started.append((number, group.start_epoch, members, group.measures, group.width))
        return super().start(number, group)


def _auto(**changes: Any) -> Any:
    space = {"learning_rate": {"log_uniform": [1e-5, 1e-3]}}
    return a_search(**{"stages": STAGES, "space": space, "resources": {}, **changes})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return sqlite_in(tmp_path)


def test_the_first_groups_measure_and_the_others_have_the_best_width(
    repository: Repository,
) -> None:
    executor = _Watching(step_s=lambda width: 1.0 + abs(width - 4))
    view = coordinate(repository, _auto(), executor)
    first, *later = executor.started
    assert first[3:] == (True, None)
    measuring = [one for one in executor.started if one[3]]
    assert len(measuring) <= 2, "the first on each of two slots"
    assert {one[4] for one in later if one not in measuring} == {4}
    stored = {group.number: group for group in repository.groups(view.search.id)}
    assert {number: (g.measures, g.width) for number, g in stored.items()} == {
        one[0]: (one[3], 4) for one in executor.started
    }
    (name,) = {speed.kind for speed in repository.speeds("simulated")}
    assert name == "mlp 8, batch 32, float32 on digits"
    assert view.groups == stored


def test_what_one_search_measured_another_one_uses(repository: Repository) -> None:
    coordinate(repository, _auto(), _Watching(step_s=lambda width: float(width)))
    again = _Watching()
    coordinate(repository, _auto(seed=4), again)
    assert not any(measures for _, _, _, measures, _ in again.started)


def test_groups_that_wait_are_packed_wider_when_that_is_faster(repository: Repository) -> None:
    stages = [{"name": "only", "trials": 1000, "epochs": 2, "expand": 0}]
    executor = _Watching(num_slots=1, step_s=lambda width: 1.0)  # a device that is never full
    view = coordinate(repository, _auto(stages=stages), executor)
    found = [one[2:] for one in executor.started]
    assert found == [(125, True, None), (438, True, None), (437, False, 438)]
    assert {trial.epochs for trial in view.trials.values()} == {2}
    loaded = {trial.id: trial.group for trial in repository.load(view.search.id)[1]}
    assert loaded == {trial.id: trial.group for trial in view.trials.values()}


def test_a_device_that_is_full_keeps_its_groups(repository: Repository) -> None:
    stages = [{"name": "only", "trials": 1000, "epochs": 2, "expand": 0}]
    executor = _Watching(num_slots=1, step_s=lambda width: width**1.1)
    coordinate(repository, _auto(stages=stages), executor)
    assert [one[2] for one in executor.started] == [125] * 8


@pytest.mark.parametrize("after_writes", [3, 4, 5, 6, 7, 9, 12, 15])
def test_after_a_crash_groups_are_trained_in_the_same_blocks(
    after_writes: int, tmp_path: Path
) -> None:
    search = _auto(stages=[{**STAGES[0], "trials": 80}, {**STAGES[1], "trials": 20}])
    whole, repository = sqlite_in(tmp_path / "whole"), sqlite_in(tmp_path / "crashed")
    coordinate(whole, search, _Watching())
    folder = tmp_path / "checkpoints"
    first, second = _Watching(), _Watching()
    assert crash(repository.database, folder, after_writes, False, search, first)
    known = {group.number: group for group in repository.groups(1)}
    coordinate(repository, search, second, folder)
    for number, start_epoch, _, measures, width in second.started:
        if number in known:
            is_repeat = start_epoch == known[number].start_epoch
            assert measures == (known[number].measures and is_repeat)
            assert width == known[number].width
    assert finished_table(repository) == finished_table(whole)


def _never_full(num_slots: int = 1) -> _Watching:
    """A device on which any width takes as long: what waits is packed as wide as can be."""
    return _Watching(step_s=lambda width: 1.0, num_slots=num_slots)


def _groups(repository: Repository) -> dict[int, int]:
    return {trial.number: trial.group for trial in repository.load(1)[1]}


def test_dying_at_each_write_around_what_is_measured_packs_the_same_groups(
    tmp_path: Path,
) -> None:
    search = _auto(stages=[{"name": "only", "trials": 400, "epochs": 1, "expand": 0}])
    whole = sqlite_in(tmp_path / "whole")
    coordinate(whole, search, _never_full())
    assert Counter(_groups(whole).values()) == {0: 100, 4: 300}
    for after_writes in range(1, 5):
        for before in (True, False):
            folder = tmp_path / f"{after_writes} {before}"
            repository = sqlite_in(folder)
            died = (repository.database, folder, after_writes, before)
            assert crash(*died, search, _never_full())
            coordinate(repository, search, _never_full(), folder)
            assert _groups(repository) == _groups(whole)
            assert finished_table(repository) == finished_table(whole)


@pytest.mark.parametrize("after_reports", [1, 2, 5, 14])
def test_what_had_begun_goes_on_after_a_stop_as_it_began(
    after_reports: int, tmp_path: Path
) -> None:
    search = _auto(
        stages=[{"name": "only", "trials": 400, "epochs": 8, "expand": 0}],
        resources={"checkpoint_every": 2},
    )
    repository, folder = sqlite_in(tmp_path), tmp_path / "checkpoints"
    stop(repository, search, _never_full(num_slots=2), folder, after_reports)
    known = {group.number: group for group in repository.groups(1)}
    begun = {number: group for number, group in _groups(repository).items() if group in known}
    half = {trial.group for trial in repository.load(1)[1] if 0 < trial.epochs < 8}
    assert half
    assert half <= set(begun.values())
    executor = _never_full(num_slots=2)
    view = coordinate(repository, search, executor, folder)
    assert {number: _groups(repository)[number] for number in begun} == begun
    for number, start_epoch, _, measures, width in executor.started:
        if number in known:
            assert width == known[number].width
            assert measures == (known[number].measures and start_epoch == 0)
    assert half <= {one[0] for one in executor.started[:2]}, "before what had not begun"
    assert {(t.state, t.epochs) for t in view.trials.values()} == {("complete", 8)}
    assert not [event for event in repository.events(1) if event.kind == "trouble"]


def test_groups_of_an_older_version_go_on_after_a_stop_all_rows_at_once(tmp_path: Path) -> None:
    search = _auto(resources={"checkpoint_every": 2})
    repository, folder = sqlite_in(tmp_path), tmp_path / "checkpoints"
    stop(repository, search, _Watching(), folder, 6)
    begun = {group.number for group in repository.groups(1)}
    with repository.database.write() as connection:  # as the migration to 0003 leaves them
        connection.execute(update(GroupRow).values(measures=False, width=None, kind="any"))
        connection.execute(delete(SpeedRow))
    executor = _Watching()
    coordinate(repository, search, executor, folder)
    old = [one for one in executor.started if one[0] in begun]
    assert old
    assert {one[3:] for one in old} == {(False, None)}
    assert all(one[3:] != (False, None) for one in executor.started if one not in old)


@pytest.mark.parametrize("epoch", [1, 3])
def test_parts_of_a_group_that_raised_have_its_width_or_measure(epoch: int, tmp_path: Path) -> None:
    culprit = 100

    def fault(group: TrialGroup, now: int, attempt: int) -> str | None:
        is_hit = now == epoch and any(member.trial == culprit for member in group.members)
        return "raise" if is_hit else None

    repository = sqlite_in(tmp_path)
    stages = [{"name": "only", "trials": 200, "epochs": 4, "expand": 0}]
    search = _auto(stages=stages, resources={"checkpoint_every": 2, "keep_checkpoints": 200})
    executor = _Watching(num_slots=1, step_s=lambda width: 1.0 + abs(width - 4), fault=fault)
    coordinate(repository, search, executor, tmp_path / "checkpoints")
    first, *others = executor.started
    assert first[2:] == (100, True, None)
    assert any(members == 1 for _, _, members, _, _ in others), "parted down to the culprit"
    assert not any(one[3:] == (False, None) for one in executor.started)
    if epoch == 3:
        assert {one[3:] for one in others} == {(False, 4)}
    failed = [t for t in repository.load(1)[1] if t.state == "failed"]
    assert [(trial.id, trial.failure_kind) for trial in failed] == [(culprit, "error")]
    kept = {t.checkpoint_file for t in repository.load(1)[1] if t.state == "complete"}
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == kept


def test_parts_are_trained_before_longer_groups_that_have_not_begun(tmp_path: Path) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if any(member.trial == 100 for member in group.members) else None

    search = _auto(stages=[{"name": "only", "trials": 400, "epochs": 2, "expand": 0}])
    executor = _Watching(num_slots=1, step_s=lambda width: 1.0, fault=fault)
    coordinate(sqlite_in(tmp_path), search, executor, tmp_path / "checkpoints")
    assert [one[2] for one in executor.started[:3]] == [100, 50, 50]
    packed_anew = [one[2] for one in executor.started[-2:]]
    assert packed_anew == [150, 150], "when the first part had measured"


def test_parts_are_trained_in_the_same_blocks_after_a_crash(tmp_path: Path) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if epoch == 3 and any(m.trial == 7 for m in group.members) else None

    def watching() -> _Watching:
        return _Watching(num_slots=1, step_s=lambda width: 1.0 + abs(width - 4), fault=fault)

    search = _auto(stages=[{"name": "only", "trials": 32, "epochs": 4, "expand": 0}])
    whole = sqlite_in(tmp_path / "whole")
    coordinate(whole, search, watching())
    for after_writes in range(5, 12):
        folder = tmp_path / str(after_writes)
        repository = sqlite_in(folder)
        assert crash(repository.database, folder, after_writes, False, search, watching())
        after = watching()
        coordinate(repository, search, after, folder)
        assert {one[3:] for one in after.started} <= {(True, 4), (False, 4)}
        assert finished_table(repository) == finished_table(whole)

"""Of which kind a group is, how it is trained, and what is remembered of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from coordinated import a_record, a_search, coordinate, crash, curve, finished_table, stop
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, update

from hpsearch.coordinator.speeds import Speeds
from hpsearch.coordinator.view import SearchView
from hpsearch.coordinator.widths import as_measured, as_started, kind, of_part
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.database import Database
from hpsearch.storage.records import GroupRecord, SearchRecord, SpeedRecord
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import GroupRow, SpeedRow
from workers.config import DOMAINS, STACKING, TrainConfig
from workers.messages import Report, Speed, TrialGroup

SEARCH = a_search(resources={})
KIND = "mlp 50, batch 32, float32 on digits"

# Kinds

configs = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["mlp", "cnn", "logistic_regression"]),
        "hidden_units": st.sampled_from([50, (50,), (50, 50), (16, 32), ()]),
        "depth": st.integers(0, 2),
        "channels": st.sampled_from([50, (16, 32), (), (16,)]),
        "kernel_size": st.sampled_from([3, 5]),
        "pooling": st.sampled_from(["max", "none"]),
        "global_average_pooling": st.booleans(),
        "activation": st.sampled_from(["relu", "tanh"]),
        "normalization": st.sampled_from(["none", "batch"]),
        "loss": st.sampled_from([None, "hinge"]),
        "precision": st.sampled_from(["float32", "float64"]),
        "batch_size": st.sampled_from([32, 64]),
        "accumulation_steps": st.sampled_from([1, 2]),
        "sampling": st.sampled_from(["shuffled", "balanced"]),
        "optimizer": st.sampled_from(["sgd", "adam", "gradient_descent"]),
        "lr_schedule": st.sampled_from(["constant", "grow_batch"]),
        "lr_decay": st.sampled_from([0.5, 0.1]),
        "lr_step_size": st.sampled_from([1, 2]),
        "learning_rate": st.sampled_from([0.1, 0.01]),
        "dropout": st.sampled_from([0.0, 0.5]),
    },
)


@given(one=configs, other=configs)
def test_kinds_are_equal_exactly_when_trials_can_be_stacked(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    a, b = TrainConfig.of(one), TrainConfig.of(other)
    assert (kind(SEARCH, a) == kind(SEARCH, b)) == (a.stacking_key() == b.stacking_key())


class _Watched(TrainConfig):
    """Notes in ``READ`` which of its fields are looked at."""

    def __getattribute__(self, name: str) -> Any:
        READ.add(name)
        return super().__getattribute__(name)


READ: set[str] = set()


@given(one=configs)
def test_whether_trials_can_be_stacked_is_told_by_the_fields_that_are_named_for_it(
    one: dict[str, Any],
) -> None:
    watched = _Watched.of(one)
    READ.clear()
    watched.stacking_key()
    assert READ & DOMAINS.keys() <= STACKING


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, KIND),
        ({"hidden_units": (64, 32)}, "mlp 64 32, batch 32, float32 on digits"),
        (
            {"model": "cnn", "kernel_size": 5},
            "cnn 16c 32c 50, batch 32, float32, kernel_size 5 on digits",
        ),
        ({"optimizer": "gradient_descent"}, "mlp 50, full batch, float32 on digits"),
        (
            {"lr_schedule": "grow_batch", "lr_decay": 0.5, "lr_step_size": 2},
            "mlp 50, batch 32 over 0.5 every 2 epochs, float32 on digits",
        ),
    ],
)
def test_a_kind_is_said_in_words(changes: dict[str, Any], said: str) -> None:
    assert kind(SEARCH, TrainConfig(**changes)) == said


@pytest.mark.parametrize(
    "data",
    [
        {"source": "csv", "path": "a.csv"},
        {"source": "csv", "path": "b.csv"},
        {"source": "digits", "preprocess": ["pca"]},
        {"source": "digits", "limit": 100},
    ],
)
def test_other_data_are_another_kind(data: dict[str, Any]) -> None:
    search = SEARCH.model_copy(update={"data": SEARCH.data.model_copy(update=data)})
    assert kind(search, TrainConfig()) != KIND


# How a group is started


def _view(*speeds: tuple[int, float], resources: dict[str, Any] | None = None) -> SearchView:
    """Of a search, and of what steps of some widths take on this device."""
    spec = a_search(resources=resources or {})
    now = datetime.now(UTC)
    view = SearchView(SearchRecord(id=1, name="s", spec=spec, state="running", created_at=now))
    view.speeds.add(_speed(width, seconds) for width, seconds in speeds)
    return view


def _speed(width: int, seconds: float, device: str = "cpu") -> SpeedRecord:
    return SpeedRecord(kind=KIND, device=device, width=width, seconds=seconds, bytes=0)


def _started(view: SearchView, num_trials: int, start_epoch: int = 0, **fields: Any) -> Any:
    members = [a_record(id=i, state="waiting", group=5, **fields) for i in range(num_trials)]
    group = as_started(view, members, TrainConfig(), start_epoch, "cpu")
    return group.measures, group.width


def test_the_first_group_of_a_kind_and_device_measures() -> None:
    view = _view()
    assert _started(view, 32) == (True, None)
    view.speeds.add([_speed(16, 1.0, device="another"), replace(_speed(4, 1.0), kind="another")])
    assert _started(view, 32) == (True, None)
    view.speeds.add([_speed(4, 1.0)])
    assert _started(view, 4) == (False, 4)


def test_later_groups_have_the_width_with_the_least_seconds_a_row() -> None:
    assert _started(_view((1, 1.0), (4, 2.0), (16, 16.0)), 100) == (False, 4)
    assert _started(_view((1, 1.0), (4, 4.5)), 100) == (False, 1)


def test_where_the_widest_was_best_a_much_wider_group_measures_again() -> None:
    speeds = (1, 1.0), (4, 2.0), (16, 4.0)
    assert _started(_view(*speeds), 33) == (True, None)
    assert _started(_view(*speeds), 32) == (False, 32)
    assert _started(_view(*speeds), 5) == (False, 16)


def test_folds_are_rows() -> None:
    view = _view((1, 1.0), (4, 2.0), (16, 4.0))
    folded = view.search.spec.data.model_copy(update={"folds": 5})
    view.search = replace(view.search, spec=view.search.spec.model_copy(update={"data": folded}))
    assert _started(view, 6) == (False, 30)
    assert _started(view, 7) == (True, None)


def test_a_width_that_is_given_is_taken() -> None:
    assert _started(_view(resources={"width": 7}), 100) == (False, 7)
    assert _started(_view((1, 1.0), resources={"width": 7}), 100) == (False, 7)


def test_a_group_that_is_trained_again_is_trained_as_it_was() -> None:
    view = _view((64, 1.0))
    stored = GroupRecord(
        number=5, kind=KIND, device="another", start_epoch=2, measures=True, width=None
    )
    view.groups[5] = stored
    assert _started(view, 9, start_epoch=2) == (True, None), "it had not come to measure"
    view.groups[5] = replace(stored, width=3)
    assert _started(view, 9, start_epoch=2) == (True, 3)
    assert _started(view, 9, start_epoch=4) == (False, 3)
    assert _started(view, 9, start_epoch=0) == (False, 3)


def test_a_group_that_had_not_come_to_measure_does_so_from_wherever_it_begins() -> None:
    view, members = _view(), [a_record(id=i, group=5) for i in range(9)]
    stored = GroupRecord(number=5, kind=KIND, device="cpu", start_epoch=2, measures=True)
    view.groups[5] = stored
    again = as_started(view, members, TrainConfig(), 0, "cpu")
    assert again == replace(stored, start_epoch=0), "its checkpoint was damaged"
    view.groups[5] = replace(again, width=3)
    assert _started(view, 9, start_epoch=0) == (True, 3)


def test_a_group_of_an_older_version_is_trained_all_at_once() -> None:
    view = _view((4, 1.0))
    view.groups[5] = GroupRecord(
        number=5, kind="any", device="any", start_epoch=0, measures=False, width=None
    )
    for start_epoch in (0, 2):
        assert _started(view, 9, start_epoch=start_epoch) == (False, None)


def test_survivors_of_a_rung_are_a_new_group() -> None:
    assert _started(_view(), 3, start_epoch=2, attempts=1) == (True, None)
    assert _started(_view((4, 1.0)), 3, start_epoch=2, attempts=1) == (False, 4)


@pytest.mark.parametrize(
    ("measures", "width", "inherited"),
    [
        (True, 16, (False, 16)),
        (False, 16, (False, 16)),
        (True, None, (True, None)),
        (False, None, (False, None)),
    ],
)
def test_a_part_has_the_width_of_the_whole_or_measures_as_it_did(
    measures: bool, width: int | None, inherited: tuple[bool, int | None]
) -> None:
    whole = GroupRecord(
        number=5, kind=KIND, device="cpu", start_epoch=2, measures=measures, width=width
    )
    part = of_part(whole, 8)
    assert (part.number, part.kind, part.start_epoch) == (8, KIND, 2)
    assert (part.measures, part.width) == inherited


def test_a_report_with_a_width_is_remembered_with_its_speeds() -> None:
    group = GroupRecord(number=5, kind=KIND, device="was", start_epoch=0, measures=True)
    report = Report(epoch=1, trials=(), metrics={}, seconds=1.0)
    assert as_measured(group, report, "cpu") == (None, ())
    speeds = (Speed(width=1, seconds=0.5, bytes=7), Speed(width=4, seconds=1.0))
    measured = replace(report, speeds=speeds, width=4)
    assert as_measured(None, measured, "cpu") == (None, ())
    chosen, stored = as_measured(group, measured, "cpu")
    assert chosen == replace(group, width=4)
    assert [(s.width, s.seconds, s.bytes, s.device) for s in stored] == [
        (1, 0.5, 7, "cpu"),
        (4, 1.0, 0, "cpu"),
    ]


def test_an_unknown_kind_takes_as_long_as_the_known_ones_on_average() -> None:
    speeds = Speeds()
    assert speeds.row_step_s(KIND, "cpu") == 1.0
    others = [replace(_speed(width, 6.0), kind=f"kind {width}") for width in (2, 6)]
    speeds.add([*others, _speed(1, 100.0, device="another")])
    assert speeds.row_step_s(KIND, "cpu") == (3.0 + 1.0) / 2
    assert speeds.row_step_s("kind 2", "cpu") == 3.0


# Whole searches

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
    return _sqlite(tmp_path)


def _sqlite(folder: Path) -> Repository:
    folder.mkdir(exist_ok=True)
    database = Database(f"sqlite:///{folder / 'search.db'}")
    database.check_revision()
    return Repository(database)


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
    whole, repository = _sqlite(tmp_path / "whole"), _sqlite(tmp_path / "crashed")
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
    whole = _sqlite(tmp_path / "whole")
    coordinate(whole, search, _never_full())
    assert Counter(_groups(whole).values()) == {0: 100, 4: 300}
    for after_writes in range(1, 5):
        for before in (True, False):
            folder = tmp_path / f"{after_writes} {before}"
            repository = _sqlite(folder)
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
    repository, folder = _sqlite(tmp_path), tmp_path / "checkpoints"
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
    repository, folder = _sqlite(tmp_path), tmp_path / "checkpoints"
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

    repository = _sqlite(tmp_path)
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
    coordinate(_sqlite(tmp_path), search, executor, tmp_path / "checkpoints")
    assert [one[2] for one in executor.started[:3]] == [100, 50, 50]
    packed_anew = [one[2] for one in executor.started[-2:]]
    assert packed_anew == [150, 150], "when the first part had measured"


def test_parts_are_trained_in_the_same_blocks_after_a_crash(tmp_path: Path) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if epoch == 3 and any(m.trial == 7 for m in group.members) else None

    def watching() -> _Watching:
        return _Watching(num_slots=1, step_s=lambda width: 1.0 + abs(width - 4), fault=fault)

    search = _auto(stages=[{"name": "only", "trials": 32, "epochs": 4, "expand": 0}])
    whole = _sqlite(tmp_path / "whole")
    coordinate(whole, search, watching())
    for after_writes in range(5, 12):
        folder = tmp_path / str(after_writes)
        repository = _sqlite(folder)
        assert crash(repository.database, folder, after_writes, False, search, watching())
        after = watching()
        coordinate(repository, search, after, folder)
        assert {one[3:] for one in after.started} <= {(True, 4), (False, 4)}
        assert finished_table(repository) == finished_table(whole)

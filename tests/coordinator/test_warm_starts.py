"""Warm starts: what a spec may name, what its trials are given, and what is refused beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coordinated import PROVENANCE, a_search, coordinate, curve

from hpsearch.coordinator.checking import check_plan
from hpsearch.coordinator.resources import prepared_folder
from hpsearch.coordinator.view import SearchView
from hpsearch.coordinator.warm_starts import resolve_warm_starts
from hpsearch.errors import HpsearchError
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec.search import Search
from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository
from workers.messages import (
    CheckPlan,
    CheckpointSlice,
    CheckResult,
    Member,
    Metric,
    TrialGroup,
)

STAGES = [{"name": "only", "trials": 6, "epochs": 3, "expand": 0}]
LONGER = [*STAGES, {"name": "fine", "trials": 4, "epochs": 6, "continue": 2, "expand": 0}]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    database = Database(f"sqlite:///{tmp_path / 'search.db'}")
    database.check_revision()
    return Repository(database)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


class _Watching(SimulatedExecutor):
    """Remembers the groups that were started, and the checks that were asked for."""

    def __init__(self, **more: Any) -> None:
        super().__init__(curve, **more)
        self.started: list[TrialGroup] = []
        self.plans: list[CheckPlan] = []

    def start(self, number: int, group: TrialGroup) -> str:
        self.started.append(group)
        return super().start(number, group)

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        self.plans.append(plan)
        return super().check(plan)


def _search(name: str, **changes: Any) -> Search:
    return a_search(**{"name": name, "stages": STAGES, **changes})


def _starting_from(text: str, **changes: Any) -> Search:
    return _search("second", train={"warm_start": text}, **changes)


def _carry_out(
    repository: Repository, root: Path, search: Search, executor: SimulatedExecutor | None = None
) -> SearchView:
    record = repository.find_same(search) or repository.create_search(search, PROVENANCE)
    return coordinate(repository, search, executor, prepared_folder(root, record))


def test_new_trials_are_given_the_newest_checkpoint_and_continued_ones_their_own(
    repository: Repository, root: Path
) -> None:
    first = _carry_out(repository, root, _search("first"))
    source = next(trial for trial in first.trials.values() if trial.number == 4)
    executor = _Watching()
    view = _carry_out(repository, root, _starting_from("first/4", stages=LONGER), executor)
    written = prepared_folder(root, first.search) / str(source.checkpoint_file)
    link = prepared_folder(root, view.search) / f"warm-start-{first.search.id}-4.safetensors"
    assert link.samefile(written)
    expected = CheckpointSlice(file=str(link), row=source.checkpoint_row)
    members = [member for group in executor.started for member in group.members]
    assert len(members) == 6 + 4
    for member in members:
        is_continued = view.trials[member.trial].start_epoch > 0
        assert (member.warm_start is None) == is_continued == (member.resume is not None)
        assert is_continued or member.warm_start == expected


def test_a_choice_starts_each_trial_from_its_own_source(repository: Repository, root: Path) -> None:
    _carry_out(repository, root, _search("first"))
    warm_start = {"choice": [None, "first/0", "1/5"]}
    space = {"warm_start": warm_start, "learning_rate": {"log_uniform": [1e-5, 1e-3]}}
    executor = _Watching()
    view = _carry_out(repository, root, _search("second", space=space), executor)
    numbers = {None: None, "first/0": 0, "1/5": 5}
    for member in (member for group in executor.started for member in group.members):
        number = numbers[view.trials[member.trial].params["warm_start"]]
        source = None if number is None else repository.find_trial(1, number)
        given = None if member.warm_start is None else member.warm_start.row
        assert given == (None if source is None else source.checkpoint_row)


def test_probes_start_as_the_trials_that_they_stand_for(repository: Repository, root: Path) -> None:
    _carry_out(repository, root, _search("first"))
    executor = _Watching()
    search = _starting_from("first/4", stages=[{"name": "check"}, *STAGES])
    _carry_out(repository, root, search, executor)
    (plan,) = executor.plans
    starts = {member.warm_start for group in executor.started for member in group.members}
    assert {probe.warm_start for probe in plan.probes} == starts
    assert None not in starts
    assert check_plan(search, 2).probes[0].warm_start is None


def test_without_a_database_files_are_found_and_trials_are_not(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    file.touch()
    space = {"warm_start": {"choice": [str(file), "first/4"]}}
    found = resolve_warm_starts(None, _search("second", space=space), root)
    assert found == {str(file): CheckpointSlice(file=str(file), row=0)}


def test_a_group_that_lost_its_checkpoint_starts_warm_again(
    repository: Repository, root: Path
) -> None:
    _carry_out(repository, root, _search("first"))

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        if attempt > 1 or epoch != 3:
            return None
        for file in root.glob("search-2-*/*.safetensors"):
            file.unlink()
        return "lost"

    executor = _Watching(fault=fault)
    _carry_out(repository, root, _starting_from("first/4"), executor)
    names = [group.name for group in executor.started]
    assert len(names) > len(set(names)), "a group was started twice"
    assert all(group.start_epoch == 0 for group in executor.started)
    assert all(m.warm_start is not None for group in executor.started for m in group.members)


def test_a_name_means_the_search_before_this_one_for_good(
    repository: Repository, root: Path
) -> None:
    first = _carry_out(repository, root, _search("same"))
    second = _search("same", train={"warm_start": "same/4"})
    before = resolve_warm_starts(repository, second, root)
    record = repository.create_search(second, PROVENANCE)
    repository.create_search(_search("same", seed=9), PROVENANCE)
    assert resolve_warm_starts(repository, second, root, record.id) == before
    folder = prepared_folder(root, first.search)
    assert Path(before["same/4"].file).parent == folder


def test_a_file_is_named_by_its_whole_path(
    repository: Repository, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.safetensors").touch()
    found = {
        text: resolve_warm_starts(repository, _starting_from(text), root)[text]
        for text in ("net.safetensors", "./net.safetensors#3")
    }
    path = str(tmp_path / "net.safetensors")
    assert list(found.values()) == [
        CheckpointSlice(file=path, row=0),
        CheckpointSlice(file=path, row=3),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frist/4", "no search 'frist': did you mean 'first'"),
        ("7/4", "no search '7'"),
        ("first/6", "search 1 has no number 6; `hpsearch trials 1` shows all"),
        ("first/3", "must name a trial that is complete, but number 3 of search 1 is failed"),
        ("first/2", "must name a trial with a checkpoint, but number 2 .* is gone"),
        ("2/0", "must name a trial of another search, but this is its own"),
        ("second/0", "no search 'second'"),
        ("nowhere.safetensors", "there is none at .*/nowhere.safetensors; correct the path"),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_anything_is_trained(
    text: str, said: str, repository: Repository, root: Path
) -> None:
    executor = SimulatedExecutor(_diverging_third)
    first = _carry_out(repository, root, _search("first", resources={"width": 1}), executor)
    gone = next(trial for trial in first.trials.values() if trial.number == 2)
    (prepared_folder(root, first.search) / str(gone.checkpoint_file)).unlink()
    search = _starting_from(text)
    record = repository.create_search(search, PROVENANCE)
    watching = _Watching()
    with pytest.raises(HpsearchError, match=rf"^second: train.warm_start: .*{said}") as refusal:
        _carry_out(repository, root, search, watching)
    assert watching.started == []
    assert "\n" not in str(refusal.value)
    assert repository.load(record.id) == ([], [])


def _diverging_third(member: Member, epoch: int) -> dict[str, Metric]:
    metrics = curve(member, epoch)
    return {**metrics, "val_loss": float("nan")} if member.trial == 4 else metrics

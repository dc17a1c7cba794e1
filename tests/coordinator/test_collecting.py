"""Which checkpoints are deleted while a search runs, and that nothing ever misses one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coordinated import PROVENANCE, a_search, coordinate, crash, curve, finished_table, stop
from sqlalchemy import update

from hpsearch.analysis.frames import Frames
from hpsearch.coordinator.events import Event, Troubled
from hpsearch.coordinator.ledger import Ledger
from hpsearch.coordinator.loop import Coordinator
from hpsearch.coordinator.resources import checkpoint_folder, checkpoint_path
from hpsearch.coordinator.view import SearchView
from hpsearch.coordinator.warm_starts import resolve_warm_starts
from hpsearch.errors import HpsearchError
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec.search import Search
from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseLost
from hpsearch.storage.leases import Owner
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import TrialRow
from workers.messages import Member, TrialGroup

ALL = 10_000


def _search(keep: int, **changes: Any) -> Search:
    resources = {"width": 4, "checkpoint_every": 2, "keep_checkpoints": keep}
    return a_search(resources=resources, **changes)


def _carried_out(folder: Path, search: Search, **more: Any) -> tuple[SearchView, Repository]:
    folder.mkdir()
    repository = Repository(Database(f"sqlite:///{folder / 'h.db'}"))
    return coordinate(repository, search, folder=folder, **more), repository


def _files(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.safetensors")}


def _best(view: SearchView, repository: Repository, number: int) -> list[str]:
    """Those of the trials that ``Frames.best`` has first."""
    numbers = Frames(repository).best(view.search.id, n=number)["number"].tolist()
    files = {trial.number: str(trial.checkpoint_file) for trial in view.trials.values()}
    return [files[number] for number in numbers]


@pytest.mark.parametrize("keep", [0, 1, 3, 10])
def test_the_best_keep_theirs_few_others_do_and_no_trial_misses_one(
    keep: int, tmp_path: Path
) -> None:
    told: list[Event] = []
    view, repository = _carried_out(tmp_path / "few", _search(keep), observer=told.append)
    _, undisturbed = _carried_out(tmp_path / "all", _search(ALL))
    assert finished_table(repository) == finished_table(undisturbed)
    assert not [event for event in told if isinstance(event, Troubled)]
    assert _files(tmp_path / "few") == set(_best(view, repository, keep))
    assert len(_files(tmp_path / "all")) > 10


def test_while_it_runs_there_are_never_many_more_than_are_needed(tmp_path: Path) -> None:
    stages = [{"name": "coarse", "trials": 400, "epochs": 2, "expand": 0, "sampler": "random"}]
    most = 0

    def look(event: Event) -> None:
        nonlocal most
        most = max(most, len(_files(tmp_path / "long")))

    view, _ = _carried_out(tmp_path / "long", _search(2, stages=stages), observer=look)
    assert len(view.groups) >= 100
    assert 32 <= most <= 2 + 32 + 2  # needed, before it looks, and of two workers


def test_a_parent_whose_child_fails_gives_its_place_to_the_next_best(tmp_path: Path) -> None:
    stages = [
        {"name": "coarse", "trials": 24, "epochs": 3, "expand": 0, "sampler": "qmc"},
        {"name": "fine", "trials": 3, "epochs": 9, "continue": 3},
    ]

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if epoch > 3 else None

    executor = SimulatedExecutor(curve, fault=fault)
    view, repository = _carried_out(tmp_path / "h", _search(5, stages=stages), executor=executor)
    assert [trial.state for trial in view.of_stage(view.stages[-1])] == ["failed"] * 3
    assert _files(tmp_path / "h") == set(_best(view, repository, 5))


@pytest.mark.parametrize("before", [True, False])
def test_one_that_dies_at_any_time_has_what_it_goes_on_from(before: bool, tmp_path: Path) -> None:
    _, undisturbed = _carried_out(tmp_path / "all", _search(ALL))
    for after in range(5, 130, 20):
        folder = tmp_path / str(after)
        folder.mkdir()
        database = Database(f"sqlite:///{folder / 'h.db'}")
        assert crash(database, folder, after, before, _search(1), SimulatedExecutor(curve))
        told: list[Event] = []
        view = coordinate(Repository(database), _search(1), folder=folder, observer=told.append)
        assert not [event for event in told if isinstance(event, Troubled)]
        assert finished_table(Repository(database)) == finished_table(undisturbed)
        assert _files(folder) == set(_best(view, Repository(database), 1))


def test_what_one_that_died_had_not_told_of_is_swept_away(tmp_path: Path) -> None:
    repository = Repository(Database(f"sqlite:///{tmp_path / 'h.db'}"))
    stop(repository, _search(1), SimulatedExecutor(curve), tmp_path, after_reports=20)
    (tmp_path / "group-77-2.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    view = coordinate(repository, _search(1), folder=tmp_path)
    assert _files(tmp_path) == set(_best(view, repository, 1))
    assert (tmp_path / "notes.txt").exists()


def test_a_trial_that_stopped_early_is_kept_like_others(tmp_path: Path) -> None:
    def stops(member: Member, epoch: int) -> bool:
        return member.trial % 2 == 0 and epoch == 2

    executor = SimulatedExecutor(curve, stops=stops)
    view, repository = _carried_out(tmp_path / "h", _search(4), executor=executor)
    assert _files(tmp_path / "h") == set(_best(view, repository, 4))


def test_a_search_that_its_budget_ends_keeps_no_more(tmp_path: Path) -> None:
    view, repository = _carried_out(tmp_path / "h", _search(2, budget={"trials": 10}))
    assert _files(tmp_path / "h") == set(_best(view, repository, 2))


def test_one_that_lost_the_search_deletes_nothing(tmp_path: Path) -> None:
    """It read what is stored, and slept while another one had its lease and went on."""
    repository = Repository(Database(f"sqlite:///{tmp_path / 'h.db'}"))
    record = repository.create_search(_search(3), PROVENANCE)
    dead = Owner(host=Owner.current().host, pid=2**22 + 1, started_s=1.0)
    lease = repository.acquire(record.id, dead)
    zombie = Coordinator(repository, lease, record, SimulatedExecutor(curve), tmp_path)
    view = coordinate(repository, _search(3), folder=tmp_path)
    with pytest.raises(LeaseLost):
        zombie.run()
    assert _files(tmp_path) == set(_best(view, repository, 3))


def test_what_another_search_starts_from_stays_with_it(tmp_path: Path) -> None:
    repository = Repository(Database(f"sqlite:///{tmp_path / 'h.db'}"))
    source = repository.create_search(_search(ALL, name="source"), PROVENANCE)
    folder = checkpoint_folder(tmp_path, source)
    coordinate(repository, _search(ALL, name="source"), folder=folder)
    spec = _search(1, train={"hidden_units": [8], "warm_start": "source/3"}, name="other")
    own = tmp_path / "other"
    own.mkdir()
    (first,) = resolve_warm_starts(repository, spec, tmp_path, pins=own).values()
    for file in folder.iterdir():
        file.unlink()
    (again,) = resolve_warm_starts(repository, spec, tmp_path, pins=own).values()
    assert again == first
    assert Path(first.file).parent == own
    assert Path(first.file).exists()
    with pytest.raises(HpsearchError, match="keep_checkpoints"):
        resolve_warm_starts(repository, spec, tmp_path)


OUTSIDE = ["../../etc/passwd", "/etc/passwd", "..", ".", "", "a/b"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_checkpoint_is_a_file_of_its_folder(name: str, tmp_path: Path) -> None:
    assert checkpoint_path(tmp_path, "group-1-2.safetensors").parent == tmp_path
    with pytest.raises(HpsearchError, match="a checkpoint must be a file of the folder"):
        checkpoint_path(tmp_path, name)


@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_search_goes_on_from_no_file_of_another_folder(is_absolute: bool, tmp_path: Path) -> None:
    folder, outside = tmp_path / "own", tmp_path / "outside.safetensors"
    folder.mkdir()
    outside.touch()
    repository = Repository(Database(f"sqlite:///{tmp_path / 'h.db'}"))
    stop(repository, _search(1), SimulatedExecutor(curve), folder, after_reports=45)
    name = str(outside) if is_absolute else "../outside.safetensors"
    with repository.database.write() as connection:
        has_one = TrialRow.checkpoint_file.is_not(None)
        connection.execute(update(TrialRow).where(has_one).values(checkpoint_file=name))
    with pytest.raises(HpsearchError, match=r"outside\.safetensors': somebody has changed it"):
        coordinate(repository, _search(1), folder=folder)


def test_no_file_of_another_folder_is_collected(tmp_path: Path) -> None:
    folder, outside = tmp_path / "own", tmp_path / "outside.safetensors"
    folder.mkdir()
    outside.touch()
    repository = Repository(Database(f"sqlite:///{tmp_path / 'h.db'}"))
    stop(repository, _search(1), SimulatedExecutor(curve), folder, after_reports=40)
    with repository.database.write() as connection:
        changed = update(TrialRow).where(TrialRow.number == 0)  # the worst, once it is changed
        connection.execute(changed.values(checkpoint_file="../outside.safetensors", value=-1.0))
    told: list[Event] = []
    record = repository.list_searches()[0]
    lease = repository.acquire(record.id, Owner.current())
    ledger = Ledger(repository, lease, record, folder, told.append)
    ledger.collect(has_ended=True)
    assert outside.exists()
    assert "outside.safetensors" in str([event for event in told if isinstance(event, Troubled)])

"""Groups that find no memory are parted until they fit, and what did not fit is remembered."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import torch
from coordinated import a_search, coordinate, crash, curve, finished_table

from hpsearch.coordinator.failures import failure_kind, is_out_of_memory
from hpsearch.executors.base import Lost, Update
from hpsearch.executors.crew import Crew
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec import load, load_data
from hpsearch.storage import groups
from hpsearch.storage.database import Database
from hpsearch.storage.records import SpeedRecord
from hpsearch.storage.repository import Repository
from workers.messages import TrialGroup

STAGES = [{"name": "coarse", "trials": 48, "epochs": 3, "expand": 0}]
SPACE = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}}
SEARCH = a_search(stages=STAGES, resources={"width": 16}, space=SPACE)
KIND = "mlp 8, batch 32, float32 on digits"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(Database(f"sqlite:///{tmp_path / 'h.db'}"))


class Small(SimulatedExecutor):
    """Has memory for groups of ``room`` trials, and remembers how wide those were that began."""

    def __init__(self, room: Callable[[TrialGroup], int] = lambda group: 5) -> None:
        super().__init__(curve, fault=self._full)
        self.room, self.started = room, list[int]()

    def start(self, number: int, group: TrialGroup) -> str:
        self.started.append(len(group.members))
        return super().start(number, group)

    def _full(self, group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "memory" if len(group.members) > self.room(group) else None


def test_a_group_that_does_not_fit_is_halved_until_it_does_and_nothing_changes(
    repository: Repository, tmp_path: Path
) -> None:
    executor, said = Small(), list[object]()
    coordinate(repository, SEARCH, executor, observer=said.append)
    other = Repository(Database(f"sqlite:///{tmp_path / 'other.db'}"))
    coordinate(other, SEARCH)
    assert without_rows(repository) == without_rows(other)
    # Each is tried twice. The first two had begun before it was known of either.
    assert sorted(executor.started, reverse=True) == [16] * 4 + [8] * 8 + [4] * 12
    found = [vars_of(speed) for speed in repository.speeds()]
    assert found == [(KIND, "simulated", 8, float("inf")), (KIND, "simulated", 16, float("inf"))]


def without_rows(repository: Repository) -> list[tuple[object, ...]]:
    """The finished table, but for the rows that trials have in the checkpoints of their groups."""
    one, *others = finished_table(repository)
    return [one, *(row[:-1] if row[-2:-1] == (3,) else row for row in others)]


def vars_of(speed: SpeedRecord) -> tuple[object, ...]:
    return speed.kind, speed.device, speed.width, speed.seconds


def test_another_search_of_the_kind_is_packed_to_fit_at_once(repository: Repository) -> None:
    coordinate(repository, SEARCH, Small())
    executor = Small()
    view = coordinate(repository, SEARCH.model_copy(update={"name": "again"}), executor)
    assert set(executor.started) == {4}
    assert {trial.state for trial in view.trials.values()} == {"complete"}


def test_memory_that_was_short_for_a_moment_changes_nothing(repository: Repository) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "memory" if attempt == 1 and epoch == 2 else None

    view = coordinate(repository, SEARCH, SimulatedExecutor(curve, fault=fault))
    assert {trial.state for trial in view.trials.values()} == {"complete"}
    assert len(view.groups) == 4, "none was parted"
    assert repository.speeds() == []


def test_what_was_measured_stays_although_others_take_the_memory(repository: Repository) -> None:
    measured = SpeedRecord(kind=KIND, device="simulated", width=16, seconds=1.0, bytes=0)
    with repository.database.write() as connection:
        groups.add_speeds(connection, [measured], datetime.now(UTC))
    coordinate(repository, SEARCH, Small())
    stored = {speed.width: speed.seconds for speed in repository.speeds()}
    assert stored == {16: 1.0, 8: float("inf")}


def test_what_is_forgotten_is_tried_again(repository: Repository) -> None:
    coordinate(repository, SEARCH, Small())
    assert repository.forget_speeds() == 2
    executor = Small(lambda group: 100)
    coordinate(repository, SEARCH.model_copy(update={"name": "again"}), executor)
    assert executor.started == [16, 16, 8, 8]


def test_a_trial_that_does_not_fit_alone_fails_and_takes_none_with_it(
    repository: Repository,
) -> None:
    def room(group: TrialGroup) -> int:
        return 0 if any(member.trial == 7 for member in group.members) else 100

    view = coordinate(repository, SEARCH, Small(room))
    failed = {t.id: t.failure_kind for t in view.trials.values() if t.state != "complete"}
    assert failed == {7: "out_of_memory"}


def test_a_trial_with_folds_is_tried_fold_by_fold_before_it_fails(repository: Repository) -> None:
    widths = list[int | None]()

    def room(group: TrialGroup) -> int:
        widths.append(group.width)
        return 0 if group.width != 1 else 1

    stages = [{"name": "one", "trials": 2, "epochs": 1, "expand": 0}]
    data = {"source": "digits", "validation": {"folds": 4}}
    search = a_search(stages=stages, data=data, space=SPACE, resources={"width": 16})
    view = coordinate(repository, search, Small(room))
    assert sorted(widths, key=str, reverse=True) == [2] * 4 + [16] * 4 + [1] * 2
    assert [trial.state for trial in view.trials.values()] == ["complete"] * 2


def test_a_search_that_dies_while_groups_are_parted_ends_with_the_same_table(
    tmp_path: Path,
) -> None:
    undisturbed = Repository(Database(f"sqlite:///{tmp_path / 'undisturbed.db'}"))
    coordinate(undisturbed, SEARCH)
    for after in range(4, 40, 9):
        database = Database(f"sqlite:///{tmp_path / f'{after}.db'}")
        folder = tmp_path / str(after)
        folder.mkdir()
        assert crash(database, folder, after, False, SEARCH, Small())
        coordinate(Repository(database), SEARCH, Small(), folder)
        assert without_rows(Repository(database)) == without_rows(undisturbed)


def test_a_worker_that_ray_ended_for_want_of_memory_is_no_loss_like_others(
    repository: Repository,
) -> None:
    class Watched(Small):
        def wait(self, timeout_s: float) -> list[Update]:
            return [
                Lost(
                    group=update.group,
                    message="1 worker(s) were killed due to the node running low on memory.",
                )
                if hasattr(update, "traceback")
                else update
                for update in super().wait(timeout_s)
            ]

    executor = Watched()
    coordinate(repository, SEARCH, executor)
    assert sorted(executor.started, reverse=True) == [16] * 4 + [8] * 12 + [4] * 12
    assert repository.speeds() == [], "others may have taken the memory"


@pytest.mark.parametrize(
    ("headline", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "out_of_memory"),
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
            "out_of_memory",
        ),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB", "out_of_memory"),
        ("MemoryError", "out_of_memory"),
        ("torch.AcceleratorError: CUDA error: out of memory", "out_of_memory"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`", "out_of_memory"),
        ("RuntimeError: mat1 and mat2 shapes cannot be multiplied", "error"),
    ],
)
def test_memory_is_told_from_other_errors(headline: str, kind: str) -> None:
    assert failure_kind(f"Traceback (most recent call last):\n  …\n{headline}") == kind
    assert not is_out_of_memory(headline)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of others need Linux")
def test_a_worker_with_too_little_memory_for_a_group_trains_its_parts(
    repository: Repository,
) -> None:
    """For real: the worker may have 400 MB more, and the activations of 16 trials take more."""
    search = load(
        {
            "name": "tight",
            "data": {"source": "digits"},
            "train": {"hidden_units": [4000], "batch_size": 1024},
            "space": SPACE,
            "stages": [{"name": "coarse", "trials": 16, "epochs": 1, "expand": 0}],
            "resources": {"width": 16, "workers": 1},
        }
    )
    crew = Crew(search.resources)
    with closing(ProcessExecutor(crew, load_data(search), "tight")) as executor:
        assert executor.device  # it is there
        pid = crew.processes[0].pid
        most = psutil.Process(pid).memory_info().vms + 400 * 2**20
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        view = coordinate(repository, search, executor)
    assert {trial.state for trial in view.trials.values()} == {"complete"}
    tried = [speed.width for speed in repository.speeds() if speed.seconds == float("inf")]
    assert 16 in tried
    assert len(view.groups) > 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_with_too_little_memory_for_a_group_trains_its_parts(repository: Repository) -> None:
    """Others hold all but 3 GiB of it; the activations of 512 trials take 8."""
    search = load(
        {
            "name": "tight",
            "data": {"source": "digits"},
            "train": {"hidden_units": [4000], "batch_size": 1024},
            "space": SPACE,
            "stages": [{"name": "coarse", "trials": 512, "epochs": 1, "expand": 0}],
            "resources": {"width": 512, "workers": 1},
        }
    )
    free_bytes, _ = torch.cuda.mem_get_info()
    others = torch.empty(free_bytes - 3 * 2**30, dtype=torch.uint8, device="cuda")
    with closing(ProcessExecutor(Crew(search.resources), load_data(search), "tight")) as executor:
        view = coordinate(repository, search, executor)
    del others
    torch.cuda.empty_cache()
    assert {trial.state for trial in view.trials.values()} == {"complete"}
    tried = [speed.width for speed in repository.speeds() if speed.seconds == float("inf")]
    assert 512 in tried
    assert len(view.groups) > 1

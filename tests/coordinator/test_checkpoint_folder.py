"""A folder for checkpoints that is full or gone: the search stops with a sentence, and goes on."""

from __future__ import annotations

import resource
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from coordinated import PROVENANCE, coordinate, finished_table

from hpsearch.coordinator.events import Advanced, Event
from hpsearch.coordinator.loop import Coordinator
from hpsearch.errors import MayPass
from hpsearch.executors.crew import Crew
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.spec import load, load_data
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.repository import Repository

SPEC: dict[str, Any] = {
    "name": "full",
    "data": {"source": "digits"},
    "train": {"hidden_units": [8], "batch_size": 128},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "stages": [
        {"name": "coarse", "trials": 8, "epochs": 6, "expand": 0},
        {"name": "fine", "trials": 4, "epochs": 12, "continue": 2, "expand": 0},
    ],
    "resources": {"width": 4, "workers": 1, "checkpoint_every": 2},
}


class Disk:
    """The disk of a search's worker, which is full from the n-th report on until it is mended."""

    def __init__(self, executor: ProcessExecutor, crew: Crew, full_after: int) -> None:
        self.executor, self.crew, self.left = executor, crew, full_after

    def observe(self, event: Event) -> None:
        if isinstance(event, Advanced):
            self.left -= 1
            if self.left == 0:  # a file may have no more bytes: writing fails, as on a full disk
                resource.prlimit(self.crew.processes[0].pid, resource.RLIMIT_FSIZE, (0, 0))


def undisturbed(folder: Path) -> list[tuple[Any, ...]]:
    search = load(SPEC)
    repository = Repository(Database(f"sqlite:///{folder / 'undisturbed.db'}"))
    crew = Crew(search.resources)
    with closing(ProcessExecutor(crew, load_data(search), "full")) as executor:
        coordinate(repository, search, executor, folder / "undisturbed")
    return finished_table(repository, "full")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of others need Linux")
def test_a_disk_that_is_full_stops_the_search_and_nothing_is_lost(tmp_path: Path) -> None:
    search, folder = load(SPEC), tmp_path / "checkpoints"
    repository = Repository(Database(f"sqlite:///{tmp_path / 'search.db'}"))
    record = repository.create_search(search, PROVENANCE)
    stopped = 0
    for full_after in (3, 5, 4, 10**6):
        lease, crew = repository.acquire(record.id, Owner.current()), Crew(search.resources)
        with closing(ProcessExecutor(crew, load_data(search), "full")) as executor:
            disk = Disk(executor, crew, full_after)
            coordinator = Coordinator(repository, lease, record, executor, folder, disk.observe)
            try:
                coordinator.run()
            except MayPass as error:
                stopped += "a checkpoint could not be stored" in str(error)
        repository.release(lease, "stopped")
    assert stopped == 3
    assert finished_table(repository, "full") == undisturbed(tmp_path)
    trials = repository.load(record.id)[1]
    assert {trial.failure_kind for trial in trials} == {None}, "no trial is to blame"
    assert not list(folder.glob("*.tmp")), "nothing half-written is left"

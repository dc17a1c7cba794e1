"""What is told of a search while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from coordinated import a_search, coordinate

from hpsearch.analysis.frames import Frames
from hpsearch.cli.progress import Progress
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository


def test_the_best_is_that_of_the_summary_and_of_no_pruned_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(f"sqlite:///{tmp_path}/test.db")
    database.check_revision()
    repository = Repository(database)
    stages = [{"name": "only", "trials": 16, "epochs": 4, "expand": 0}]
    search = a_search(stages=stages, pruner={"name": "threshold", "upper": 0.55})
    rising = SimulatedExecutor(lambda member, epoch: {"val_accuracy": member.trial / 16})
    with Progress() as progress:
        view = coordinate(repository, search, rising, observer=progress.observe)
    pruned = [t.value for t in view.trials.values() if t.state == "pruned"]
    (best,) = Frames(repository).best(view.search.id, n=1)["value"]
    assert best < min(pruned)
    assert f"best {best:.4f}" in capsys.readouterr().err.splitlines()[-1]

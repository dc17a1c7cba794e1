"""What is told of a search while it runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from coordinated import a_search, coordinate
from stored_searches import begin

import hpsearch
from hpsearch.analysis.frames import Frames
from hpsearch.cli.progress import Progress
from hpsearch.coordinator.events import Troubled
from hpsearch.coordinator.view import SearchView
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
    assert f"best {best:.4g};" in capsys.readouterr().err.splitlines()[-1]


def test_the_best_of_repeated_trials_is_over_seeds_as_best_and_list_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = Repository(Database(f"sqlite:///{tmp_path}/test.db"))
    with Progress() as progress:
        coordinate(repository, a_search(), observer=progress.observe)
    mean = Frames(repository).best("simulated", n=1)["mean"][0]
    assert f"; best {mean:.4g} over seeds; " in capsys.readouterr().err.splitlines()[-1]
    assert Frames(repository).searches()["best"][0] == pytest.approx(mean)


@pytest.mark.parametrize(("epochs", "told"), [(1, "0.0025"), (4000, "10"), (180, "0.45")])
def test_slow_trials_and_small_losses_have_significant_digits(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    epochs: int,
    told: str,
) -> None:
    """Neither "0 epochs/s" nor "best 0.0000"."""
    monkeypatch.setattr(Progress, "_elapsed_s", lambda self: 400.0)
    monkeypatch.setattr("hpsearch.cli.progress.PLAIN_S", 0.0)
    repository = Repository(Database(f"sqlite:///{tmp_path}/test.db"))
    small = SimulatedExecutor(lambda member, epoch: {"val_loss": 1.234e-5})
    objective = {"metric": "val_loss", "mode": "min"}
    space = {"learning_rate": {"log_uniform": [1e-3, 1e-2]}}
    stages = [{"name": "only", "trials": 1, "epochs": 1, "expand": 0}]
    search = a_search(stages=stages, space=space, objective=objective)
    with Progress() as progress:
        progress._epochs, progress._started_s = epochs - 1, 0.0
        coordinate(repository, search, small, observer=progress.observe)
    assert f"; best 1.234e-05; {told} epochs/s; " in capsys.readouterr().err


def test_a_line_counts_its_stage_and_the_last_one_all_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.cli.progress.PLAIN_S", 0.0)
    database = Database(f"sqlite:///{tmp_path}/test.db")
    database.check_revision()
    halving = {"name": "successive_halving", "reduction_factor": 2}
    stages = [
        {"name": "coarse", "trials": 16, "epochs": 4, "expand": 0, "pruner": halving},
        {"name": "fine", "trials": 6, "epochs": 8, "continue": 2},
    ]
    rising = SimulatedExecutor(lambda member, epoch: {"val_accuracy": member.trial / 100})
    with Progress() as progress:
        view = coordinate(
            Repository(database), a_search(stages=stages), rising, observer=progress.observe
        )
    *lines, last = capsys.readouterr().err.splitlines()
    counted = {
        stage.name: Counter(trial.state for trial in view.of_stage(stage)) for stage in view.stages
    }
    coarse = [line for line in lines if line.startswith("coarse: ") and "rung" not in line]
    fine = [line for line in lines if line.startswith("fine: ")]
    ended = counted["coarse"]
    assert ended["pruned"] > 0 < ended["complete"]
    assert coarse[-1].startswith(
        f"coarse: {ended['complete']} complete, {ended['pruned']} pruned, 0 running; best "
    )
    assert fine[-1].startswith("fine: 6 complete, 0 running; best ")
    trained = sum(trial.epochs - trial.start_epoch for trial in view.trials.values())
    assert last.startswith(
        f"{ended['complete'] + 6} complete, {ended['pruned']} pruned; "
        f"{trained} of {16 * 4 + 6 * 8 - 2 * 4} epochs trained; best "
    )
    assert trained < 16 * 4 + 6 * 8 - 2 * 4


def test_what_is_waited_for_is_said_if_it_takes_long_and_not_once_it_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.cli.progress.WAIT_S", 60.0)
    with Progress() as progress:
        progress.wait("its data")
        progress.wait("Ray (local)")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("hpsearch.cli.progress.WAIT_S", 0.0)
    with Progress() as progress:
        progress.wait("its workers")
        assert progress._waiting is not None
        progress._waiting.join()
    assert capsys.readouterr().err == "waiting for its workers\n"


def test_a_search_tells_what_it_waits_for_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    waited: list[str] = []
    small = [f"stages={[{'name': 'only', 'trials': 5, 'epochs': 1}]}"]
    for _ in range(2):  # the second one is complete already, and waits for nothing
        hpsearch.run("digits", ray="none", overrides=small, on_wait=waited.append)
    assert waited == ["its data", "its workers", "its workers"]


def test_words_of_others_stay_within_their_line(
    sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    view = SearchView(begin(Database(sqlite_url)).search)
    with Progress() as progress:
        progress.observe(Troubled(view=view, message="worker 0: a\n\x1b[31mred"))
    assert capsys.readouterr().err == "worker 0: a\\n\\x1b[31mred\n"

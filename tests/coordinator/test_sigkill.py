"""The process of a real search is killed with SIGKILL at random moments; nothing may change."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from coordinated import finished_table
from killed_search import WIDTH, num_writes, prepared, write_search
from left_over import left_of

from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository

NUM_KILLS = 6  # on each database; many more in the slow suite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the spec and its data, in which all searches are run."""
    found = tmp_path_factory.mktemp("killed")
    write_search(found)
    return found


def _start(folder: Path, url: str, ray: str = "none") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hpsearch", "run", "spec.yaml", "--db", url, "--ray", ray]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HPSEARCH_DATABASE_URL": ""}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def _finish(folder: Path, url: str, ray: str = "none") -> None:
    assert _start(folder, url, ray).wait(300) == 0, (folder / "log").read_text()


def _kill_after_progress(process: subprocess.Popen[bytes], repository: Repository) -> bool:
    """Wait until it has stored something, and a random moment more; False if it ended before."""
    before = num_writes(repository)
    while process.poll() is None and num_writes(repository) <= before:
        time.sleep(0.1)
    time.sleep(random.uniform(0, 0.3))
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)  # worker processes are in groups of their own
    process.wait()
    return alive


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> list[tuple[object, ...]]:
    url = f"sqlite:///{folder / 'undisturbed.db'}"
    repository = prepared(url)
    _finish(folder, url)
    assert {(g.measures, g.width) for g in repository.groups(1)} == {(False, WIDTH)}
    assert max(Counter(trial.group for trial in repository.load(1)[1]).values()) > WIDTH
    states = {(trial.state, trial.stopped_early) for trial in repository.load(1)[1]}
    assert states == {
        *(("complete", False), ("complete", True)),
        *(("failed", False), ("pruned", False)),
    }
    return finished_table(repository, "killed")


def _killed_table(
    folder: Path, url: str, kills: int, ray: str = "none"
) -> list[tuple[object, ...]]:
    """The finished table of a search that was killed ``kills`` times on its way."""
    repository = prepared(url)
    hits = sum(_kill_after_progress(_start(folder, url, ray), repository) for _ in range(kills))
    _finish(folder, url, ray)
    table = finished_table(repository, "killed")
    repository.database.close()
    assert hits >= 0.8 * kills, "the search must be long enough to be killed this often"
    return table


def test_a_search_killed_many_times_has_the_table_of_one_that_was_not(
    folder: Path, undisturbed: list[tuple[object, ...]], database_url: str
) -> None:
    assert _killed_table(folder, database_url, NUM_KILLS) == undisturbed


@pytest.mark.parametrize("ray", ["local", "processes"])
def test_a_search_with_workers_that_was_killed_has_the_table_of_one_that_was_not(
    folder: Path, tmp_path: Path, ray: str
) -> None:
    tables = [
        _killed_table(folder, f"sqlite:///{tmp_path / name}.db", kills, ray)
        for name, kills in (("undisturbed", 0), ("killed", 1))
    ]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ray", ["none", "local", "processes"])
def test_a_search_that_is_asked_to_stop_says_how_to_go_on(
    folder: Path, sqlite_url: str, sent: signal.Signals, ray: str
) -> None:
    database = Database(sqlite_url)
    database.check_revision()
    repository = Repository(database)
    log_before = (folder / "log").read_text() if (folder / "log").exists() else ""
    process = _start(folder, sqlite_url, ray)
    while process.poll() is None and num_writes(repository) < 100:
        time.sleep(0.1)
    process.send_signal(sent)
    code = process.wait(60)
    said = (folder / "log").read_text().removeprefix(log_before)
    assert code == 130, said
    assert "was stopped" in said
    assert f"go on with `hpsearch resume 1 --db {database.url}`" in said
    assert "Traceback" not in said
    assert repository.find_search(1).state == "stopped"
    assert ray == "local" or left_of(process.pid) == []  # Ray ends in a session of its own
    database.close()


@pytest.mark.slow
def test_forty_kills_change_nothing(
    folder: Path, undisturbed: list[tuple[object, ...]], database_url: str
) -> None:
    assert _killed_table(folder, database_url, 40) == undisturbed

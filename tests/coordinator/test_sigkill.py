"""The process of a real search is killed with SIGKILL at random moments; nothing may change."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from coordinated import finished_table
from left_over import left_of
from training_cases import blobs

from hpsearch.storage import groups
from hpsearch.storage.database import Database
from hpsearch.storage.records import SpeedRecord
from hpsearch.storage.repository import Repository
from workers.training.device_name import device_name

NUM_KILLS = 10  # on each database; many more in the slow suite
SPEC = {
    "name": "killed",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [16]},
    "space": {
        "optimizer": {"choice": ["momentum", "adam"]},
        "learning_rate": {"log_uniform": [1e-4, 1e4]},  # the upper part of it diverges
        "batch_size": {"choice": [8, 16]},
        "patience": {"choice": [None, 10]},  # half of the trials may stop early
    },
    "stages": [
        {"name": "check"},
        {"name": "coarse", "trials": 40, "epochs": 24, "sampler": "qmc"},
        {
            **{"name": "fine", "trials": 24, "epochs": 60, "continue": 6, "sampler": "tpe"},
            **{"batch": 6, "pruner": {"name": "hyperband", "reduction_factor": 2}},
        },
        {"name": "confirm", "top": 2, "seeds": 3},
    ],
    "resources": {"checkpoint_every": 4},
}
WIDTH = 3  # the best one, as if it had been measured: what each run measures differs a little


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the spec and its data, in which all searches are run."""
    found = tmp_path_factory.mktemp("killed")
    data = blobs(num_train=320)
    np.savez(found / "blobs.npz", x=data.x_train, y=data.y_train)
    (found / "spec.yaml").write_text(yaml.safe_dump(SPEC))
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


def _num_writes(repository: Repository) -> int:
    """Rows that grow with every write of a search: epochs of all trials, and events."""
    try:
        record = repository.find_search("killed")
    except Exception:  # there is no search yet
        return 0
    _, trials = repository.load(record.id)
    return sum(trial.epochs for trial in trials) + len(repository.events(record.id))


def _kill_after_progress(process: subprocess.Popen[bytes], repository: Repository) -> bool:
    """Wait until it has stored something, and a random moment more; False if it ended before."""
    before = _num_writes(repository)
    while process.poll() is None and _num_writes(repository) <= before:
        time.sleep(0.1)
    time.sleep(random.uniform(0, 0.3))
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)  # worker processes are in groups of their own
    process.wait()
    return alive


def _prepared(url: str) -> Repository:
    """A database that knows the speeds of the search's groups; WIDTH is best."""
    database = Database(url)
    database.check_revision()
    cpu = device_name(torch.device("cpu")).rpartition(",")[0]
    devices = [f"{cpu}, 1 thread", f"{cpu}, 2 threads"]
    devices += [device_name(torch.device("cuda"))] if torch.cuda.is_available() else []
    speeds = [
        SpeedRecord(
            kind=f"mlp 16, batch {batch_size}, float32 on npz blobs.npz",
            device=device,
            width=width,
            seconds=1e-3 * (width + abs(width - WIDTH)),
            bytes=0,
        )
        for device in devices
        for batch_size in (8, 16)
        for width in (1, WIDTH, 9)
    ]
    with database.write() as connection:
        groups.add_speeds(connection, speeds, datetime.now(UTC))
    return Repository(database)


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> list[tuple[object, ...]]:
    url = f"sqlite:///{folder / 'undisturbed.db'}"
    repository = _prepared(url)
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
    repository = _prepared(url)
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
    while process.poll() is None and _num_writes(repository) < 100:
        time.sleep(0.1)
    process.send_signal(sent)
    code = process.wait(60)
    said = (folder / "log").read_text().removeprefix(log_before)
    assert code == 130, said
    assert "was stopped" in said
    assert "go on with `hpsearch resume 1`" in said
    assert "Traceback" not in said
    assert repository.find_search(1).state == "stopped"
    assert ray == "local" or left_of(process.pid) == []  # Ray ends in a session of its own
    database.close()


@pytest.mark.slow
def test_forty_kills_change_nothing(
    folder: Path, undisturbed: list[tuple[object, ...]], database_url: str
) -> None:
    assert _killed_table(folder, database_url, 40) == undisturbed

"""submit, watch, cancel, retry-failed, delete, export, dashboard, doctor: what they do."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from command_line import Hpsearch, say
from safetensors.numpy import load_file
from sqlalchemy import Engine, event, select, update
from training_cases import blobs

import hpsearch as package
from hpsearch.api import open_repository
from hpsearch.cli.main import cli
from hpsearch.coordinator.resources import checkpoint_folder
from hpsearch.settings import checkpoint_root, database_url
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.revisions import HEAD
from hpsearch.storage.tables import Base, SearchRow, TrialRow

SPEC = {
    "name": "small",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [8], "momentum": 0.5},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "stages": [{"name": "only", "trials": 4, "epochs": 2}],
}


@pytest.fixture
def hpsearch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Hpsearch:
    """Runs a command in a folder with a spec and its data."""
    data = blobs(num_train=120)
    np.savez(tmp_path / "blobs.npz", x=data.x_train, y=data.y_train)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPSEARCH_DATABASE_URL", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return partial(say, capfd)


@pytest.fixture
def searched(hpsearch: Hpsearch) -> Repository:
    """The database of a search that is complete."""
    cli.main(["run", "small.yaml", "--ray", "none"], standalone_mode=False)
    return open_repository()


# submit


def test_submit_prints_the_id_and_stores_the_search(hpsearch: Hpsearch) -> None:
    assert hpsearch("submit", "small.yaml") == (0, "1\n", "")
    assert hpsearch("submit", "small.yaml", "--priority", "3", "--set", "seed=5")[1] == "2\n"
    repository = open_repository()
    assert [search.state for search in repository.list_searches()] == ["submitted", "submitted"]
    assert repository.find_search(2).spec.seed == 5
    with repository.database.read() as connection:
        rows = connection.execute(select(SearchRow.priority, SearchRow.served)).all()
    assert rows == [(0, True), (3, True)]


def test_a_spec_with_a_mistake_is_refused_and_nothing_is_stored(hpsearch: Hpsearch) -> None:
    code, out, err = hpsearch("submit", "small.yaml", "--set", "stages.only.trials=0")
    assert (code, out) == (1, "")
    assert "stages[0].trials" in err
    assert not Path("hpsearch.db").exists()
    assert hpsearch("submit", "small.yaml", "--priority", "11")[0] == 2


def test_submit_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom hpsearch.cli.main import cli\n"
        f"arguments = ['submit', 'digits', '--db', 'sqlite:///{tmp_path}/x.db']\n"
        "cli.main(arguments, standalone_mode=False)\n"
        "heavy = {'torch', 'ray', 'pandas', 'optuna', 'numpy', 'scipy', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_search_whose_id_cannot_be_printed_is_submitted_and_told(hpsearch: Hpsearch) -> None:
    with Path("/dev/full").open("w") as full:
        submit = [sys.executable, "-m", "hpsearch", "submit", "small.yaml"]
        ended = subprocess.run(submit, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: the id of search small must be printed, but that fails (No space left on device); "
        "the search is submitted, its id is 1\n"
    )
    assert open_repository().find_search(1).state == "submitted"
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*submit[:3], "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: what hpsearch says must be written, but that fails (No ")


# resume --submit, cancel


def test_a_search_is_cancelled_and_given_to_the_service_again(hpsearch: Hpsearch) -> None:
    hpsearch("submit", "small.yaml")
    assert hpsearch("cancel", "small") == (0, "search small (id 1) is cancelled\n", "")
    code, _, err = hpsearch("cancel", "small")
    assert (code, err) == (1, "Error: search 1 is cancelled: there is nothing to cancel\n")
    assert hpsearch("resume", "small", "--submit") == (0, "1\n", "")
    assert open_repository().find_search(1).state == "submitted"


def test_a_search_that_runs_elsewhere_is_asked_to_end(hpsearch: Hpsearch) -> None:
    hpsearch("submit", "small.yaml")
    assert Queue(open_repository().database).claim(Owner.current()) is not None
    said = hpsearch("cancel", "small")
    assert said == (0, "search small (id 1) will end within seconds\n", "")


def test_a_search_that_runs_here_ends_when_it_is_cancelled(hpsearch: Hpsearch) -> None:
    long = ["--set", "stages.only.epochs=100000", "--ray", "none"]
    with subprocess.Popen(
        [sys.executable, "-m", "hpsearch", "run", "small.yaml", *long],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not _has_epochs():
            assert process.poll() is None
            time.sleep(0.2)
        assert hpsearch("cancel", "small")[0] == 0
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
    assert "was cancelled, and all that was reported is stored" in err
    assert "Traceback" not in err
    repository = open_repository()
    assert repository.find_search(1).state == "cancelled"
    assert {trial.state for trial in repository.load(1)[1]} == {"waiting"}


def _has_epochs() -> bool:
    if not Path("hpsearch.db").exists():
        return False
    return any(trial.epochs for trial in open_repository().load(1)[1])


# watch


def test_watch_prints_what_changes_until_the_end(hpsearch: Hpsearch) -> None:
    hpsearch("submit", "small.yaml")
    queue = Queue(open_repository().database)

    def go_on() -> None:
        time.sleep(1.0)
        claim = queue.claim(Owner.current())
        assert claim is not None
        time.sleep(1.0)
        Repository(queue.database).release(claim.lease, "failed", "its data are gone")

    thread = threading.Thread(target=go_on)
    thread.start()
    code, out, _ = hpsearch("watch", "small", "--every", "0.1")
    thread.join()
    assert code == 1
    assert out.splitlines() == [
        "small (id 1): submitted",
        "small (id 1): running",
        "small (id 1): failed (its data are gone)",
    ]


def test_watch_of_a_complete_search_says_what_came_of_it(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    best = package.connect().best("small", n=1)["value"][0]
    code, out, _ = hpsearch("watch", "small")
    assert code == 0
    assert out == f"small (id 1): complete; only: 4 complete of 4, best {best:.4f}\n"


# retry-failed, delete


def test_failed_trials_are_trained_again(hpsearch: Hpsearch, searched: Repository) -> None:
    before = package.connect().trials("small")
    with searched.database.write() as connection:
        failed = {
            **{"state": "failed", "failure_message": "RuntimeError: x", "epochs": 1},
            **{"checkpoint_file": None, "checkpoint_row": None, "checkpoint_epoch": 0},
        }
        for number, kind in ((1, "error"), (2, "diverged")):
            values = {**failed, "failure_kind": kind}
            connection.execute(update(TrialRow).where(TrialRow.number == number).values(**values))
    code, out, _ = hpsearch("retry-failed", "small")
    assert code == 0
    assert out == (
        "1 trials of search small (id 1) wait again: train them with `hpsearch resume 1`, or add "
        "--submit and leave it to the service\n"
    )
    assert searched.find_search(1).state == "stopped"
    assert hpsearch("resume", "small", "--ray", "none")[0] == 0
    trials = searched.load(1)[1]
    assert [trial.state for trial in trials] == ["complete", "complete", "failed", "complete"]
    assert trials[1].value == before["value"][before["number"] == 1].item()
    assert "has no failed trial to try again" in hpsearch("retry-failed", "small")[1]


def test_delete_asks_and_leaves_nothing(
    hpsearch: Hpsearch, searched: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    hpsearch("submit", "digits")
    folder = checkpoint_folder(checkpoint_root(database_url()), searched.find_search(1))
    assert list(folder.iterdir())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", _abort)
    assert hpsearch("delete", "small")[0] == 130
    assert searched.find_search(1).state == "complete"
    code, out, _ = hpsearch("delete", "small", "--yes")
    assert (code, out) == (0, "deleted search small (id 1, complete) with all its results\n")
    assert not folder.exists()
    assert [search.name for search in searched.list_searches()] == ["digits"]
    with searched.database.read() as connection:
        for name in ("trials", "stages", "metrics", "events", "diagnoses", "groups"):
            table = Base.metadata.tables[name]
            assert connection.execute(select(table)).all() == [], name


def _abort(text: str, abort: bool) -> bool:
    assert "Delete search small (id 1, complete) with all its results and checkpoints?" in text
    raise click.Abort


def test_delete_needs_a_terminal_to_ask_at(hpsearch: Hpsearch) -> None:
    hpsearch("submit", "small.yaml")
    code, _, err = hpsearch("delete", "small")
    assert code == 2
    assert "delete asks first, and there is no terminal to ask at: give --yes" in err
    assert open_repository().find_search(1).state == "submitted"


def test_a_search_that_runs_is_not_deleted(hpsearch: Hpsearch) -> None:
    hpsearch("submit", "small.yaml")
    assert Queue(open_repository().database).claim(Owner.current()) is not None
    code, _, err = hpsearch("delete", "small", "--yes")
    assert code == 1
    assert "is being carried out by process" in err
    assert "end it with `hpsearch cancel 1` first" in err


# export


def test_export_writes_the_best_network_with_its_configuration(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    best = int(package.connect().best("small", n=1)["number"][0])
    code, out, _ = hpsearch("export", "small", "-o", "best")
    assert (code, out) == (0, f"number {best} of small is in best\n")
    tensors, expected = load_file("best/model.safetensors"), package.weights("small", best)
    assert tensors.keys() == expected.keys()
    assert all(np.array_equal(tensors[name], expected[name]) for name in expected)
    written = yaml.safe_load(Path("best/model.yaml").read_text())
    trial = searched.find_trial(1, best)
    assert trial is not None
    assert written["train"]["learning_rate"] == trial.params["learning_rate"]
    assert written["train"]["momentum"] == 0.5
    assert written["trial"]["number"] == best
    assert written["trial"]["val_accuracy"] == trial.value
    assert written["data"]["source"] == "npz"


def test_export_refuses_what_it_cannot(hpsearch: Hpsearch, searched: Repository) -> None:
    assert "has no number 99" in hpsearch("export", "small", "--trial", "99", "-o", "x")[2]
    Path("file").write_text("")
    code, _, err = hpsearch("export", "small", "-o", "file/below")
    assert code == 1
    assert "must be a folder that can be written" in err
    hpsearch("submit", "digits")
    assert "must have a complete trial" in hpsearch("export", "digits", "-o", "x")[2]


# dashboard, doctor, serve


@pytest.mark.parametrize("command", [("dashboard",), ("doctor",)])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_said_at_once_in_one_line(
    hpsearch: Hpsearch, command: tuple[str, ...], address: str
) -> None:
    began_s = time.monotonic()
    code, out, err = hpsearch(*command, "--ray", address)
    assert code == 1
    assert (out + err).count(f"the Ray cluster at {address} does not answer (") == 1
    assert "Connection refused" in out + err
    assert len((out + err).splitlines()) == (1 if command == ("dashboard",) else 3)
    assert time.monotonic() - began_s < 15  # Ray alone takes 20 s and more


@pytest.mark.parametrize("command", ["dashboard", "doctor", "serve"])
@pytest.mark.parametrize(
    "address", ["foo bar", "", "none", "local", "host", "host:0", "host:99999", "host:6379:1"]
)
def test_an_address_that_cannot_be_is_refused_at_once(
    hpsearch: Hpsearch, command: str, address: str
) -> None:
    code, out, err = hpsearch(command, "--ray", address)
    assert code == 1
    assert "must be the HOST:PORT of a Ray cluster" in out + err
    assert f"but got {address!r}" in out + err


def test_the_doctor_finds_all_well_without_a_cluster(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    code, out, _ = hpsearch("doctor")
    assert code == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ok   database", "ok   checkpoints"]
    assert lines[0].endswith(f"has schema {HEAD}")


def test_the_doctor_makes_nothing(hpsearch: Hpsearch, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, _ = hpsearch("doctor")
    assert code == 0
    assert "there is none at sqlite:///hpsearch.db yet: the first `hpsearch run` or" in out
    assert "hpsearch-checkpoints is made when it is needed" in out
    assert sorted(tmp_path.iterdir()) == before
    Path("hpsearch.db").touch()
    assert "has no tables yet" in hpsearch("doctor")[1]
    assert Path("hpsearch.db").stat().st_size == 0


def test_the_doctor_makes_no_tables(hpsearch: Hpsearch, postgresql_url: str) -> None:
    assert "has no tables yet" in hpsearch("doctor", "--db", postgresql_url)[1]
    assert Database(postgresql_url).is_empty()


def test_the_doctor_finds_what_may_only_be_read(
    hpsearch: Hpsearch, searched: Repository, postgresql_url: str
) -> None:
    @event.listens_for(Engine, "connect")
    def only_read(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA query_only = ON")

    try:
        code, out, _ = hpsearch("doctor")
    finally:
        event.remove(Engine, "connect", only_read)
    assert code == 1
    assert "MEND database: the database sqlite:///" in out
    assert "attempt to write a readonly database" in out
    Database(postgresql_url).upgrade()
    standby = f"{postgresql_url}&options=-cdefault_transaction_read_only%3Don"
    code, out, _ = hpsearch("doctor", "--db", standby)
    assert code == 1
    assert "in a read-only transaction" in out


def test_the_doctor_finds_a_damaged_file(hpsearch: Hpsearch, searched: Repository) -> None:
    searched.database.close()
    file = Path("hpsearch.db")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    code, out, _ = hpsearch("doctor")
    assert code == 1
    assert "MEND database: the " in out
    assert len(out.splitlines()) == 2


def test_the_doctor_says_how_to_mend(hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPSEARCH_CHECKPOINTS", "/proc/nothing")
    monkeypatch.setenv("HPSEARCH_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/name")
    code, out, _ = hpsearch("doctor")
    assert code == 1
    assert "MEND database: the database postgresql+psycopg://me:***@127.0.0.1:9/name" in out
    assert "MEND checkpoints: checkpoints must be written to '/proc/nothing'" in out
    assert "secret" not in out


def test_serve_refuses_a_database_that_it_cannot_use(hpsearch: Hpsearch) -> None:
    code, _, err = hpsearch("serve", "--db", "sqlite:////nowhere/x.db", "--ray", "auto")
    assert code == 1
    assert "the folder of a SQLite database must exist" in err

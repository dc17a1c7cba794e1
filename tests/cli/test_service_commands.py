"""submit, watch, cancel, retry-failed, delete, export: what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from command_line import Hpsearch
from safetensors.numpy import load_file
from sqlalchemy import select, update

import hpsearch as package
from hpsearch.api import open_repository
from hpsearch.coordinator.resources import checkpoint_folder
from hpsearch.settings import checkpoint_root, database_url
from hpsearch.storage.leases import Owner
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import Base, SearchRow, TrialRow

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


def test_a_search_that_waits_says_since_when_and_for_what(hpsearch: Hpsearch) -> None:
    hpsearch("submit", "small.yaml", "--priority", "3")
    code, out, _ = hpsearch("status", "small")
    since = f"{open_repository().find_search(1).created_at:%Y-%m-%d %H:%M:%S} UTC"
    assert (code, out) == (
        0,
        f"small (id 1) waits for the service since {since}, with priority 3: `hpsearch serve` "
        "takes it up\n",
    )
    hpsearch("cancel", "small")
    assert "small (id 1) is cancelled" in hpsearch("status", "small")[1]
    hpsearch("resume", "small", "--submit")
    (*_, again) = open_repository().events(1)
    assert f"since {again.created_at:%Y-%m-%d %H:%M:%S} UTC" in hpsearch("status", "small")[1]


@pytest.mark.parametrize("command", [("run", "small.yaml"), ("resume", "1")])
def test_what_was_submitted_is_not_taken_from_the_service(
    hpsearch: Hpsearch, command: tuple[str, ...]
) -> None:
    hpsearch("submit", "small.yaml")
    code, _, err = hpsearch(*command, "--ray", "none")
    assert code == 1
    assert "search small (id 1) was submitted to the service, which it is left to" in err
    assert "`hpsearch watch 1`" in err
    assert "`hpsearch cancel 1` first" in err
    assert open_repository().find_search(1).state == "submitted"
    hpsearch("cancel", "1")
    assert hpsearch(*command, "--ray", "none")[0] == 0


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


def test_watch_that_is_interrupted_does_not_say_that_the_search_is_stopped(
    hpsearch: Hpsearch,
) -> None:
    hpsearch("submit", "small.yaml")
    command = [sys.executable, "-m", "hpsearch", "watch", "small"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "small (id 1): submitted\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "no longer watched; the search is left as it is\n")
    assert open_repository().find_search(1).state == "submitted"


def test_watch_of_a_complete_search_says_what_came_of_it(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    best = package.connect().best("small", n=1)["value"][0]
    code, out, _ = hpsearch("watch", "small")
    assert code == 0
    assert out == f"small (id 1): complete; only: 4 complete of 4, 8 epochs, best {best:.4g}\n"


def test_watch_tells_waiting_for_a_worker_from_training(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    with searched.database.write() as connection:
        connection.execute(update(TrialRow).values(state="waiting", epochs=0, value=None))
    assert "; only: 4 waiting for a worker of 4, 0 epochs\n" in hpsearch("watch", "small")[1]
    with searched.database.write() as connection:
        connection.execute(update(TrialRow).where(TrialRow.number < 3).values(state="running"))
        connection.execute(update(TrialRow).where(TrialRow.number == 0).values(epochs=1))
    assert "; only: 3 running of 4, 1 epoch\n" in hpsearch("watch", "small")[1]


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
    hpsearch("cancel", "small")
    assert (
        "it is cancelled already: wait until `hpsearch status 1` shows it so"
        in (hpsearch("delete", "small", "--yes")[2])
    )


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


def test_what_is_exported_may_be_read_by_whom_the_umask_lets(
    hpsearch: Hpsearch, searched: Repository
) -> None:
    before = os.umask(0o027)
    try:
        hpsearch("export", "small", "-o", "best")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in Path("best").iterdir()} == {0o640}


def test_export_says_where_to_look_for_checkpoints_of_another_machine(
    hpsearch: Hpsearch, searched: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_CHECKPOINTS", "/nowhere/at/all")
    code, _, err = hpsearch("export", "small", "-o", "x")
    assert code == 1
    assert "is not on this machine: HPSEARCH_CHECKPOINTS must say where" in err


def test_a_job_that_is_told_no_database_takes_none(
    hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HPSEARCH_DATABASE_URL", raising=False)
    code, _, err = hpsearch("carry-out", "1", "1")
    assert code == 1
    assert "a job must be told its database, but its machine has no HPSEARCH_DATABASE_URL" in err
    assert not Path("hpsearch.db").exists()


def test_status_says_why_a_search_failed(hpsearch: Hpsearch, searched: Repository) -> None:
    with searched.database.write() as connection:
        connection.execute(update(SearchRow).values(state="failed", message="its data are gone"))
    assert "small (id 1): failed (its data are gone)" in hpsearch("status", "small")[1]


def test_export_refuses_what_it_cannot(hpsearch: Hpsearch, searched: Repository) -> None:
    assert "has no number 99" in hpsearch("export", "small", "--trial", "99", "-o", "x")[2]
    Path("file").write_text("")
    code, _, err = hpsearch("export", "small", "-o", "file/below")
    assert code == 1
    assert "must be a folder that can be written" in err
    assert "has no number -1" in hpsearch("export", "small", "--trial", "-1", "-o", "x")[2]
    assert (
        f"has no number {10**30}"
        in hpsearch("export", "small", "--trial", str(10**30), "-o", "x")[2]
    )
    said = hpsearch("export", "small", "-o", "")
    assert said == (
        1,
        "",
        "Error: --output must be the path of a folder, but got '': give one, or . for this one\n",
    )
    hpsearch("submit", "digits")
    assert "must have a complete trial" in hpsearch("export", "digits", "-o", "x")[2]

"""The command line as a person meets it: what it prints, its exit codes, its one-line errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import Hpsearch
from training_cases import blobs

from hpsearch.cli.main import cli
from hpsearch.storage.revisions import HEAD

SPEC = {
    "name": "small",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [8]},
    "space": {
        "optimizer": {"choice": ["momentum", "adam"]},
        "learning_rate": {"log_uniform": [1e-3, 1e-1]},
    },
    "stages": [
        {"name": "coarse", "trials": 12, "epochs": 2},
        {"name": "fine", "trials": 8, "epochs": 4, "continue": 2},
        {"name": "confirm", "top": 1, "seeds": 2},
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, its data, and a database in which it has been searched."""
    found = tmp_path_factory.mktemp("cli")
    data = blobs(num_train=120)
    np.savez(found / "blobs.npz", x=data.x_train, y=data.y_train)
    (found / "small.yaml").write_text(yaml.safe_dump(SPEC))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        patch.delenv("HPSEARCH_DATABASE_URL", raising=False)
        cli.main(["run", "small.yaml", "--ray", "none"], standalone_mode=False)
    return found


def _commands(group: click.Group, path: str = "") -> list[tuple[str, click.Command]]:
    found = []
    for name, command in group.commands.items():
        found.append((f"{path}{name}", command))
        if isinstance(command, click.Group):
            found += _commands(command, f"{path}{name} ")
    return found


def test_help_loads_no_heavy_package() -> None:
    script = (
        "import sys\n"
        "from hpsearch.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'pandas', 'optuna', 'sqlalchemy', 'scipy', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_every_command_and_option_has_help() -> None:
    for name, command in _commands(cli):
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"


def test_run_ends_with_the_best_trials_the_reasons_and_how_to_read_on(hpsearch: Hpsearch) -> None:
    code, out, err = hpsearch("run", "small.yaml", "--ray", "none")
    assert code == 0
    assert "small: the best trials" in out
    assert "No range was changed." in out  # 12 trials are too few to judge by
    assert "Best over seeds: number" in out
    assert "with 2 other seeds" in out
    assert "Database: sqlite:///hpsearch.db, search 1" in out
    assert "hpsearch.connect().trials('small')" in out
    assert "complete already" in err


def test_a_complete_search_is_searched_again_only_if_told_to(hpsearch: Hpsearch) -> None:
    hpsearch("run", "small.yaml", "--ray", "none")
    before = len(json.loads(hpsearch("list", "--format", "json")[1]))
    code, _, err = hpsearch("run", "small.yaml", "--ray", "none", "--new")
    assert code == 0
    assert "search small (id" in err
    assert len(json.loads(hpsearch("list", "--format", "json")[1])) == before + 1


def test_run_as_json_is_one_document(hpsearch: Hpsearch) -> None:
    code, out, _ = hpsearch("run", "small.yaml", "--ray", "none", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["name"] == "small"
    assert document["best"][0]["value"] >= document["best"][-1]["value"]


@pytest.mark.parametrize(
    "command", ["trials", "best", "curves", "stages", "status", "importance", "diagnose"]
)
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_tables_come_in_every_form(hpsearch: Hpsearch, command: str, form: str) -> None:
    code, out, err = hpsearch(command, "small", "--format", form)
    assert (code, err) == (0, "")
    if form == "json":
        rows = json.loads(out)
        assert rows or command == "diagnose"
    elif form == "csv":
        assert len(pd.read_csv(StringIO(out)).columns) > 2
    else:
        assert out.strip()


def test_a_table_of_trials_repeats_no_choice_and_says_once_that_all_are_complete(
    hpsearch: Hpsearch,
) -> None:
    _, best, _ = hpsearch("best", "small")
    assert "optimizer=" not in best
    assert "complete" not in best
    assert {"optimizer", "learning_rate", "value"} <= set(best.split())


@pytest.mark.parametrize("width", [60, 100])
def test_a_narrow_screen_has_every_range_choice_and_reason(
    hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, table, _ = hpsearch("stages", "small")
    frame = pd.read_csv(StringIO(hpsearch("stages", "small", "--format", "csv")[1]))
    words = " ".join(table.split())
    assert max(map(len, table.splitlines())) <= width
    for reason in frame["reason"].dropna():
        assert " ".join(reason.split()) in words
    for low in frame["low"].dropna():
        assert f"{low:.4g}" in words


def test_a_summary_on_a_narrow_screen_says_where_all_columns_are(
    hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    words = " ".join(hpsearch("run", "small.yaml", "--ray", "none")[1].split())
    assert re.search(r"columns? more with `hpsearch best \d+ --format csv`: ", words)


def test_csv_has_all_trials_with_a_column_a_parameter(hpsearch: Hpsearch) -> None:
    _, out, _ = hpsearch("trials", "small", "--format", "csv")
    frame = pd.read_csv(StringIO(out))
    assert len(frame) >= 12 + 8 + 2
    assert {"learning_rate", "optimizer", "value", "state"} <= set(frame.columns)


def test_best_takes_a_number(hpsearch: Hpsearch) -> None:
    _, out, _ = hpsearch("best", "small", "-n", "3", "--format", "json")
    assert len(json.loads(out)) == 3


def test_preview_runs_and_stores_nothing(hpsearch: Hpsearch, folder: Path) -> None:
    code, out, _ = hpsearch("preview", "small.yaml", "--set", "name=previewed")
    assert code == 0
    assert "coarse" in out
    assert "learning_rate" in out
    assert "previewed" not in hpsearch("list")[1]


def test_preview_shows_what_prunes_each_stage_and_at_which_epochs(hpsearch: Hpsearch) -> None:
    quarter = "stages.fine.pruner={name: percentile, percentile: 25}"
    show = ("preview", "digits_pruned", "--set", quarter, "--format")
    coarse, fine, confirm = json.loads(hpsearch(*show, "json")[1])
    assert (coarse["pruner"], coarse["rungs"]) == ("hyperband", [1, 3, 9])
    assert (fine["pruner"], fine["rungs"]) == ("percentile", [1, 6, 12, 18, 24])
    assert (confirm["pruner"], confirm["rungs"]) == (None, None)
    out = hpsearch(*show, "table")[1]
    assert "[1, 6, 12, 18, 24]" in out
    assert "615 trials, at most 12915 epochs of single trials" in out


def test_preview_says_nothing_of_pruners_where_there_are_none(hpsearch: Hpsearch) -> None:
    _, out, _ = hpsearch("preview", "digits_pruned", "--set", "pruner=none")
    assert "rungs" not in out
    assert "615 trials, 12915 epochs of single trials" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "nosuch"), 1, ["nosuch"]),
        (("run", "."), 1, ["is a folder and no file"]),
        (("run", "/dev/null"), 1, ["is a device or a pipe and no file"]),
        (("run", "mnist_mlp"), 1, ["data/mnist", "--set data.path=PATH"]),
        (("best", "\udcff"), 2, ["must be text in UTF-8", r"'\udcff'"]),
        (("best", str(10**30)), 1, ["there is no search"]),
        (("diagnose", "small", "--trial", str(10**30)), 1, ["0 to "]),
        (("carry-out", "1", str(2**63)), 2, ["is not in the range"]),
        (("carry-out", str(2**31), "1"), 2, ["is not in the range"]),
        (
            ("run", "small.yaml", "--set", "space.learning_rat={uniform: [0, 1]}"),
            1,
            ["learning_rate"],
        ),
        (("run", "small.yaml", "--set", "stages.coarse.trials=0"), 1, ["trials", "got 0"]),
        (("run", "small.yaml", "--set", "data.path=gone.npz"), 1, ["data.path", "gone.npz"]),
        (("run", "small.yaml", "--db", "mysql://u:secret@h/d"), 1, ["SQLite or PostgreSQL"]),
        (("run", "small.yaml", "--db", "sqlite:////no/such/folder/x.db"), 1, ["/no/such/folder"]),
        (("best", "smal"), 1, ["did you mean 'small'"]),
        (("resume", "17"), 1, ["17"]),
        (("best", "small", "-n", "-1"), 2, ["-n"]),
        (("nosuch",), 2, ["nosuch"]),
        (("run",), 2, ["SPEC"]),
        (("trials", "small", "--format", "xml"), 2, ["xml"]),
    ],
)
def test_an_error_is_said_on_stderr_without_traceback(
    hpsearch: Hpsearch, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    found, out, err = hpsearch(*arguments)
    assert found == code
    assert out == ""
    assert "Traceback" not in err
    assert "secret" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize("command", [("list",), ("run", "digits", "--ray", "none"), ("doctor",)])
def test_a_working_folder_that_was_deleted_is_told(
    hpsearch: Hpsearch, folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, out, err = hpsearch(*command)
    monkeypatch.chdir(folder)
    assert (code, out) == (1, "")
    assert err.startswith("Error: the working folder must be there, but it was deleted or")
    assert len(err.splitlines()) == 1


def test_a_path_that_is_too_long_is_told(hpsearch: Hpsearch) -> None:
    code, _, err = hpsearch("list", "--db", f"sqlite:///{'a' * 300}.db")
    assert code == 1
    assert "File name too long" in err
    assert "unexpected" not in err


def test_a_refused_spec_writes_nothing(hpsearch: Hpsearch, folder: Path) -> None:
    code, _, _ = hpsearch("run", "small.yaml", "--set", "seed=-1", "--db", "sqlite:///none.db")
    assert code == 1
    code, _, _ = hpsearch(
        "run", "small.yaml", "--set", "data.path=gone", "--db", "sqlite:///none.db"
    )
    assert code == 1
    assert not (folder / "none.db").exists()


def test_all_mistakes_of_a_spec_are_told_at_once(hpsearch: Hpsearch) -> None:
    _, _, err = hpsearch(
        *("run", "small.yaml", "--set", "stages.coarse.trials=0", "--set", "objective.mode=up"),
        *("--set", "train.droput=0.5"),
    )
    assert len(err.strip().splitlines()) == 3
    assert all(line.startswith("Error: ") for line in err.strip().splitlines())


def test_debug_shows_the_traceback(hpsearch: Hpsearch) -> None:
    _, _, err = hpsearch("--debug", "best", "nosuch")
    assert "Traceback" in err


def test_an_upgraded_database_tells_its_revision(hpsearch: Hpsearch) -> None:
    assert hpsearch("db", "upgrade")[1].strip().endswith(f"is at revision {HEAD}")
    assert hpsearch("db", "current")[1].strip() == HEAD


def test_every_packaged_space_can_be_previewed(hpsearch: Hpsearch) -> None:
    from hpsearch.spec.document import packaged

    assert {"digits", "mnist_mlp", "cifar10_two_layer"} <= set(packaged())
    for name in packaged():
        code, _, err = hpsearch("preview", name)
        assert (code, err) == (0, "")

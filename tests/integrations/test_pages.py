"""docs/integrations.md and examples/: what stands there runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Hpsearch
from stored_searches import a_report, begin

from hpsearch import connect
from hpsearch.storage.database import Database

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def ran(*arguments: str, folder: Path) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_pages_python_runs_and_its_study_is_a_prior(hpsearch: Hpsearch, tmp_path: Path) -> None:
    writer = begin(Database(f"sqlite:///{tmp_path / 'hpsearch.db'}"))  # a search called digits
    ends = a_report(1, dict.fromkeys(writer.ids, 0.5), "complete")
    writer.repository.commit_report(writer.lease, ends)
    said = ran("-c", "\n".join(blocks("python")), folder=tmp_path)
    assert "learning_rate (adam): " in said
    assert "narrowed to" in said
    (command,) = re.findall(r"^hpsearch (import --optuna .*)$", PAGE, flags=re.MULTILINE)
    assert hpsearch(*command.split())[0] == 0
    (spec,) = blocks("yaml")
    (tmp_path / "spec.yaml").write_text(spec)
    code, _, err = hpsearch("run", "spec.yaml", "--ray", "none")
    assert code == 0, err
    (reason, *_) = (
        connect().stages("after-the-study").query("parameter == 'learning_rate'")["reason"]
    )
    assert "by the prior search earlier, learning_rate" in reason
    code, _, err = hpsearch("export", "after-the-study", "--optuna", "sqlite:///studies.db")
    assert code == 0, err


def test_the_pages_options_are_those_of_the_commands() -> None:
    (exported,) = re.findall(r"^hpsearch (export .*?)  ", PAGE, flags=re.MULTILINE)
    assert exported.split() == ["export", "digits", "--optuna", "sqlite:///studies.db"]


@pytest.mark.parametrize("name", ["optuna_study", "ray_tuner"])
def test_an_example_is_short_and_finds_good_rates(name: str, tmp_path: Path) -> None:
    example = ROOT / "examples" / f"{name}.py"
    assert len(example.read_text().splitlines()) < 60
    said = ran(str(example), folder=tmp_path)
    if name == "optuna_study":
        (best,) = re.findall(r"best of 48: (\S+) with", said)
        assert float(best) > 0.9
        return
    db = connect(f"sqlite:///{tmp_path / 'hpsearch.db'}")
    trials = db.trials("tuned")
    assert len(trials) == 20
    assert set(trials["state"]) == {"complete", "pruned"}
    best = db.best("tuned", n=1)
    assert 1e-4 < best["rate"][0] < 1e-2
    width = {
        part: trials.query(f"number {part} 12")["rate"].agg(["min", "max"]) for part in ("<", ">=")
    }
    assert width[">="]["max"] / width[">="]["min"] < width["<"]["max"] / width["<"]["min"]

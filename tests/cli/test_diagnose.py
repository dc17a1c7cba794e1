"""What a person is told at the end of a search, and by ``hpsearch diagnose``."""

from __future__ import annotations

import json
import re
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import say
from training_cases import blobs

import hpsearch as package

SPEC = {
    "name": "rates",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [16], "optimizer": "sgd"},
    "space": {"learning_rate": {"log_uniform": [1e-6, 1e4]}},
    "stages": [{"name": "only", "trials": 20, "epochs": 6, "sampler": "qmc", "expand": 0}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which rates far too low and far too high were searched; what was printed."""
    found = tmp_path_factory.mktemp("diagnose")
    data = blobs(num_train=240)
    np.savez(found / "blobs.npz", x=data.x_train, y=data.y_train)
    (found / "rates.yaml").write_text(yaml.safe_dump(SPEC))
    return found


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HPSEARCH_DATABASE_URL", raising=False)


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str]) -> str:
    """What ``hpsearch run`` prints; the second time it only reads."""
    code, out, _ = say(capfd, "run", "rates.yaml", "--ray", "none")
    assert code == 0
    return out


def stored() -> pd.DataFrame:
    return package.connect().diagnoses("rates")


def test_run_ends_with_how_many_trials_have_what(printed: str) -> None:
    counted = Counter(stored().dropna(subset="trial")["kind"])
    assert counted["rate_too_high"] >= 3
    assert counted["rate_too_low"] >= 3
    (line,) = re.findall(
        r"^Of 20 trials, those that are complete or failed as diverged: .*$",
        printed,
        flags=re.MULTILINE,
    )
    for kind, n in counted.items():
        assert f"{kind.replace('_', ' ')}: {n}" in line


def test_run_tells_the_findings_of_the_best_trial_and_of_no_other(printed: str) -> None:
    best = package.connect().best("rates", n=1)
    found = stored()
    mine = found[found["trial"] == best["trial"].iloc[0]]
    number = best["number"].iloc[0]
    told = re.findall(r"^Number (\d+): ", printed, flags=re.MULTILINE)
    assert told == [str(number)] * len(mine)
    assert len(printed.splitlines()) < 40


def test_run_as_json_has_the_counts(printed: str, capfd: pytest.CaptureFixture[str]) -> None:
    _, out, _ = say(capfd, "run", "rates.yaml", "--ray", "none", "--json")
    document = json.loads(out)
    assert document["findings"] == dict(Counter(stored().dropna(subset="trial")["kind"]))
    assert len(document["warnings"]) == stored()["trial"].isna().sum()


def test_diagnose_has_a_line_a_kind_and_every_finding_as_csv(
    printed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, table, _ = say(capfd, "diagnose", "rates")
    assert re.search(r"rate_too_high\s+\d+ of 20\s+\d+", table)
    _, text, _ = say(capfd, "diagnose", "rates", "--format", "csv")
    frame = pd.read_csv(StringIO(text))
    assert len(frame) == len(stored())
    assert {"number", "stage", "kind", "message", "evidence"} == set(frame.columns)


def test_diagnose_tells_of_one_trial(printed: str, capfd: pytest.CaptureFixture[str]) -> None:
    trials = package.connect().trials("rates")
    lowest = int(trials.loc[trials["learning_rate"].idxmin(), "number"])
    code, out, _ = say(capfd, "diagnose", "rates", "--trial", str(lowest), "--format", "json")
    (found,) = json.loads(out)
    assert code == 0
    assert (found["number"], found["kind"]) == (lowest, "rate_too_low")
    code, out, err = say(capfd, "diagnose", "rates", "--trial", "20")
    assert code == 1
    assert "0 to 19, but got 20" in err


def test_a_search_with_nothing_to_say_ends_and_is_diagnosed_all_the_same(
    folder: Path, printed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    space = {"learning_rate": {"log_uniform": [0.01, 0.02]}}
    stages = [{"name": "only", "trials": 1, "epochs": 2, "expand": 0}]
    spec = {**SPEC, "name": "well", "space": space, "stages": stages}
    (folder / "well.yaml").write_text(yaml.safe_dump(spec))
    run = ("run", "well.yaml", "--ray", "none")
    code, out, _ = say(capfd, *run)
    assert code == 0
    assert "Warning" not in out
    code, out, _ = say(capfd, *run, "--json")
    assert code == 0
    assert (json.loads(out)["warnings"], json.loads(out)["findings"]) == ([], {})
    assert package.connect().diagnoses("well").empty
    code, out, _ = say(capfd, "diagnose", "well")
    assert (code, out) == (
        0,
        "well (id 2): complete, and no rule fired; 1 of 1 trials were looked at, those that are "
        "complete or diverged\n",
    )
    code, out, _ = say(capfd, "diagnose", "well", "--format", "json")
    assert (code, json.loads(out)) == (0, [])


def test_the_classes_of_the_data_are_noted_for_what_guessing_reaches(printed: str) -> None:
    repository = package.connect().repository
    noted = [e.data for e in repository.events(1) if e.kind == "data_read"]
    assert noted[0]["classes"] == 4


def test_what_to_do_better_next_time_is_a_note_beside_the_warnings(
    folder: Path, printed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stages = [{"name": "only", "trials": 12, "epochs": 1, "sampler": "random"}]
    space = {"learning_rate": {"choice": [0.001, 0.01, 0.1]}}
    spec = {**SPEC, "name": "thrice", "space": space, "stages": stages}
    (folder / "thrice.yaml").write_text(yaml.safe_dump(spec))
    _, out, _ = say(capfd, "run", "thrice.yaml", "--ray", "none")
    assert "\nNote: 9 of 12 trials had the very values of an earlier one" in out
    _, table, _ = say(capfd, "diagnose", "thrice")
    assert "known_already" in table
    found = package.connect().diagnoses("thrice").set_index("kind").loc["known_already"]
    assert found["evidence"] == {"repeated": 9, "trials": 12, "distinct": 3}

"""``hpsearch check`` and stage ``check`` as a person meets them: verdicts, cost, exit codes."""

from __future__ import annotations

import copy
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Hpsearch, say
from training_cases import blobs

import hpsearch
from hpsearch.coordinator.checking import ChecksFailed

DATA = Path(os.environ.get("HPSEARCH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [8]},
    "space": {
        "optimizer": {"choice": ["momentum", "adam"]},
        "learning_rate": {"log_uniform": [1e-3, 1e-1]},
    },
    "stages": [{"name": "check"}, {"name": "coarse", "trials": 6, "epochs": 2}],
}
DEAD = {"hidden_units": [8, 8, 8], "initialization": "zeros"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a healthy spec, one whose network is dead, and their data."""
    data = blobs(num_train=160)
    np.savez(tmp_path / "blobs.npz", x=data.x_train, y=data.y_train)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SPEC))
    dead = {**copy.deepcopy(SPEC), "train": DEAD}
    (tmp_path / "dead.yaml").write_text(yaml.safe_dump(dead))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPSEARCH_DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def call(folder: Path, capfd: pytest.CaptureFixture[str]) -> Hpsearch:
    """Runs a command in the folder; gives exit code, stdout and stderr."""
    return partial(say, capfd)


def test_a_healthy_search_shows_its_verdicts_and_its_cost(call: Hpsearch, folder: Path) -> None:
    code, out, err = call("check", "small.yaml")
    assert (code, err) == (0, "")
    for name in ("inputs", "initial_loss", "gradients", "fit_twenty", "rate_range", "cost"):
        assert name in out
    assert "optimizer=adam" in out
    assert "(ln 4)" in out
    assert "on 1 worker, without the extensions" in out
    assert not (folder / "hpsearch.db").exists()


def test_a_worker_process_comes_to_the_verdicts_of_this_process(call: Hpsearch) -> None:
    found = []
    for ray in ("none", "processes"):
        code, out, err = call("check", "small.yaml", "--ray", ray, "--format", "json")
        assert (code, err) == (0, "")
        results = json.loads(out)["checks"]
        found.append([(result["name"], result["probe"], result["verdict"]) for result in results])
    assert found[0] == found[1]


def test_a_failed_check_is_an_exit_code_and_one_line(call: Hpsearch) -> None:
    code, out, err = call("check", "dead.yaml")
    assert code == 1
    assert "fit_twenty" in out
    (line,) = err.strip().splitlines()
    assert line == "Error: 2 checks failed: signal, fit_twenty"
    assert "3 failed, " in out  # fit_twenty of both probes


def test_checks_are_json_for_a_program(call: Hpsearch) -> None:
    code, out, _ = call("check", "small.yaml", "--format", "json")
    found = json.loads(out)
    assert code == 0
    (one, other) = (c["evidence"] for c in found["checks"] if c["name"] == "cost")
    each_s = (one["seconds_per_epoch"] + other["seconds_per_epoch"]) / 2 / one["width"]
    (row,) = found["cost"]
    assert (row["stage"], row["trials"], row["trial_epochs"]) == ("coarse", 6, 12)
    assert found["seconds"] == row["seconds"] == pytest.approx(12 * each_s)
    curve = next(c["evidence"] for c in found["checks"] if c["name"] == "rate_range")
    assert len(curve["rates"]) == len(curve["losses"]) >= 20


def test_a_cost_that_a_pruner_may_lower_is_told_as_a_bound(call: Hpsearch) -> None:
    pruned = ("--set", "stages.coarse.pruner={name: threshold, lower: 0.1}")
    assert re.search("\nabout .* on 1 worker, ", call("check", "small.yaml")[1])
    assert re.search("\nat most about .* on 1 worker, ", call("check", "small.yaml", *pruned)[1])


def test_an_overridden_key_is_what_is_checked(call: Hpsearch) -> None:
    assert call("check", "small.yaml", "--set", "train.initialization=zeros")[0] == 1


def test_a_search_whose_check_fails_says_so_and_can_be_forced(call: Hpsearch) -> None:
    code, _, err = call("run", "dead.yaml", "--ray", "none")
    assert code == 1
    *_, last = err.strip().splitlines()
    assert "--force" in last
    assert "fail: fit_twenty of optimizer=momentum" in err
    code, out, _ = call("status", "small", "--format", "json")
    assert [(row["stage"], row["trials"]) for row in json.loads(out)] == [("check", 0)]
    code, out, err = call("run", "dead.yaml", "--ray", "none", "--force")
    assert code == 0, err
    assert "Warning: optimizer=momentum: " in out
    code, out, _ = call("diagnose", "small", "--format", "json")
    kinds = {row["kind"] for row in json.loads(out)}
    assert "check_fit_twenty" in kinds
    assert "check_inputs" not in kinds, "what passed is no finding to tell"


def test_a_stopped_search_can_be_resumed_by_force(call: Hpsearch) -> None:
    call("run", "dead.yaml", "--ray", "none")
    assert call("resume", "small", "--ray", "none")[0] == 1
    assert call("resume", "small", "--ray", "none", "--force")[0] == 0


def test_a_search_that_passes_goes_on_and_its_stages_have_the_check(call: Hpsearch) -> None:
    code, _, err = call("run", "small.yaml", "--ray", "none")
    assert code == 0, err
    assert "stage check" in err
    assert " passed, " in err
    assert " not applicable" in err
    stages = hpsearch.connect().stages("small")
    assert list(stages["stage"].unique()) == ["check", "coarse"]
    assert stages["sampler"].isna().tolist() == [True, False, False]
    found = hpsearch.connect().diagnoses("small")
    checks = found[found["kind"].astype(str).str.startswith("check_")]
    assert set(checks["stage"]) == {"check"}
    assert {evidence["verdict"] for evidence in checks["evidence"]} <= {"pass", "warn", "skip"}
    assert call("preview", "small.yaml")[0] == 0


def test_python_gets_the_failed_checks(folder: Path) -> None:
    with pytest.raises(ChecksFailed) as caught:
        hpsearch.run("dead.yaml", ray="none")
    assert "fit_twenty" in {result.name for result in caught.value.failed}
    assert len(hpsearch.run("dead.yaml", ray="none", force=True).trials()) >= 6


def _fine_tuning(folder: Path) -> str:
    """Writes a spec whose network learns nothing but from the weights of a trained trial."""
    assert len(hpsearch.run("small.yaml", ray="none").trials()) >= 6
    best = int(hpsearch.connect().best("small", n=1)["number"].iloc[0])
    tuned = {"hidden_units": [8], "initialization": "zeros", "warm_start": f"small/{best}"}
    spec = {**copy.deepcopy(SPEC), "name": "tuned", "train": tuned}
    (folder / "tuned.yaml").write_text(yaml.safe_dump(spec))
    return f"small/{best}"


def test_a_search_that_fine_tunes_is_checked_from_the_weights_that_it_starts_from(
    call: Hpsearch, folder: Path
) -> None:
    _fine_tuning(folder)
    code, out, err = call("check", "tuned.yaml", "--format", "json")
    assert code == 0, err
    verdicts = {c["name"]: c["verdict"] for c in json.loads(out)["checks"]}
    assert (verdicts["signal"], verdicts["fit_twenty"]) == ("pass", "pass")
    assert call("check", "tuned.yaml", "--set", "train.warm_start=null")[0] == 1
    code, _, err = call("run", "tuned.yaml", "--ray", "none")
    assert code == 0, err
    code, _, err = call("check", "tuned.yaml", "--set", "train.warm_start=small/99")
    assert code == 1
    assert "search 1 has no number 99" in err


def test_without_a_database_what_a_trial_would_start_from_is_skipped(
    call: Hpsearch, folder: Path
) -> None:
    source = _fine_tuning(folder)
    code, out, err = call("check", "tuned.yaml", "--db", "sqlite:///other.db", "--format", "json")
    assert code == 0, err
    skipped = [c for c in json.loads(out)["checks"] if c["verdict"] == "skip"]
    told = [c["name"] for c in skipped if f"starts from {source}, whose weights" in c["text"]]
    assert {"initial_loss", "signal", "fit_twenty"} <= set(told)
    assert not (folder / "other.db").exists()


REAL = {
    "digits": None,
    "mnist_mlp": DATA / "mnist",
    "cifar10_two_layer": DATA / "cifar-10-python.tar.gz",
}


@pytest.mark.parametrize("name", REAL)
def test_the_packaged_searches_have_the_verdicts_of_the_docs(name: str, call: Hpsearch) -> None:
    path = REAL[name]
    if path is not None and not path.exists():
        pytest.skip(f"the files are not there: {path}")
    more = [] if path is None else ["--set", f"data.path={path}"]
    code, out, err = call("check", name, "--format", "json", *more)
    assert code == 0, err
    found = json.loads(out)["checks"]
    by_name = {c["name"]: c for c in found}
    assert by_name["initial_loss"]["evidence"]["chance"] == pytest.approx(2.3026, abs=1e-4)
    assert by_name["initial_loss"]["evidence"]["loss"] == pytest.approx(2.35, abs=0.1)
    warned = {c["name"] for c in found if c["verdict"] == "warn"}
    # The well-known exercise has its rates too low, and ten decades of weight decay.
    exercise = {"regularized_loss", "decay", "rate_range"}
    wrong = exercise if name == "cifar10_two_layer" else set()
    assert warned == wrong

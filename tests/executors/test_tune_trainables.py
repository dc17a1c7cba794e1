"""Trainables of the user's own under Ray Tune, on the session's cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import own_trainables
import pytest
import ray
import yaml

import hpsearch
from hpsearch.executors.tune import TuneExecutor
from hpsearch.export import export
from hpsearch.spec import load

if TYPE_CHECKING:
    from hpsearch.api import Result
    from hpsearch.executors.cluster import Cluster

pytestmark = pytest.mark.usefixtures("cluster")

STAGES = [
    {"name": "coarse", "trials": 6, "epochs": 2},
    {"name": "fine", "trials": 4, "epochs": 4, "continue": 2},
]


def _spec(name: str, **keys: Any) -> dict[str, Any]:
    return {
        "name": name,
        "objective": {"metric": "loss", "mode": "min"},
        "trainable": f"own_trainables:{name}",
        "space": {"rate": {"log_uniform": [1e-4, 1]}},
        "stages": STAGES,
        **keys,
    }


def _run(tmp_path: Path, name: str, told: list[str] | None = None, **keys: Any) -> Result:
    def observe(event: object) -> None:
        if told is not None and hasattr(event, "message"):
            told.append(event.message)

    spec = _spec(name, **keys)
    return hpsearch.run(spec, db=f"sqlite:///{tmp_path}/t.db", ray="local", observer=observe)


def _kept(tmp_path: Path) -> dict[str, dict[str, int]]:
    files = sorted(tmp_path.rglob("kept.json"))
    return {file.parent.name: json.loads(file.read_text()) for file in files}


@pytest.mark.parametrize("name", ["plain", "endless", "Trained"])
def test_each_trial_has_the_curve_that_its_function_computes(tmp_path: Path, name: str) -> None:
    result = _run(tmp_path, name)
    trials = result.trials()
    assert set(trials["state"]) == {"complete"}
    assert trials["epochs"].tolist() == [2] * 6 + [4] * 4
    curves = result.db.curves(result.id)
    rates = dict(zip(trials["number"], trials["rate"], strict=True))
    for number, epoch, value in zip(
        curves["number"], curves["epoch"], curves["value"], strict=True
    ):
        expected = own_trainables.loss({"rate": rates[number]}, int(epoch))
        assert value == pytest.approx(expected)
    assert len(curves) == 6 * 2 + 4 * 4
    assert not list(tmp_path.rglob("*.tmp"))


def test_continued_trials_go_on_from_the_checkpoints_that_they_wrote(tmp_path: Path) -> None:
    _run(tmp_path, "kept")
    longest = [one["begun"] for name, one in _kept(tmp_path).items() if name.endswith("-4.tune")]
    assert sorted(longest) == [0, 0, 2, 2]


def test_the_checkpoints_of_the_best_are_kept(tmp_path: Path) -> None:
    result = _run(tmp_path, "kept", resources={"keep_checkpoints": 3}, stages=STAGES[:1])
    assert set(_kept(tmp_path)) == {f"group-{n}-2.tune" for n in result.best(3)["number"]}


def test_a_search_goes_on_from_the_database_where_it_was_stopped(tmp_path: Path) -> None:
    """Ctrl-C at the first result of the second stage; Tune's own files are gone by then."""

    def observe(event: Any) -> None:
        running = [t for t in event.view.trials.values() if t.epochs == 3]
        if running:
            raise KeyboardInterrupt

    spec, db = _spec("kept"), f"sqlite:///{tmp_path}/t.db"
    with pytest.raises(hpsearch.errors.Stopped):
        hpsearch.run(spec, db=db, ray="local", observer=observe)
    before = hpsearch.connect(db).trials("kept")
    result = hpsearch.run(spec, db=db, ray="local")
    trials = result.trials()
    assert set(trials["state"]) == {"complete"}
    assert trials["number"].tolist() == list(range(10))
    assert trials["rate"].tolist()[: len(before)] == before["rate"].tolist()
    (tmp_path / "other").mkdir()
    whole = _run(tmp_path / "other", "kept").trials()
    assert trials[["number", "value", "rate", "epochs"]].equals(
        whole[["number", "value", "rate", "epochs"]]
    )


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_from(tmp_path: Path) -> None:
    """SIGKILL of the coordinator, twice: Tune's actors end, and nothing is trained twice."""
    spec, url = _spec("kept", train={"pause": 0.3}), f"sqlite:///{tmp_path}/killed.db"
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "hpsearch", "run", "spec.yaml", "--db", url]
    for least in (3, 14):  # epochs
        process = subprocess.Popen([*command, "--ray", address], cwd=tmp_path)
        while process.poll() is None and _num_epochs(url) < least:
            time.sleep(0.1)
        assert process.poll() is None, "it ended before it was killed"
        process.kill()
        process.wait()
    assert subprocess.run([*command, "--ray", address], cwd=tmp_path, timeout=200).returncode == 0
    killed = hpsearch.connect(url).trials("kept")
    whole = _run(tmp_path, "kept", train={"pause": 0.0}).trials()
    names = ["number", "state", "value", "rate", "epochs"]
    assert killed[names].equals(whole[names])
    assert len(hpsearch.connect(url).curves("kept")) == len(
        hpsearch.connect(f"sqlite:///{tmp_path}/t.db").curves("kept")
    )
    assert not list(tmp_path.rglob("*.tmp"))


def _num_epochs(url: str) -> int:
    try:
        return int(hpsearch.connect(url).trials("kept")["epochs"].sum())
    except hpsearch.errors.HpsearchError:  # there is no search yet
        return 0


def test_one_that_diverges_fails_as_diverged(tmp_path: Path) -> None:
    trials = _run(tmp_path, "diverging", stages=STAGES[:1]).trials()
    wild = trials["rate"] > 0.01
    assert set(wild) == {True, False}
    assert (trials["failure_kind"] == "diverged").tolist() == wild.tolist()
    assert trials["failure_message"][wild].iloc[0] == ("epoch 2: loss is nan, which is not finite")


def test_one_that_ends_by_itself_is_complete_with_what_it_has(tmp_path: Path) -> None:
    trials = _run(tmp_path, "ending", stages=[{"name": "a", "trials": 2, "epochs": 9}]).trials()
    assert trials["state"].tolist() == ["complete"] * 2
    assert trials["epochs"].tolist() == [2, 2]


SENTENCES = {
    "silent": "trainable must report loss by ray.tune.report, but ended without; add that",
    "misspelt": "trainable must report loss each time, as objective.metric says, but reported los; "
    "did you mean los?",
    "huge": "trainable must report loss as a number, but reported a number that no float holds",
    "counting": "trainable must not report training_iteration, Ray Tune's count",
    "wordy": "trainable must report loss as a number, but reported 'low'",
}


@pytest.mark.parametrize("name", list(SENTENCES))
def test_what_a_bad_trainable_does_wrong_is_told(tmp_path: Path, name: str) -> None:
    trials = _run(tmp_path, name, stages=[{"name": "a", "trials": 3, "epochs": 2}]).trials()
    assert trials["failure_message"].tolist() == [SENTENCES[name]] * 3


def test_a_class_that_cannot_be_set_up_raises(tmp_path: Path) -> None:
    with pytest.raises(hpsearch.errors.HpsearchError, match="ValueError: no data"):
        _run(tmp_path, "Unset", stages=[{"name": "a", "trials": 2, "epochs": 2}], max_failures=1)
    trials = hpsearch.connect(f"sqlite:///{tmp_path}/t.db").trials("Unset")
    assert "error" in set(trials["failure_kind"])


def test_a_search_all_of_whose_trials_raise_ends(tmp_path: Path) -> None:
    with pytest.raises(hpsearch.errors.HpsearchError, match="RuntimeError: the data are gone"):
        _run(tmp_path, "raising", stages=[{"name": "a", "trials": 9, "epochs": 2}], max_failures=2)


def test_one_whose_process_dies_is_tried_again_and_then_lost(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(hpsearch.errors.HpsearchError):
        _run(
            tmp_path,
            "dying",
            told,
            stages=[{"name": "a", "trials": 1, "epochs": 2}],
            max_failures=1,
        )
    trials = hpsearch.connect(f"sqlite:///{tmp_path}/t.db").trials("dying")
    assert trials["failure_kind"].tolist() == ["worker_lost"]
    assert sum("lost its worker" in message for message in told) == 2


@pytest.mark.parametrize(("name", "code"), [("exiting", "'no more data'"), ("Exiting", "3")])
def test_one_that_exits_is_told_as_that_and_not_as_a_lost_worker(
    tmp_path: Path, name: str, code: str
) -> None:
    told: list[str] = []
    stages = [{"name": "a", "trials": 1, "epochs": 2}]
    with pytest.raises(hpsearch.errors.HpsearchError, match=r"called sys\.exit"):
        _run(tmp_path, name, told, stages=stages, max_failures=1)
    (trial,) = hpsearch.connect(f"sqlite:///{tmp_path}/t.db").trials(name).to_dict("records")
    assert trial["failure_kind"] == "error"
    said = f"RuntimeError: the trainable called sys.exit({code})"
    assert trial["failure_message"].strip().endswith(said)
    assert not any("lost its worker" in message for message in told)


def test_a_function_that_exits_without_a_code_has_ended_by_itself(tmp_path: Path) -> None:
    (trial,) = (
        _run(tmp_path, "leaving", stages=[{"name": "a", "trials": 1, "epochs": 3}])
        .trials()
        .to_dict("records")
    )
    assert (trial["state"], trial["epochs"], trial["value"]) == ("complete", 1, 1.0)


def test_a_class_that_cannot_save_its_last_epoch_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    stages = [{"name": "a", "trials": 1, "epochs": 2}]
    resources = {"checkpoint_every": 5}
    result = _run(tmp_path, "Unsaved", told, stages=stages, resources=resources)
    (trial,) = result.trials().to_dict("records")
    assert (trial["state"], trial["epochs"]) == ("complete", 2)
    said = [message for message in told if "has no checkpoint of epoch 2" in message]
    assert len(said) == 1
    assert said[0].endswith("OSError: the disk is gone")


def test_a_retry_of_tunes_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    result = _run(
        tmp_path,
        "kept",
        train={"dies_at": 2, "mark": str(tmp_path / "mark")},
        stages=[{"name": "a", "trials": 1, "epochs": 4}],
        tune={"max_failures": 1},
    )
    assert result.trials()["epochs"].tolist() == [4]
    assert [one["begun"] for one in _kept(tmp_path).values()] == [2]
    assert result.db.curves(result.id)["epoch"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("scheduler", ["asha", "median_stopping", "hyperband"])
def test_schedulers_prune(tmp_path: Path, scheduler: str) -> None:
    result = _run(
        tmp_path,
        "kept",
        stages=[{"name": "a", "trials": 9, "epochs": 9}],
        tune={"scheduler": scheduler},
    )
    trials = result.trials()
    assert set(trials["state"]) == {"complete", "pruned"}
    complete = trials[trials["state"] == "complete"]
    assert set(complete["epochs"]) == {9}
    pruned = trials[trials["state"] == "pruned"]
    assert pruned["epochs"].max() < 9


def test_a_population_takes_over_and_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    result = _run(
        tmp_path,
        "kept",
        told,
        stages=[{"name": "a", "trials": 4, "epochs": 6}],
        tune={"scheduler": {"name": "pbt", "perturbation_interval": 2}},
    )
    assert set(result.trials()["epochs"]) == {6}
    assert any("took over a better one at epoch" in message for message in told)


def test_what_the_best_wrote_is_exported_with_its_config(tmp_path: Path) -> None:
    result = _run(tmp_path, "kept", stages=STAGES[:1], train={"layers": [8, 8]})
    url, folder = f"sqlite:///{tmp_path}/t.db", tmp_path / "out"
    number = export("kept", folder, db=url)
    assert number == result.best(1)["number"][0]
    assert json.loads((folder / "checkpoint" / "kept.json").read_text())["epoch"] == 2
    told = yaml.safe_load((folder / "model.yaml").read_text())
    assert told["train"] == {
        "layers": [8, 8],
        "rate": result.best(1)["rate"][0],
        "trainable": "own_trainables:kept",
    }
    with pytest.raises(hpsearch.errors.HpsearchError, match="hpsearch export 1 -o FOLDER"):
        hpsearch.weights("kept", number, db=url)


def test_a_trial_that_finds_no_room_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(hpsearch.errors.HpsearchError) as refused:
        _run(tmp_path, "plain", tune={"cpus_per_trial": 1000})
    assert str(refused.value).startswith(
        f"a trial must find room on the cluster, but needs 1000 CPUs, 0 GPUs of its "
        f"{cluster.num_cpus} CPUs and 0 GPUs"
    )


def test_an_executor_takes_what_it_is_given_and_no_more(tmp_path: Path, cluster: Cluster) -> None:
    """A service gives and takes workers all the time, and machines come and go."""
    search = load(_spec("plain"))
    with closing(TuneExecutor(cluster, search, tmp_path, num_workers=1)) as executor:
        assert executor.num_slots == 2  # one runs, one is at hand
        executor.resize(0)
        assert executor.num_slots == 0
        executor.resize(1000)
        assert executor.num_slots == 2 * cluster.num_cpus
    small = replace(cluster, num_cpus=0)
    with closing(TuneExecutor(small, search, tmp_path, num_workers=0)) as waiting:
        assert waiting.most_slots == 0
        waiting.resize(0)
        waiting.close()

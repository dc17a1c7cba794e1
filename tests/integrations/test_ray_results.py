"""A folder of Ray Tune's results, as Tune writes it, as a search of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Hpsearch

from hpsearch import connect

CONFIGS: list[dict[str, Any]] = [
    {"rate": 1e-4, "net": {"units": 16}, "kind": "a", "seed": 1, "data": "x"},
    {"rate": 1e-2, "net": {"units": 64}, "kind": "b", "seed": 2, "data": "x"},
    {"rate": 1e-1, "net": {"units": 32}, "kind": "a", "seed": 3, "data": "x"},
    {"rate": 2e-1, "net": {"units": 32}, "kind": "a", "seed": 4, "data": "x"},
]
LOSSES = [[3.0, 1.0, 2.0], [4.0, 5.0], [2.0], [1.0, float("nan")]]


@pytest.fixture
def experiment(hpsearch: Hpsearch) -> Path:
    """As Tune 2.60 lays it out; Tune ended the first and the second, the third raised."""
    for number, (config, losses) in enumerate(zip(CONFIGS, LOSSES, strict=True)):
        folder = Path("tuned") / f"train_ab{9 - number}_{number:05}_{number}_rate=1,k=a_2026-11-28"
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps(config))
        lines = [
            json.dumps(
                {
                    "loss": loss,
                    "val": {"f1": 0.5},
                    "done": number < 2 and iteration == len(losses),
                    "training_iteration": iteration,
                    "time_this_iter_s": 0.5,
                    "time_total_s": iteration * 0.5,
                    "config": config,
                }
            )
            for iteration, loss in enumerate(losses, 1)
        ]
        (folder / "result.json").write_text("\n".join(lines) + "\n")
    third = next(Path("tuned").glob("*_2_rate*"))
    (third / "error.txt").write_text("Failure # 1\nTraceback\nValueError: no\n")
    return Path("tuned")


def test_it_becomes_a_search(hpsearch: Hpsearch, experiment: Path) -> None:
    code, out, err = hpsearch(
        "import", "--ray-results", "tuned", "--metric", "loss", "--mode", "min"
    )
    assert (code, err) == (0, "")
    assert out == "search tuned (id 1) is stored: `hpsearch best tuned`\n"
    db = connect()
    trials = db.trials("tuned")
    assert trials["state"].tolist() == ["complete", "pruned", "failed", "failed"]
    assert trials["failure_kind"].dropna().tolist() == ["error", "diverged"]
    assert trials["failure_message"][2] == "ValueError: no"
    assert trials["value"].tolist() == [1.0, 4.0, 2.0, 1.0]
    assert trials["best_epoch"].tolist() == [2, 1, 1, 1]
    assert trials["seconds"].tolist() == [1.5, 1.0, 0.5, 1.0]
    assert trials["rate"].tolist() == [1e-4, 1e-2, 1e-1, 2e-1]
    assert trials["net/units"].tolist() == [16, 64, 32, 32]
    assert trials["seed_"].tolist() == [1, 2, 3, 4]
    assert "data" not in trials.columns  # it is the same in all
    assert db.curves("tuned").query("number == 0")["value"].tolist() == [3.0, 1.0, 2.0]
    stages = db.stages("tuned").set_index("parameter")
    assert (stages["low"]["rate"], stages["high"]["rate"]) == (1e-4, 2e-1)
    space = db.repository.find_search("tuned").spec.space.parameters
    assert [getattr(one, "kind", "choice") for one in space.values()] == [
        "log_uniform", "int", "choice", "int",
    ]  # fmt: skip


def test_what_was_trained_elsewhere_is_not_trained_here(
    hpsearch: Hpsearch, experiment: Path
) -> None:
    hpsearch("import", "--ray-results", "tuned", "--metric", "loss", "--mode", "min")
    for words in (("retry-failed", "tuned"), ("resume", "tuned", "--submit")):
        code, _, err = hpsearch(*words)
        assert code == 1
        assert (
            "search tuned (id 1) was made by ray_tune, and its trials cannot be trained here" in err
        )
    assert set(connect().searches()["state"]) == {"complete"}


def test_metrics_in_groups_have_their_path_as_name(hpsearch: Hpsearch, experiment: Path) -> None:
    words = ("--metric", "val/f1", "--mode", "max", "--name", "other")
    assert hpsearch("import", "--ray-results", "tuned", *words)[0] == 0
    assert connect().best("other", 1)["value"].tolist() == [0.5]


def test_a_metric_that_none_reports_is_refused_with_those_that_are(
    hpsearch: Hpsearch, experiment: Path
) -> None:
    code, _, err = hpsearch("import", "--ray-results", "tuned", "--metric", "x", "--mode", "min")
    assert code == 1
    assert "must be one that trials reported, but got 'x': give one of loss, val/f1" in err


def test_a_folder_without_trials_and_a_broken_file_are_told(
    hpsearch: Hpsearch, experiment: Path
) -> None:
    words = ("--metric", "loss", "--mode", "min")
    for folder in ("nowhere", "."):
        code, _, err = hpsearch("import", "--ray-results", folder, *words)
        assert code == 1
        assert "must have folders with params.json and result.json" in err
    next(experiment.glob("*_0_rate*/result.json")).write_text('{"loss": ')
    code, _, err = hpsearch("import", "--ray-results", "tuned", *words)
    assert code == 1
    assert "must hold a trial's JSON, but cannot be read" in err

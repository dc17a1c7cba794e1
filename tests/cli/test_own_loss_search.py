"""A search by a loss and metrics of the user's own, from the command line to pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Hpsearch

import hpsearch as package

SPEC: dict[str, Any] = {
    "name": "own",
    "data": {"source": "own_data:wide", "validation": {"folds": 2}},
    "loss": "own_losses:focal",
    "metrics": {"right": "own_losses:Accuracy", "top2": "own_losses:top2"},
    "objective": {"metric": "right", "mode": "max"},
    "train": {"hidden_units": [6], "patience": 3},
    "space": {"learning_rate": {"log_uniform": [1e-2, 1]}},
    "stages": [
        {"name": "check"},
        {"name": "coarse", "trials": 6, "epochs": 3, "pruner": "median"},
        {"name": "fine", "trials": 4, "epochs": 5, "continue": 2},
    ],
}


def test_it_is_searched_by_ones_own_metric(hpsearch: Hpsearch) -> None:
    """In worker processes, with folds, a pruner and trials that go on."""
    Path("own.yaml").write_text(yaml.safe_dump(SPEC))
    code, out, err = hpsearch("run", "own.yaml", "--ray", "processes")
    assert code == 0, out + err
    frames = package.connect()
    trials, curves = frames.trials("own"), frames.curves("own")
    assert set(trials["state"]) == {"complete", "pruned"}
    best = curves.groupby("number")["right"].max()
    for number, value in zip(trials["number"], trials["value"], strict=True):
        assert best[number] == value
    assert curves["right"].tolist() == curves["val_accuracy"].tolist()
    assert (curves["top2"] >= curves["right"]).all()
    assert frames.searches()["metric"].tolist() == ["right"]
    assert hpsearch("curves", "own")[0] == 0


def test_a_metric_that_is_never_a_number_is_what_is_told(hpsearch: Hpsearch) -> None:
    changes = {
        "name": "unmeasured",
        "metrics": {"share": "own_losses:undefined"},
        "objective": {"metric": "share", "mode": "max"},
        "data": {"source": "own_data:wide"},
        "stages": [{"name": "only", "trials": 2, "epochs": 2}],
    }
    Path("unmeasured.yaml").write_text(yaml.safe_dump({**SPEC, **changes}))
    code, _, err = hpsearch("run", "unmeasured.yaml", "--ray", "none")
    assert code == 1
    said = "unmeasured: none of its 2 trials ended with a value, for share was nan in each epoch"
    assert f"Error: {said}: mend the metric, or choose another objective.metric" in err
    assert "diverged" not in err


def test_a_metric_that_raises_fails_trials_and_not_the_search(hpsearch: Hpsearch) -> None:
    changes = {
        "name": "failing",
        "metrics": {"known": "own_losses:fails_below"},
        "objective": {"metric": "known", "mode": "max"},
        "data": {"source": "own_data:wide"},
        "train": {"batch_size": 4},
        "space": {"learning_rate": {"choice": [1e-6, 0.03]}},
        "stages": [{"name": "only", "trials": 2, "epochs": 6, "sampler": "grid"}],
    }
    Path("failing.yaml").write_text(yaml.safe_dump({**SPEC, **changes}))
    code, out, err = hpsearch("run", "failing.yaml", "--ray", "none")
    assert code == 0, out + err
    trials = package.connect().trials("failing").set_index("learning_rate")
    assert trials["state"].to_dict() == {1e-6: "failed", 0.03: "complete"}
    assert trials["failure_kind"][1e-6] == "error"
    assert trials["failure_message"][1e-6] == (
        "epoch 1: metric known (own_losses:fails_below) must take outputs [18, 3] and targets "
        "[18], but that raises ArithmeticError: it knows nothing"
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("loss=own_losses:three", "own.yaml: loss: must take (outputs, targets), but"),
        ("objective.mode=null", "own.yaml: objective.mode: is required for a metric of your own"),
        ("metrics.val_f1=own_losses:top2", "own.yaml: metrics.val_f1: is the name of a column"),
    ],
)
def test_bad_input_gets_one_sentence(hpsearch: Hpsearch, option: str, said: str) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(SPEC))
    code, _, err = hpsearch("run", "own.yaml", "--ray", "none", "--set", option)
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_a_loss_that_is_none_fails_its_check(hpsearch: Hpsearch) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(SPEC))
    code, out, err = hpsearch("check", "own.yaml", "--set", "loss=own_losses:deaf")
    assert code == 1
    told = " ".join((out + err).split())
    assert "loss must depend on the outputs by what PyTorch can differentiate" in told

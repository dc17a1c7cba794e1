"""The table of rules: a healthy search is left in peace, and findings come in their order."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest
from searched import a_curve, a_picture, a_spec_of, trials_of

from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.diagnosis.of_search.rules import EVER, RULES, diagnose_search

SPEC = a_spec_of(
    {
        "optimizer": {"choice": ["sgd", "adam"]},
        "learning_rate": {"log_uniform": [1e-5, 1.0]},
        "dropout": {"uniform": [0.0, 0.9]},
    }
)


def healthy(seed: int) -> Picture:
    """A hundred trials with a best rate and a best dropout inside, whose curves settle.

    Adam is better, but not so much that sgd would be dropped.
    """
    draw = random.Random(seed)
    params = [
        {
            "optimizer": ("sgd", "adam")[number % 2],
            "learning_rate": 10 ** draw.uniform(-5, 0),
            "dropout": draw.uniform(0.0, 0.9),
        }
        for number in range(100)
    ]
    ends = [
        0.9
        - 0.03 * (math.log10(one["learning_rate"]) + (1.7 if one["optimizer"] == "sgd" else 3)) ** 2
        - 0.8 * (one["dropout"] - 0.4) ** 2
        - 0.06 * (one["optimizer"] == "sgd")
        + draw.gauss(0, 0.004)
        for one in params
    ]
    curves = [
        a_curve([end - 0.4 * 0.3**epoch + draw.gauss(0, 0.0001) for epoch in range(10)])
        for end in ends
    ]
    trials = [
        trial.changed({"value": curve.value, "best_epoch": 8})
        for trial, curve in zip(trials_of(params, ends), curves, strict=True)
    ]
    by_id = {trial.id: curve for trial, curve in zip(trials, curves, strict=True)}
    return a_picture(SPEC, trials, curves=by_id)


@pytest.mark.parametrize("seed", range(8))
def test_a_healthy_search_is_left_in_peace(seed: int) -> None:
    found = diagnose_search(healthy(seed), ended=True)
    assert [one.kind for one in found if one.kind != "noise"] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_stumbles_over_a_search_that_has_not_begun_or_came_to_nothing(rule) -> None:  # type: ignore[no-untyped-def]
    params = [{"optimizer": "sgd", "learning_rate": 0.1 * i, "dropout": 0.5} for i in range(1, 4)]
    assert list(rule(a_picture(SPEC, [], []))) == []
    for trials in (trials_of(params, [None] * 3), trials_of(params, [math.nan] * 3)):
        assert isinstance(list(rule(a_picture(SPEC, trials))), list)
    waiting = [trial.changed({"state": "waiting"}) for trial in trials_of(params, [None] * 3)]
    kinds = {
        one.kind
        for one in rule(a_picture(SPEC, [t.changed({"failure_kind": None}) for t in waiting]))
    }
    assert kinds == set()


def test_what_can_be_said_before_the_end_is_said_at_the_end_too() -> None:
    assert set(EVER) < set(RULES)


def test_before_the_end_nothing_is_said_that_a_later_stage_may_mend() -> None:
    """Half of the trials are repeated, and all of them still improve."""
    params = [{"optimizer": "sgd", "learning_rate": 0.01 * (i % 6 + 1)} for i in range(12)]
    curves = {i + 1: a_curve([0.5 + 0.03 * e + 0.001 * i for e in range(10)]) for i in range(12)}
    trials = trials_of(params, [0.77 + 0.001 * i for i in range(12)])
    picture = a_picture(SPEC, trials, curves=curves)
    early = [one.kind for one in diagnose_search(picture, ended=False)]
    late = [one.kind for one in diagnose_search(picture, ended=True)]
    assert early == ["known_already"]
    assert late == ["train_longer", "known_already"]


def test_the_page_names_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "diagnoses.md").read_text()
    of_search = page[page.index("## Of the search") :]
    told = re.findall(r"^### (.+)$", of_search, flags=re.MULTILINE)
    named = {name for line in told for name in line.split(", ")}
    kinds = {rule.__name__ for rule in RULES} - {"failed"}
    assert named == {
        *kinds,
        *("many_diverged", "many_error", "many_out_of_memory", "many_worker_lost"),
    }

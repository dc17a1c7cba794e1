"""Every way to get the stages wrong: each of them, their order, and those that are chosen."""

from __future__ import annotations

from typing import Any

import pytest
from refused_specs import AUTO, assert_told, changed, problems_of

from hpsearch.spec import load

# changes, key path, part of the rule
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # stages
    "no stages": ({"stages": []}, "stages", "must have at least one stage"),
    "stages of another word": ({"stages": "all"}, "stages", "must be a list of stages, or auto"),
    "stage no mapping": ({"stages": ["coarse"]}, "stages[0]", "must be a mapping"),
    "trials": ({"stages.1.trials": 0}, "stages[1].trials", "must be an integer in [1, 1e+07]"),
    "trials missing": ({"stages.0": {"name": "a"}}, "stages[0].trials", "is required"),
    "stage name": ({"stages.0.name": "1st"}, "stages[0].name", "must be a letter"),
    "epochs": ({"stages.1.epochs": -3}, "stages[1].epochs", "must be an integer in [1, 1e+06]"),
    "epochs nowhere": ({"train": {}}, "stages[0].epochs", "is required"),
    "same name": ({"stages.1.name": "coarse"}, "stages[1].name", "the name of an earlier stage"),
    "seeds of a search stage": ({"stages.1.seeds": 3}, "stages[1].seeds", "a search stage"),
    "trials of a confirm stage": ({"stages.2.trials": 3}, "stages[2].trials", "a confirm stage"),
    "top missing": ({"stages.2": {"name": "confirm"}}, "stages[2].top", "is required"),
    "top too large": ({"stages.2.top": 29}, "stages[2].top", "must be at most 28, the trials"),
    "confirm first": (
        {"stages": [{"name": "confirm", "top": 1}]},
        "stages[0]",
        "needs a search stage before it",
    ),
    "search after confirm": (
        {
            "stages.2": {"name": "sure", "top": 1},
            "stages": [
                {"name": "a", "trials": 5},
                {"name": "confirm", "top": 1},
                {"name": "b", "trials": 5},
            ],
        },
        "stages[2]",
        "must come before every confirm stage",
    ),
    "check not first": (
        {"stages.1": {"name": "check"}},
        "stages[1]",
        "is a check stage and must come first",
    ),
    "trials of a check stage": (
        {"stages.0": {"name": "check", "trials": 3}},
        "stages[0].trials",
        "is not a key of a check stage",
    ),
    "check alone": (
        {"stages": [{"name": "check"}]},
        "stages",
        "must have a search stage after the check stage",
    ),
    "more branches than trials after a check": (
        {"stages": [{"name": "check"}, {"name": "a", "trials": 2}]},
        "stages[1].trials",
        "must give each of the 3 branches of the space a trial",
    ),
    "continue in the first": (
        {"stages.0.continue": 2},
        "stages[0].continue",
        "must be 0 in the first stage",
    ),
    "continue beyond the stage": (
        {"stages.1.continue": 11},
        "stages[1].continue",
        "must be at most 10, the trials of the stage",
    ),
    "continue beyond those before": (
        {"stages.1.trials": 50, "stages.1.continue": 21},
        "stages[1].continue",
        "must be at most 20, the trials of stage coarse before it",
    ),
    "continue to fewer epochs": (
        {"stages.1.epochs": 4, "stages.1.continue": 2},
        "stages[1].epochs",
        "must be more than 4, to continue",
    ),
    "more branches than trials": (
        {"stages.0.trials": 2, "stages.1.trials": 1, "stages.2.top": 1},
        "stages[0].trials",
        "must give each of the 3 branches of the space a trial",
    ),
    "gp over choices": (
        {"space": {"batch_size": {"choice": [32, 64]}}, "stages.1.sampler": "gp"},
        "stages[1].sampler",
        "needs a range in the space",
    ),
    "cmaes over choices": (
        {"space": {"batch_size": {"choice": [32, 64]}}, "stages.0.sampler": "cmaes"},
        "stages[0].sampler",
        "needs a range in the space",
    ),
    # auto
    "auto without budget": ({"stages": "auto"}, "budget.epochs", "is required"),
    "auto with sampler": ({**AUTO, "sampler": "tpe"}, "sampler", "is chosen by stages: auto"),
    "auto on a small budget": (
        {**AUTO, "budget": {"epochs": 19}},
        "budget.epochs",
        "must be at least 20 epochs for full trainings of 4",
    ),
    "auto with too few for the branches": (
        {
            **AUTO,
            "budget": {"epochs": 20},
            "space.optimizer": {"choice": ["sgd", "momentum", "nesterov", "adam", "adamw"]},
        },
        "budget.epochs",
        "must give each of the 5 branches",
    ),
    "auto over choices": (
        {**AUTO, "space": {"batch_size": {"choice": [32, 64]}}},
        "stages",
        "needs a range in the space",
    ),
}


@pytest.mark.parametrize(("changes", "key", "rule"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_told_with_its_key_path_and_rule(
    changes: dict[str, Any], key: str, rule: str
) -> None:
    assert_told(changes, key, rule)


def test_the_trials_of_a_confirm_stage_are_bounded_together() -> None:
    assert load(changed({"stages.2.seeds": 3 * 10**6})).stages[2].seeds == 3 * 10**6
    (problem,) = problems_of({"stages.2.seeds": 4 * 10**6})
    assert problem.key == "stages[2].seeds"
    assert "times the 3 of top are its trials, which must be an integer in" in problem.rule


@pytest.mark.parametrize("budget", [3 * 10**7, 10**12])
def test_stages_that_are_chosen_are_no_larger_than_those_that_are_given(budget: int) -> None:
    (problem,) = problems_of({**AUTO, "train": {}, "budget": {"epochs": budget}})
    assert problem.key == "budget.epochs"
    assert "of at most 1e+07 trials and 1e+06 epochs a trial" in problem.rule


def test_a_broken_stage_raises_no_false_alarm_about_those_after_it() -> None:
    problems = problems_of({"stages.0.trials": 0, "stages.2.top": 25})
    assert [problem.key for problem in problems] == ["stages[0].trials"]

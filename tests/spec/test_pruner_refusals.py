"""``pruner:`` in a spec: what is refused, what could never decide, and with which sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pruner_specs import first, problems_of, spec

from hpsearch.spec import SpecError, load

# ---- what is refused: the pruner, the key path below it, and the sentence

COUNTS, POSITIVE = "an integer in [0, 1e+09]", "an integer in [1, 1e+09]"
REFUSED: dict[str, tuple[Any, str, str]] = {
    "a list": ([1], "", "must be the name of a pruner, a mapping with its name and options, or"),
    "a number": (3, "", "must be the name of a pruner"),
    "an unknown name": ("medain", "", "must be one of median, percentile, successive_halving"),
    "an unknown name in a mapping": ({"name": "asha"}, ".name", "must be one of median"),
    "none in a mapping": ({"name": "none"}, ".name", "must be one of median"),
    "no name": ({"percentile": 3}, ".name", "is required: one of median"),
    "an unknown option": ({"name": "median", "warmup": 1}, ".warmup", "is not an option of the"),
    "another's option": (
        {"name": "hyperband", "patience": 1},
        ".patience",
        "is not an option of the pruner hyperband",
    ),
    "percentile without one": ("percentile", ".percentile", "is required: a number in [0, 100]"),
    "percentile too high": (
        {"name": "percentile", "percentile": 101},
        ".percentile",
        "must be a number in [0, 100]",
    ),
    "startup": ({"name": "median", "n_startup_trials": -1}, ".n_startup_trials", COUNTS),
    "warmup": ({"name": "median", "n_warmup_steps": -1}, ".n_warmup_steps", COUNTS),
    "interval": ({"name": "median", "interval_steps": 0}, ".interval_steps", POSITIVE),
    "min trials": ({"name": "median", "n_min_trials": 0}, ".n_min_trials", POSITIVE),
    "min resource": (
        {"name": "successive_halving", "min_resource": 0},
        ".min_resource",
        f"must be auto or {POSITIVE}",
    ),
    "factor": (
        {"name": "successive_halving", "reduction_factor": 1},
        ".reduction_factor",
        "must be an integer >= 2",
    ),
    "rate": (
        {"name": "successive_halving", "min_early_stopping_rate": 61},
        ".min_early_stopping_rate",
        "must be an integer in [0, 60]",
    ),
    "bootstrap": (
        {"name": "hyperband", "bootstrap_count": 3},
        ".bootstrap_count",
        "has no use here, where a rung decides when all its trials have come; leave it out",
    ),
    "upside down": (
        {"name": "hyperband", "min_resource": 5, "max_resource": 4},
        "",
        "must have min_resource <= max_resource",
    ),
    "patient without patience": ("patient", ".patience", f"is required: {COUNTS}"),
    "delta": ({"name": "patient", "patience": 1, "min_delta": -1}, ".min_delta", "a number >= 0"),
    "patient in patient": (
        {"name": "patient", "patience": 1, "wrapped": {"name": "patient", "patience": 1}},
        ".wrapped.name",
        "must be one of median",
    ),
    "a wrapped one's option": (
        {"name": "patient", "patience": 1, "wrapped": {"name": "median", "interval_steps": 0}},
        ".wrapped.interval_steps",
        POSITIVE,
    ),
    "two intervals": (
        {"name": "patient", "patience": 1, "wrapped": "median", "interval_steps": 2},
        ".interval_steps",
        "is for patient alone; give it to the wrapped pruner",
    ),
    "a threshold without": ("threshold", "", "must have lower, upper or both"),
    "a threshold upside down": (
        {"name": "threshold", "lower": 2, "upper": 1},
        "",
        "must have lower <= upper",
    ),
    "a threshold of text": ({"name": "threshold", "lower": "x"}, ".lower", "must be a number"),
    "an endless threshold": (
        {"name": "threshold", "lower": float("inf")},
        ".lower",
        "must be finite",
    ),
    "p of 0": (
        {"name": "wilcoxon", "p_threshold": 0},
        ".p_threshold",
        "must be a number in (0, 1]",
    ),
}


@pytest.mark.parametrize("where", ["pruner", "stages[0].pruner"])
@pytest.mark.parametrize(("pruner", "key", "rule"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_pruner_is_refused_with_its_key_and_its_rule(
    where: str, pruner: Any, key: str, rule: str
) -> None:
    (problem,) = problems_of(pruner) if where == "pruner" else problems_of(stage=pruner)
    assert problem.key == where + key
    assert rule in problem.rule


def test_a_misspelt_name_is_told_with_the_closest_one() -> None:
    assert [p.closest for p in problems_of("medain")] == ["median"]
    assert [p.closest for p in problems_of({"name": "hyper_band"})] == ["hyperband"]
    (problem,) = problems_of({"name": "median", "n_warmup_step": 1})
    assert (problem.key, problem.closest) == ("pruner.n_warmup_step", "n_warmup_steps")


def test_every_mistake_is_told_at_once() -> None:
    wrong = {"name": "percentile", "percentile": -1, "n_min_trials": 0, "bootstrap_count": 1}
    found = problems_of(wrong, stage="asha", seed=-1)
    assert {problem.key for problem in found} == {
        "seed",
        "pruner.percentile",
        "pruner.n_min_trials",
        "pruner.bootstrap_count",
        "stages[0].pruner",
    }


@pytest.mark.parametrize("kind", ["check", "confirm"])
def test_only_search_stages_may_have_one(kind: str) -> None:
    tree = spec()
    tree["stages"].insert(0, {"name": "check"})
    index = 0 if kind == "check" else 3
    tree["stages"][index]["pruner"] = "median"
    with pytest.raises(SpecError) as caught:
        load(tree)
    (problem,) = caught.value.problems
    assert problem.key == f"stages[{index}].pruner"
    assert f"is not a key of a {kind} stage" in problem.rule


# ---- a pruner that can never decide

NEVER: dict[str, tuple[Any, dict[str, Any], str]] = {
    "one epoch": (
        "median",
        {"epochs": 1},
        "can never decide: its first rung is after epoch 1, and must be before the last of 1; "
        "train longer, or say pruner: none",
    ),
    "warmup": (
        {"name": "median", "n_warmup_steps": 10},
        {},
        "can never decide: its first rung is after epoch 10, and must be before the last of 10; "
        "lower n_warmup_steps, train longer, or say pruner: none",
    ),
    "halving": ({"name": "successive_halving", "min_resource": 12}, {}, "lower min_resource, "),
    "rate": (
        {"name": "successive_halving", "min_early_stopping_rate": 60},
        {},
        f"its first rung is after epoch {4**60}, and",
    ),
    "hyperband": ({"name": "hyperband", "min_resource": 10}, {}, "after epoch 10, and"),
    "patience": ({"name": "patient", "patience": 9}, {}, "lower patience, "),
    "wrapped": (
        {"name": "patient", "patience": 4, "wrapped": {"name": "median", "interval_steps": 5}},
        {},
        "is after epoch 10, and",
    ),
    "too few to begin": (
        "median",
        {"trials": 4},
        "needs 5 trials at a rung to decide; lower n_startup_trials and n_min_trials, ask for "
        "more trials or say pruner: none",
    ),
    "too few to compare": (
        "hyperband",
        {"trials": 1},
        "needs 2 trials at a rung to decide; ask for more trials or say pruner: none",
    ),
    "no folds": (
        "wilcoxon",
        {},
        "compares trials fold by fold and needs data.validation {folds: 4} or more to be sure at "
        "a p_threshold of 0.1",
    ),
    "no folds of a wrapped one": (
        {"name": "patient", "patience": 1, "wrapped": {"name": "wilcoxon", "p_threshold": 0.01}},
        {},
        "needs data.validation {folds: 7} or more",
    ),
}


@pytest.mark.parametrize(("pruner", "changes", "sentence"), NEVER.values(), ids=NEVER)
def test_a_pruner_that_can_never_decide_is_refused_with_what_to_do(
    pruner: Any, changes: dict[str, Any], sentence: str
) -> None:
    stage = {"name": "coarse", "trials": 20, "epochs": 10, **changes}
    (problem,) = problems_of(pruner, stages=[stage])
    assert problem.key == "stages[0].pruner"
    assert sentence in problem.rule


@pytest.mark.parametrize(("p", "folds"), [(0.1, 4), (0.13, 3), (0.125, 4), (1, 2), (0.03, 6)])
def test_wilcoxon_needs_folds_enough_to_be_sure(p: float, folds: int) -> None:
    pruner = {"name": "wilcoxon", "p_threshold": p}

    def data(k: int) -> dict[str, Any]:
        return {"source": "digits", "validation": {"folds": k}}

    assert first(load(spec(pruner, data=data(folds))))
    if folds > 2:
        problems = problems_of(pruner, data=data(folds - 1))
        assert {problem.value for problem in problems} == {f"{folds - 1} folds"}


def test_wilcoxon_is_not_refused_a_second_time_for_data_that_are_refused() -> None:
    assert [problem.key for problem in problems_of("wilcoxon", data={"source": "x"})] == [
        "data.source"
    ]


def test_a_stage_that_only_continues_needs_a_rung_after_its_beginning() -> None:
    fine: dict[str, Any] = {"name": "fine", "trials": 2, "epochs": 20, "continue": 2}
    stages = [{"name": "coarse", "trials": 20, "epochs": 16, "pruner": "none"}, fine]
    (problem,) = problems_of("successive_halving", stages=stages)
    assert problem.key == "stages[1].pruner"
    assert "its first rung past epoch 16, where its trials begin, is after epoch 64" in problem.rule
    assert load(spec("median", stages=[stages[0], {**fine, "trials": 6}])).stages


def test_a_pruner_that_cannot_decide_in_stages_auto_is_told_where_it_stands() -> None:
    auto: dict[str, Any] = {"stages": "auto", "budget": {"epochs": 100}}
    found = problems_of("hyperband", **auto)  # the coarse stage has one epoch
    assert [problem.key for problem in found] == ["pruner"]

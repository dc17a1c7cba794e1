"""Many trials that fail: how many, and where in the space; silence where nothing is to be said."""

from __future__ import annotations

import random

import pytest
from searched import a_picture, a_spec_of, trials_of

from hpsearch.analysis.diagnosis.of_search.failing import failed, nothing_complete
from hpsearch.spec.loading import load
from hpsearch.spec.space import Params

SPEC = a_spec_of(
    {
        "learning_rate": {"log_uniform": [1e-5, 10.0]},
        "dropout": {"uniform": [0.0, 0.9]},
        "batch_size": {"choice": [16, 32, 64, 128]},
    }
)
PRUNED = a_spec_of({"learning_rate": {"log_uniform": [1e-5, 10.0]}}, pruner="median")


def drawn(count: int, seed: int = 0) -> list[Params]:
    draw = random.Random(seed)
    return [
        {
            "learning_rate": 10 ** draw.uniform(-5, 1),
            "dropout": draw.uniform(0.0, 0.9),
            "batch_size": draw.choice([16, 32, 64, 128]),
        }
        for _ in range(count)
    ]


def test_that_rates_diverge_from_some_value_on_is_told_with_the_value() -> None:
    params = drawn(60)
    values = [None if one["learning_rate"] > 0.1 else 0.9 for one in params]
    (found,) = failed(a_picture(SPEC, trials_of(params, values)))
    above = [one["learning_rate"] for one in params if one["learning_rate"] > 0.1]
    last_good = max(r for one in params if (r := one["learning_rate"]) <= 0.1)
    assert found.kind == "many_diverged"
    assert found.evidence["parameter"] == "learning_rate"
    assert found.evidence["side"] == "upper"
    assert found.evidence["edge"] == min(above)
    assert (found.evidence["past"], found.evidence["failed_past"]) == (len(above), len(above))
    assert "a stability edge" in found.message
    assert f"set the upper end of space.learning_rate to {last_good:.3g}" in found.message


def test_a_choice_that_fails_is_told() -> None:
    params = drawn(60)
    values = [None if one["batch_size"] in (64, 128) else 0.9 for one in params]
    trials = trials_of(params, values)
    (found,) = failed(a_picture(SPEC, trials))
    assert "parameter" not in found.evidence  # two choices fail: neither parts all failures off
    values = [None if one["batch_size"] == 128 else 0.9 for one in params * 2]
    oom = [
        trial.changed({"failure_kind": "out_of_memory"}) if trial.state == "failed" else trial
        for trial in trials_of(
            [one for one in params * 2 if one["batch_size"] > 32],
            [
                value
                for one, value in zip(params * 2, values, strict=True)
                if one["batch_size"] > 32
            ],
        )
    ]
    (found,) = failed(a_picture(SPEC, oom))
    assert found.kind == "many_out_of_memory"
    assert (found.evidence["parameter"], found.evidence["edge"]) == ("batch_size", 128)
    assert "leave it out of the choices of space.batch_size" in found.message
    assert "stability" not in found.message


def test_failures_that_lie_anywhere_have_no_edge() -> None:
    params = drawn(60)
    draw = random.Random(1)
    values = [None if draw.random() < 0.4 else 0.9 for _ in params]
    (found,) = failed(a_picture(SPEC, trials_of(params, values)))
    assert "parameter" not in found.evidence
    assert "lower the learning rates" in found.message


def test_a_few_failures_are_no_matter() -> None:
    params = drawn(60)
    values = [None if one["learning_rate"] > 0.7 else 0.9 for one in params]
    assert 0.1 * 60 < values.count(None) < 0.3 * 60
    assert list(failed(a_picture(SPEC, trials_of(params, values)))) == []


def test_few_trials_are_no_judge() -> None:
    params = drawn(7)
    assert list(failed(a_picture(SPEC, trials_of(params, [None] * 5 + [0.9] * 2)))) == []


def test_that_all_diverged_is_told_and_that_one_did_not_is_not() -> None:
    params = drawn(5)
    (found,) = nothing_complete(a_picture(SPEC, trials_of(params, [None] * 5)))
    assert "lower the range of space.learning_rate" in found.message
    assert list(nothing_complete(a_picture(SPEC, trials_of(params, [None] * 4 + [0.1])))) == []
    assert list(nothing_complete(a_picture(SPEC, []))) == []


@pytest.mark.parametrize("complete", [0, 1])
def test_a_search_that_its_pruner_ended_says_so(complete: int) -> None:
    trials = trials_of(drawn(4), [0.1] * 3 + [0.1 if complete else None])
    pruned = [trial.changed({"state": "pruned"}) for trial in trials[:3]]
    found = list(nothing_complete(a_picture(PRUNED, [*pruned, trials[3]])))
    assert len(found) == 1 - complete
    for finding in found:
        assert "none of the 4 trials was trained to its end, for 3 were pruned" in finding.message
        assert "(median): loosen what prunes, or say pruner: none" in finding.message
        assert finding.evidence == {"trials": 4, "pruned": 3}


@pytest.mark.parametrize(("num_failed", "is_told"), [(1, True), (2, False), (99, False)])
def test_a_pruner_is_the_reason_only_where_no_more_trials_failed(
    num_failed: int, is_told: bool
) -> None:
    first, *failed = trials_of(drawn(1 + num_failed), [None] * (1 + num_failed))
    trials = [first.changed({"state": "pruned", "failure_kind": None}), *failed]
    assert bool(list(nothing_complete(a_picture(PRUNED, trials)))) == is_told


@pytest.mark.parametrize(
    ("space", "train", "advice"),
    [
        ("learning_rate", {}, "lower the range of space.learning_rate, and search again"),
        ("step", {"learning_rate": 3}, "lower train.learning_rate, and search again"),
        ("step", {}, "see at which values loss is not finite, and leave them out"),
    ],
)
def test_a_trainable_that_diverged_is_told_of_a_rate_only_where_it_has_one(
    space: str, train: dict[str, float], advice: str
) -> None:
    spec = load(
        {
            "name": "own",
            "trainable": "own_trainables:plain",
            "objective": {"metric": "loss", "mode": "min"},
            "train": train,
            "space": {space: {"uniform": [0, 1]}},
            "stages": [{"name": "only", "trials": 4, "epochs": 4}],
        }
    )
    (found,) = nothing_complete(a_picture(spec, trials_of([{space: 0.5}] * 4, [None] * 4)))
    assert found.message == f"all 4 trials diverged: {advice}"


def test_a_part_of_the_space_where_half_fail_has_no_edge() -> None:
    params, draw = drawn(100), random.Random(1)
    values = [
        None if one["learning_rate"] > 1e-3 and draw.random() < 0.6 else 0.9 for one in params
    ]
    (found,) = failed(a_picture(SPEC, trials_of(params, values)))
    assert "parameter" not in found.evidence


def test_so_few_trials_that_chance_would_part_them_have_no_edge() -> None:
    params = sorted(drawn(9), key=lambda one: float(one["learning_rate"]))
    (found,) = failed(a_picture(SPEC, trials_of(params, [0.9] * 4 + [None] * 5)))
    assert "parameter" not in found.evidence


def test_trials_that_failed_in_another_way_do_not_hide_an_edge() -> None:
    """Below the edge many trials raised an error: those are not what lies there."""
    params = drawn(60)
    trials = [
        trial.changed({"state": "failed", "failure_kind": "error", "value": None})
        if trial.params["learning_rate"] < 1e-3
        else trial
        for trial in trials_of(
            params, [None if one["learning_rate"] > 0.1 else 0.9 for one in params]
        )
    ]
    kinds = {one.kind: one for one in failed(a_picture(SPEC, trials))}
    assert kinds["many_diverged"].evidence["parameter"] == "learning_rate"
    assert kinds["many_diverged"].evidence["side"] == "upper"


def test_what_most_of_those_that_failed_say_is_told() -> None:
    said = ["Traceback\n  ...\nRuntimeError: boom"] * 6 + ["ValueError: width"] * 2
    trials = [
        trial.changed({"failure_kind": "error", "failure_message": message})
        for trial, message in zip(trials_of(drawn(8), [None] * 8), said, strict=True)
    ]
    (found,) = failed(a_picture(SPEC, trials))
    assert "8 of 8 trials failed as error, 6 of them with: RuntimeError: boom" in found.message
    assert (found.evidence["message"], found.evidence["saying"]) == ("RuntimeError: boom", 6)

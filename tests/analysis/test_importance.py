"""Importance: what decided is told from what did not, by trials that can be compared."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searched import a_searched, a_spec_of, a_stage_of, trials_of
from stored_searches import begin

from hpsearch.analysis.frames import Frames
from hpsearch.analysis.importance import IMPORTANCE, Importance, importances
from hpsearch.analysis.observing import placed_in_stage
from hpsearch.sampling.studies import quiet
from hpsearch.spec.space import Params
from hpsearch.storage.database import Database

SPACE = {
    "learning_rate": {"log_uniform": [1e-6, 1.0]},
    "dropout": {"uniform": [0.0, 0.9]},
    "batch_size": {"log_int": [16, 64], "base": 2},
    "optimizer": {"choice": ["sgd", "momentum"]},
    "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": ["momentum"]}},
}
SPEC = a_spec_of(SPACE)
SEARCH, STAGE = a_searched(SPEC), a_stage_of(SPEC)


def drawn(count: int, seed: int = 0) -> list[Params]:
    """Random params of the space above."""
    draw = random.Random(seed)

    def one() -> Params:
        optimizer = draw.choice(["sgd", "momentum"])
        params: Params = {
            "learning_rate": 10 ** draw.uniform(-6, 0),
            "dropout": draw.uniform(0.0, 0.9),
            "batch_size": draw.choice([16, 32, 64]),
            "optimizer": optimizer,
        }
        return params if optimizer == "sgd" else {**params, "momentum": draw.uniform(0.5, 0.99)}

    return [one() for _ in range(count)]


def bowl(params: Params) -> float:
    return -((math.log10(params["learning_rate"]) + 2) ** 2)


def by_name(found: list[Importance]) -> dict[str, Importance]:
    return {one.parameter: one for one in found}


def test_the_parameter_that_decides_has_nearly_all_of_it() -> None:
    params = drawn(200)
    found = importances(SEARCH, [STAGE], trials_of(params, [bowl(one) for one in params]))
    assert found[0].parameter == "learning_rate"
    assert found[0].share is not None
    assert found[0].share > 0.9
    assert sum(one.share or 0.0 for one in found) == pytest.approx(1.0)


def test_it_is_what_optuna_says_of_one_stage_without_conditions() -> None:
    spec = a_spec_of(
        {"learning_rate": {"log_uniform": [1e-6, 1.0]}, "dropout": {"uniform": [0.0, 0.9]}}
    )
    params = [{n: one[n] for n in ("learning_rate", "dropout")} for one in drawn(100)]
    values = [bowl(one) - 3 * one["dropout"] for one in params]
    study = optuna.create_study(direction="maximize")
    space = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1.0, log=True),
        "dropout": optuna.distributions.FloatDistribution(0.0, 0.9),
    }
    for one, value in zip(params, values, strict=True):
        trial = optuna.trial.create_trial(params=one, distributions=space, value=value)
        study.add_trial(trial)
    with quiet():
        expected = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.2)
        )
    found = importances(a_searched(spec), [a_stage_of(spec)], trials_of(params, values))
    assert {one.parameter: one.share for one in found} == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100), seed=st.integers(0, 5))
def test_it_is_the_same_on_any_scale_of_the_objective(
    scale: float, shift: float, seed: int
) -> None:
    params = drawn(40, seed)
    values = [round(bowl(one), 3) for one in params]
    other = [round(value * scale + shift, 9) for value in values]
    found = importances(SEARCH, [STAGE], trials_of(params, values))
    assert importances(SEARCH, [STAGE], trials_of(params, other)) == found


def test_a_minimum_is_turned_about() -> None:
    params = drawn(60)
    values = [bowl(one) for one in params]
    lowest = a_spec_of(SPACE, objective={"metric": "val_loss", "mode": "min"})
    found = importances(SEARCH, [STAGE], trials_of(params, values))
    turned = trials_of(params, [-value for value in values])
    assert importances(a_searched(lowest), [STAGE], turned) == found


def test_a_conditional_parameter_is_judged_over_the_trials_that_have_it() -> None:
    params = drawn(200)
    values = [one.get("momentum", 0.0) for one in params]
    found = by_name(importances(SEARCH, [STAGE], trials_of(params, values)))
    assert found["momentum"].n == sum("momentum" in one for one in params)
    shares = {name: one.share or 0.0 for name, one in found.items()}
    assert max(shares, key=lambda name: shares[name]) == "momentum"
    assert shares["optimizer"] > shares["dropout"]


def test_trials_are_held_against_those_of_their_stage_alone() -> None:
    """The fine stage is better for its epochs, and narrow in dropout by the user's wish."""
    coarse, fine = drawn(100), [{**one, "dropout": 0.1 + one["dropout"] / 9} for one in drawn(100)]
    branches = [
        branch.model_copy(
            update={
                "parameters": {
                    **branch.parameters,
                    "dropout": SPEC.space.parameters["dropout"].model_copy(
                        update={"low": 0.1, "high": 0.2}
                    ),
                }
            }
        )
        for branch in SPEC.space.branches()
    ]
    stages = [STAGE, a_stage_of(SPEC, 2, branches=tuple(branches))]
    trials = [
        *trials_of(coarse, [bowl(one) for one in coarse]),
        *trials_of(fine, [bowl(one) + 50 for one in fine], stage_id=2, first=100),
    ]
    found = by_name(importances(SEARCH, stages, trials))
    assert (found["dropout"].share or 0.0) < 0.1
    assert (found["learning_rate"].share or 0.0) > 0.8


def test_an_extension_is_compared_with_the_stage_that_it_extends() -> None:
    """All of the best lie past the old edge of the rate; on either side, dropout decides."""
    inside = [{**one, "learning_rate": max(1e-6, one["learning_rate"] / 1e3)} for one in drawn(60)]
    past = [{**one, "learning_rate": one["learning_rate"] ** 0.5} for one in drawn(30, seed=1)]
    extension = a_stage_of(SPEC, 2, planned=0, kind="expand")
    trials = [
        *trials_of(inside, [-one["dropout"] for one in inside]),
        *trials_of(past, [10 - one["dropout"] for one in past], stage_id=2, first=60),
    ]
    found = importances(SEARCH, [STAGE, extension], trials)
    assert found[0].parameter == "learning_rate"


def test_that_rates_diverge_makes_the_rate_matter() -> None:
    params = drawn(100)
    values = [None if one["learning_rate"] > 1e-5 else 0.5 for one in params]
    found = importances(SEARCH, [STAGE], trials_of(params, values))
    assert found[0].parameter == "learning_rate"


def test_what_goes_on_or_repeats_another_says_nothing_new() -> None:
    params = drawn(60)
    trials = trials_of(params, [bowl(one) for one in params])
    fine, confirm = a_stage_of(SPEC, 2), a_stage_of(SPEC, 3, kind="confirm", branches=())
    more = [
        *trials_of(params[:5], [9.0] * 5, stage_id=2, first=60, parent_id=1, start_epoch=10),
        *trials_of(params[:5], [9.0] * 5, stage_id=3, first=65, parent_id=1, replicate=1),
    ]
    more = [trial.changed({"parent_id": trial.number % 5 + 1}) for trial in more]
    found = importances(SEARCH, [STAGE, fine, confirm], [*trials, *more])
    without = importances(SEARCH, [STAGE], trials)
    assert [replace(one, merged=0) for one in found] == without
    momenta = sum("momentum" in one for one in params[:5])
    assert {name: one.merged for name, one in by_name(found).items()} == {
        **dict.fromkeys(SPEC.space.parameters, 10),
        "momentum": 2 * momenta,
    }


def test_one_value_in_all_trials_tells_nothing() -> None:
    params = [{**one, "batch_size": 32} for one in drawn(60)]
    found = importances(SEARCH, [STAGE], trials_of(params, [bowl(one) for one in params]))
    assert found[-1] == Importance(
        parameter="batch_size", share=None, n=60, note="all trials have the same value of it"
    )


@pytest.mark.parametrize(
    ("count", "again", "told"),
    [
        (0, 0, "none have ended"),
        (1, 0, "1 has ended"),
        (19, 0, "19 have ended"),
        (
            8,
            1,
            "8 have ended; 1 more repeats or goes on with one of these, which tells nothing new",
        ),
        (8, 2, "8 have ended; 2 more repeat or go on with some of these, which tells nothing new"),
    ],
)
def test_too_few_trials_tell_nothing_and_it_is_said_how_many_would(
    count: int, again: int, told: str
) -> None:
    params = drawn(count)
    trials = trials_of(params, [bowl(one) for one in params])
    more = [one.changed({"id": 90 + one.id, "parent_id": one.id}) for one in trials[:again]]
    found = importances(SEARCH, [STAGE], [*trials, *more])
    assert [one.share for one in found] == [None] * 5
    assert found[0].note == f"at least 20 trials are needed to tell, but {told}"
    assert (found[0].n, found[0].merged) == (count, again)


@pytest.mark.parametrize(
    ("having", "told"),
    [(0, "none of 30 have it"), (1, "1 of 30 has it"), (19, "19 of 30 have it")],
)
def test_few_trials_with_a_parameter_tell_nothing_of_it(having: int, told: str) -> None:
    plain = [{**one, "optimizer": "sgd"} for one in drawn(30)]
    params = [
        {**one, "optimizer": "momentum", "momentum": 0.5 + i / 100} if i < having else one
        for i, one in enumerate(({k: v for k, v in p.items() if k != "momentum"}) for p in plain)
    ]
    found = by_name(importances(SEARCH, [STAGE], trials_of(params, [bowl(p) for p in params])))
    assert found["momentum"].note == f"at least 20 trials are needed to tell, but {told}"


def test_a_repeat_that_still_runs_or_was_lost_is_not_counted() -> None:
    params = drawn(8)
    trials = trials_of(params, [bowl(one) for one in params])
    changes = [{"state": "running"}, {"state": "failed", "failure_kind": "worker_lost"}]
    more = [
        one.changed({"id": 90 + one.id, "parent_id": one.id, **change})
        for one, change in zip(trials, changes, strict=False)
    ]
    assert {one.merged for one in importances(SEARCH, [STAGE], [*trials, *more])} == {0}


def test_equals_have_nothing_in_common() -> None:
    found = importances(SEARCH, [STAGE], trials_of(drawn(60), [0.5] * 60))
    assert {(one.share, one.beyond_chance) for one in found} == {(0.0, False)}


def test_each_definition_of_a_parameter_is_judged_by_itself() -> None:
    """Momentum is better than sgd, and has the lower rates: within each, the rate is no matter."""
    rates = [
        {"log_uniform": [1e-6, 1e-4], "when": {"optimizer": ["momentum"]}},
        {"log_uniform": [1e-3, 1.0], "when": {"optimizer": ["sgd"]}},
    ]
    spec = a_spec_of({"optimizer": {"choice": ["sgd", "momentum"]}, "learning_rate": rates})
    draw = random.Random(0)
    params = [
        {"optimizer": "momentum", "learning_rate": 10 ** draw.uniform(-6, -4)}
        if number % 2
        else {"optimizer": "sgd", "learning_rate": 10 ** draw.uniform(-3, 0)}
        for number in range(1000)
    ]
    values = [(one["optimizer"] == "momentum") + draw.random() for one in params]
    found = by_name(importances(a_searched(spec), [a_stage_of(spec)], trials_of(params, values)))
    assert (found["optimizer"].share or 0.0) > 0.8


def test_the_frame_has_a_row_for_each_parameter_and_its_dtypes_always(database: Database) -> None:
    writer = begin(database, num_trials=3)
    found = Frames(writer.repository).importance(writer.search.id)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == IMPORTANCE
    assert sorted(found["parameter"]) == sorted(writer.search.spec.space.parameters)
    assert found["n"].tolist() == [0] * len(found)


def test_the_best_of_a_small_stage_is_not_placed_last() -> None:
    """Places are of the middle of a rank: those of stages of any size can be compared."""
    first, second = a_stage_of(SPEC, id=1), a_stage_of(SPEC, id=2)
    few = trials_of(drawn(1), [0.9], stage_id=2, first=9)
    many = trials_of(drawn(9), [0.1 * i for i in range(9)], stage_id=1)
    found = {o.number: p for o, p in placed_in_stage("max", [first, second], [*many, *few])}
    assert found[few[0].number] == 0.5
    assert found[many[8].number] == pytest.approx(1 / 18)
    assert found[many[0].number] == pytest.approx(17 / 18)

"""CoarseToFineSampler on problems whose answer is known: what it narrows and extends."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import Trial, TrialState, create_trial

from hpsearch.integrations.optuna import CoarseToFineSampler
from hpsearch.integrations.spaces import definition, found_space, part_of
from hpsearch.spec.space import Choice, Range

optuna.logging.set_verbosity(optuna.logging.WARNING)
BEST_RATE = {"sgd": 1e-1, "adam": 1e-3}


def bowl(trial: Trial) -> float:
    """Least at a rate of 1e-3; the second parameter does not matter."""
    rate = trial.suggest_float("rate", 1e-6, 1.0, log=True)
    trial.suggest_float("idle", 0.0, 1.0)
    return (math.log10(rate) + 3) ** 2


def two_optimizers(trial: Trial) -> float:
    """Each optimizer has a best rate of its own, and momentum is asked of one alone."""
    rate = trial.suggest_float("rate", 1e-6, 1.0, log=True)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    loss = (math.log10(rate / BEST_RATE[optimizer])) ** 2
    if optimizer == "sgd":
        loss += 10 * (trial.suggest_float("momentum", 0.0, 0.99) - 0.9) ** 2
    return loss


def searched(
    objective: Callable[[Trial], float],
    stages: tuple[int, ...] = (40, 30, 30),
    *,
    num_trials: int | None = None,
    **options: Any,
) -> optuna.Study:
    study = optuna.create_study(sampler=CoarseToFineSampler(stages, seed=1, **options))
    study.optimize(objective, n_trials=num_trials or sum(stages), catch=(ZeroDivisionError,))
    return study


def values(study: optuna.Study, name: str, start: int, end: int, **fixed: Any) -> list[Any]:
    trials = (t for t in study.trials[start:end] if name in t.params)
    return [t.params[name] for t in trials if fixed.items() <= t.params.items()]


def decades(found: list[float]) -> float:
    return math.log10(max(found) / min(found))


def test_ranges_close_in_on_the_best_stage_by_stage() -> None:
    study = searched(bowl)
    first, second, third = (values(study, "rate", *ends) for ends in ((0, 40), (40, 70), (70, 100)))
    assert decades(first) > 5
    assert decades(second) < 0.6 * decades(first)
    assert decades(third) < 0.6 * decades(second)
    assert min(third) < 1e-3 < max(third)


def test_a_parameter_that_does_not_matter_stays_wide() -> None:
    last = values(searched(bowl), "idle", 70, 100)
    assert max(last) - min(last) > 0.8


def test_it_finds_better_values_than_chance_does() -> None:
    best = {"chance": 0.0, "ours": 0.0}
    for seed in range(5):
        samplers = {"chance": RandomSampler(seed=seed), "ours": CoarseToFineSampler(seed=seed)}
        for name, sampler in samplers.items():
            study = optuna.create_study(sampler=sampler)
            study.optimize(two_optimizers, n_trials=100)
            best[name] += study.best_value
    assert best["ours"] < best["chance"] / 4


def test_each_value_of_a_categorical_that_others_depend_on_has_ranges_of_its_own() -> None:
    study = searched(two_optimizers, (60, 60))
    for optimizer, best in BEST_RATE.items():
        found = values(study, "rate", 60, 120, optimizer=optimizer)
        assert len(found) >= 10
        assert best / 100 < min(found) < best < max(found) < best * 100
    assert min(values(study, "momentum", 0, 60)) < 0.1
    assert min(values(study, "momentum", 60, 120)) > 0.4


def test_a_branch_that_is_worse_by_far_is_dropped() -> None:
    def objective(trial: Trial) -> float:
        return two_optimizers(trial) + 5 * (trial.params["optimizer"] == "sgd")

    study = searched(objective, (60, 30))
    assert values(study, "optimizer", 60, 90) == ["adam"] * 30
    assert any("optimizer=sgd" in why and "dropped" in why for why in study.sampler.reasons(study))


def test_so_has_a_categorical_that_is_named() -> None:
    def objective(trial: Trial) -> float:
        kind = trial.suggest_categorical("kind", ["low", "high"])
        return abs(trial.suggest_float("x", 0.0, 1.0) - {"low": 0.2, "high": 0.8}[kind])

    study = searched(objective, branch_by=["kind"])
    assert max(values(study, "x", 70, 100, kind="low")) < 0.5
    assert min(values(study, "x", 70, 100, kind="high")) > 0.5


def test_a_choice_that_is_never_among_the_best_is_dropped() -> None:
    def objective(trial: Trial) -> float:
        bad = trial.suggest_categorical("kind", ["good", [1, 2]]) != "good"
        return trial.suggest_float("x", 0.0, 1.0) + 10 * bad

    with pytest.warns(UserWarning, match="Choices for a categorical"):
        study = searched(objective, (40, 20))
    assert set(map(str, values(study, "kind", 0, 40))) == {"good", "[1, 2]"}
    assert set(values(study, "kind", 40, 60)) == {"good"}


def test_a_range_that_was_narrowed_past_the_best_is_extended_again() -> None:
    def moving(trial: Trial) -> float:
        x = trial.suggest_float("x", 0.0, 10.0)
        return 100 + abs(x - 2.0) if trial.number < 40 else abs(x - 9.5)

    study = searched(moving, (40, 40, 60, 60))
    second = values(study, "x", 40, 80)
    assert max(second) < 6
    assert max(values(study, "x", 80, 100)) > max(second) + 0.5  # the first third looks past it
    assert any("crowd the upper edge" in why for why in study.sampler.reasons(study))


def test_nothing_leaves_what_the_objective_asks_for() -> None:
    def edge(trial: Trial) -> float:
        return trial.suggest_float("x", 0.0, 1.0)  # least on the border

    study = searched(edge)
    assert all(0.0 <= x <= 1.0 for x in values(study, "x", 0, 100))
    assert [why for why in study.sampler.reasons(study) if "lower edge 0" in why]
    assert "which is the parameter's own limit: not extended" in study.sampler.reasons(study)[-1]


def test_beyond_the_edge_of_stability_nothing_is_drawn() -> None:
    def diverging(trial: Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-6, 1.0, log=True)
        return math.inf if rate > 1e-2 else -math.log10(rate)

    study = searched(diverging, (40, 30))
    assert any(t.params["learning_rate"] > 0.1 for t in study.trials[:40])
    assert max(values(study, "learning_rate", 40, 70)) <= 1e-2


def test_failed_trials_of_which_nothing_is_known_count_for_nothing() -> None:
    def failing(trial: Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-6, 1.0, log=True)
        return (trial.number * 7 % 11) / (0 if rate > 1e-2 else 1)

    study = searched(failing, (60, 30))
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.FAIL}
    assert max(values(study, "learning_rate", 60, 90)) > 1e-2  # this is no edge of stability


def test_pruned_trials_count_with_the_best_that_they_reported() -> None:
    def pruned(trial: Trial) -> float:
        value = bowl(trial)
        trial.report(value, 0)
        trial.report(100 - value, 1)
        if trial.number % 8:  # the others alone are too few to judge by
            raise optuna.TrialPruned
        return value

    assert decades(values(searched(pruned, (40, 30)), "rate", 40, 70)) < 3


def test_a_trial_with_an_enqueued_choice_has_the_ranges_of_its_branch() -> None:
    study = searched(two_optimizers, (60, 60), num_trials=60)
    for _ in range(30):
        study.enqueue_trial({"optimizer": "adam"})
    study.optimize(two_optimizers, n_trials=30)
    assert values(study, "optimizer", 60, 90) == ["adam"] * 30
    assert max(values(study, "rate", 60, 90)) < 0.1


def test_the_same_seed_gives_the_same_study_also_from_a_copy() -> None:
    first, again = searched(two_optimizers), searched(two_optimizers)
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    begun = searched(two_optimizers, num_trials=50)
    begun.sampler = pickle.loads(pickle.dumps(begun.sampler))
    begun.optimize(two_optimizers, n_trials=50)
    assert [t.params for t in begun.trials] == [t.params for t in first.trials]


def test_another_seed_and_none_give_others() -> None:
    drawn = set()
    for seed in (1, 2, None, None):
        study = optuna.create_study(sampler=CoarseToFineSampler(seed=seed))
        study.optimize(bowl, n_trials=1)
        drawn.add(study.trials[0].params["rate"])
    assert len(drawn) == 4


def test_threads_ask_side_by_side() -> None:
    barrier = threading.Barrier(4)

    def together(trial: Trial) -> float:
        if trial.number < 4:
            barrier.wait(10)
        return two_optimizers(trial)

    study = optuna.create_study(sampler=CoarseToFineSampler((20, 20, 20), seed=0))
    study.optimize(together, n_trials=60, n_jobs=4)
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}
    assert len({t.params["rate"] for t in study.trials}) == 60


def test_a_choice_that_is_fixed_from_outside_is_kept_to() -> None:
    study = searched(two_optimizers, (60, 60), num_trials=60)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.sampler = PartialFixedSampler({"optimizer": "adam"}, study.sampler)
    study.optimize(two_optimizers, n_trials=30)
    assert values(study, "optimizer", 60, 90) == ["adam"] * 30


def test_trials_after_the_last_stage_have_its_ranges() -> None:
    study = searched(bowl, num_trials=150)
    assert decades(values(study, "rate", 100, 150)) <= 1.2 * decades(values(study, "rate", 70, 100))


@pytest.mark.parametrize("stages", [(), (0,), (40, -1), (1.5,), "40"])
def test_stages_that_cannot_be_are_refused(stages: Any) -> None:
    with pytest.raises(
        ValueError, match=r"stages must be positive whole numbers.*give for example"
    ):
        CoarseToFineSampler(stages)


STEPS = [
    (FloatDistribution(0, 10, step=0.5), Range(kind="uniform", low=1.2, high=2.9), 1.0, 3.0),
    (FloatDistribution(-10.2, 10.2, step=0.1), Range(kind="uniform", low=0, high=1), 0.0, 1.0),
    (IntDistribution(0, 10, step=2), Range(kind="int", low=3, high=5), 2, 6),
    (IntDistribution(3, 9, step=3), Range(kind="int", low=3, high=9), 3, 9),
    (IntDistribution(1, 100, log=True), Range(kind="log_int", low=3, high=50), 3, 50),
    (FloatDistribution(1e-7, 1.0, log=True), Range(kind="log_uniform", low=1e-8, high=2), 1e-7, 1),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("whole", "narrowed", "low", "high"), STEPS, ids=str)
def test_a_part_is_rounded_outwards_to_the_steps(
    whole: Any, narrowed: Range, low: float, high: float
) -> None:
    part = part_of(whole, narrowed)
    assert (part.low, part.high, part.step, part.log) == (low, high, whole.step, whole.log)


def test_a_space_has_the_conditions_that_trials_show() -> None:
    kinds = {
        "model": CategoricalDistribution(("tree", "net")),
        "optimizer": CategoricalDistribution(("sgd", "adam")),
        "momentum": FloatDistribution(0, 1),
        "random": FloatDistribution(0, 1),
        "widened": FloatDistribution(0, 1),
    }
    shown = [
        {"model": "tree", "random": 0.1, "widened": 0.5},
        {"model": "tree", "widened": 0.5},
        {"model": "net", "optimizer": "sgd", "momentum": 0.5, "widened": 0.5},
        {"model": "net", "optimizer": "sgd", "momentum": 0.5, "random": 0.1, "widened": 0.5},
        {"model": "net", "optimizer": "adam", "widened": 0.5},
    ]
    trials = [
        create_trial(
            value=0,
            params=params,
            distributions={name: kinds[name] for name in params}
            | {"widened": FloatDistribution(0, 1 + (number == 4))},
        )
        for number, params in enumerate(shown)
    ]
    parameters = found_space(trials).space.parameters
    assert parameters == {
        "model": Choice(choices=("tree", "net")),
        "optimizer": Choice(choices=("sgd", "adam"), when={"model": ("net",)}),
        "momentum": Range(kind="uniform", low=0, high=1, when={"optimizer": ("sgd",)}),
    }
    keys = [branch.key for branch in found_space(trials).space.branches()]
    assert keys == ["model=tree", "model=net,optimizer=sgd", "model=net,optimizer=adam"]


def test_a_condition_on_a_list_is_one_on_a_tuple() -> None:
    one = definition(CategoricalDistribution((None, True, 1, "a")))
    assert isinstance(one, Choice)
    assert one.choices == (None, True, 1, "a")

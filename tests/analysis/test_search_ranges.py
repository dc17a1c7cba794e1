"""The best on a border, and too few good trials: on a search made to show it and on others."""

from __future__ import annotations

import math
import random

from searched import a_picture, a_searched, a_spec_of, a_stage_of, trials_of

from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.diagnosis.of_search.ranges import best_on_border, few_good
from hpsearch.spec.space import Params

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "learning_rate": {"log_uniform": [1e-5, 1e-1]},
}
SPEC = a_spec_of(SPACE)
TWO = a_spec_of(
    SPACE,
    stages=[
        {"name": "coarse", "trials": 40, "epochs": 10, "expand": 0},
        {"name": "fine", "trials": 20, "epochs": 10, "expand": 0},
    ],
)
LOSS = a_spec_of(SPACE, objective={"metric": "val_loss", "mode": "min"})


def drawn(count: int, seed: int = 0) -> list[Params]:
    draw = random.Random(seed)
    return [
        {"optimizer": ("sgd", "adam")[i % 2], "learning_rate": 10 ** draw.uniform(-5, -1)}
        for i in range(count)
    ]


def bowl(params: Params, sgd: float, adam: float) -> float:
    """An accuracy with its top, 0.9, at one exponent of the rate for each optimizer."""
    top = sgd if params["optimizer"] == "sgd" else adam
    return 0.9 - 0.05 * (math.log10(params["learning_rate"]) - top) ** 2


def test_the_branch_whose_best_lie_on_a_border_is_named_with_the_way_to_go() -> None:
    params = drawn(60)
    trials = trials_of(params, [bowl(one, sgd=-1, adam=-3) for one in params])
    (found,) = best_on_border(a_picture(SPEC, trials))
    assert found.kind == "best_on_border"
    assert found.message.startswith("learning_rate (sgd): ")
    assert "upper edge 0.1" in found.message
    assert "try up to 10" in found.message
    assert found.stage_id == 1


def test_the_best_inside_are_on_no_border() -> None:
    params = drawn(60)
    trials = trials_of(params, [bowl(one, sgd=-3, adam=-3) for one in params])
    assert list(best_on_border(a_picture(SPEC, trials))) == []


def test_a_border_that_was_moved_is_no_border() -> None:
    """The first stage ends on it; an expand stage looked past, and the best lie between."""
    params = drawn(60)
    moved = [
        branch.model_copy(
            update={
                "parameters": {
                    "learning_rate": branch.parameters["learning_rate"].model_copy(
                        update={"low": 0.05, "high": 10.0}
                    )
                }
            }
        )
        for branch in SPEC.space.branches()
    ]
    extension = a_stage_of(SPEC, 2, planned=0, kind="expand", branches=tuple(moved))
    draw = random.Random(1)
    past = [{"optimizer": "sgd", "learning_rate": 10 ** draw.uniform(-1.3, 1)} for _ in range(20)]
    trials = [
        *trials_of(params, [bowl(one, sgd=-1, adam=-3) for one in params]),
        *trials_of(past, [bowl(one, sgd=-1, adam=-3) for one in past], stage_id=2, first=60),
    ]
    assert list(best_on_border(a_picture(SPEC, trials, [a_stage_of(SPEC), extension]))) == []


def needle(count: int, good: int) -> Picture:
    """All trials at 0.6, but for the first few at 0.95."""
    values = [0.95 - 0.001 * i if i < good else 0.6 + 0.0001 * i for i in range(count)]
    return a_picture(SPEC, trials_of(drawn(count), values))


def test_a_best_that_no_other_comes_near_is_told() -> None:
    (found,) = few_good(needle(40, 1))
    assert found.kind == "few_good"
    assert found.evidence == {"good": 1, "tried": 40, "best": 0.95}
    assert "number 0 (0.95)" in found.message
    assert "trials: 80" in found.message
    (found,) = few_good(needle(40, 2))
    assert "one other alone comes near it" in found.message


def test_three_good_ones_are_enough() -> None:
    assert list(few_good(needle(40, 3))) == []


def test_few_trials_have_few_good_ones() -> None:
    assert list(few_good(needle(19, 1))) == []


def test_trials_that_were_pruned_might_have_come_near() -> None:
    picture = needle(60, 1)
    pruned = [t.changed({"state": "pruned"}) if t.number > 18 else t for t in picture.trials]
    assert list(few_good(a_picture(SPEC, pruned))) == []


def test_near_is_less_than_twice_the_error_of_a_loss() -> None:
    values = [0.1, *(0.19 if i < 2 else 0.5 for i in range(39))]
    assert list(few_good(a_picture(LOSS, trials_of(drawn(40), values)))) == []
    values = [0.1, *(0.21 if i < 2 else 0.5 for i in range(39))]
    assert [f.kind for f in few_good(a_picture(LOSS, trials_of(drawn(40), values)))] == ["few_good"]


def test_near_is_a_fifth_of_the_way_to_the_median_of_an_objective_nobody_knows() -> None:
    spec = SPEC.model_copy(
        update={"objective": SPEC.objective.model_copy(update={"metric": "reward"})}
    )
    for second in (-81.0, -79.0):
        values = [0.0, second, second, *[-400.0] * 37]
        found = few_good(a_picture(spec, trials_of(drawn(40), values)))
        assert [one.kind for one in found] == (["few_good"] if second < -80 else [])


def test_only_the_last_stage_is_asked_for_good_ones() -> None:
    """The coarse stage has one good trial, the fine stage around it many."""
    coarse = trials_of(drawn(40), [0.99, *[0.5] * 39])
    fine = trials_of(drawn(20, seed=1), [0.95] * 20, stage_id=2, first=40)
    stages = [a_stage_of(TWO), a_stage_of(TWO, 2)]
    picture = Picture(search=a_searched(TWO), stages=stages, trials=[*coarse, *fine])
    assert list(few_good(picture)) == []


def test_a_search_without_trials_is_on_no_border() -> None:
    assert list(best_on_border(a_picture(SPEC, [], []))) == []
    assert list(few_good(a_picture(SPEC, [], []))) == []


def test_only_the_last_stage_ends_on_a_border() -> None:
    """The best of the coarse stage crowd 0.1; the fine stage was moved, and holds them inside."""
    moved = [
        branch.model_copy(
            update={
                "parameters": {
                    "learning_rate": branch.parameters["learning_rate"].model_copy(
                        update={"low": 1e-3, "high": 10.0}
                    )
                }
            }
        )
        for branch in TWO.space.branches()
    ]
    params, draw = drawn(60), random.Random(1)
    past = [{**one, "learning_rate": 10 ** draw.uniform(-3, 1)} for one in drawn(60)]
    trials = [
        *trials_of(params, [bowl(one, sgd=-1, adam=-1) for one in params]),
        *trials_of(past, [bowl(one, sgd=-1, adam=-1) for one in past], stage_id=2, first=60),
    ]
    stages = [a_stage_of(TWO), a_stage_of(TWO, 2, branches=tuple(moved))]
    assert list(best_on_border(a_picture(TWO, trials, stages))) == []
    assert len(list(best_on_border(a_picture(TWO, trials[:60], stages[:1])))) == 2

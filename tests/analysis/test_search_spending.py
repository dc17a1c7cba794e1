"""A branch cut too early, and a budget spent on what was known; and where it was not so."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from searched import a_curve, a_picture, a_spec_of, a_stage_of, trials_of

from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.diagnosis.of_search.spending import cut_early, known_already
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Params

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "learning_rate": {"log_uniform": [1e-5, 10.0]},
}
STAGES = [
    {"name": "coarse", "trials": 40, "epochs": 8, "expand": 0},
    {"name": "fine", "trials": 40, "epochs": 20, "expand": 0, "narrow": False},
]
SPEC = a_spec_of(SPACE, stages=STAGES)
DROPPED = Reason(
    branch="optimizer=sgd", parameter=None, action="dropped", old=20, new=0, text="", evidence={}
)
Shape = Callable[[int], Sequence[float]]


def drawn(count: int, seed: int = 0, **fixed: Any) -> list[Params]:
    draw = random.Random(seed)
    return [
        {"optimizer": ("sgd", "adam")[i % 2], "learning_rate": 10 ** draw.uniform(-5, 1), **fixed}
        for i in range(count)
    ]


def raced(sgd: Shape, adam: Shape, *, dropped: bool = True, state: str = "complete") -> Picture:
    """A coarse stage with these curves, after which sgd does not go on."""
    params = drawn(20)
    curves = [
        a_curve((sgd if one["optimizer"] == "sgd" else adam)(number))
        for number, one in enumerate(params)
    ]
    trials = [
        trial.changed(
            {
                "value": curve.value,
                "state": state if trial.branch == "optimizer=sgd" else "complete",
            }
        )
        for trial, curve in zip(trials_of(params, [0.0] * 20), curves, strict=True)
    ]
    fine = replace(a_stage_of(SPEC, 2), reasons=(DROPPED,) * dropped)
    by_id = {trial.id: curve for trial, curve in zip(trials, curves, strict=True)}
    return a_picture(SPEC, trials, [a_stage_of(SPEC), fine], by_id)


def fast(number: int) -> list[float]:
    return [0.9 - 0.2 * 0.2**e - 0.001 * number for e in range(8)]


def slow(number: int) -> list[float]:
    """0.8 after eight epochs, of which it gained 0.2 in the last four."""
    return [0.45 + 0.05 * e - 0.0001 * number for e in range(8)]


def poor(number: int) -> list[float]:
    """As far behind, and not moving."""
    return [0.8 - 0.2 * 0.2**e - 0.001 * number for e in range(8)]


def test_a_branch_that_was_catching_up_when_it_was_dropped_was_cut_too_early() -> None:
    (found,) = cut_early(raced(slow, fast))
    assert found.kind == "cut_early"
    assert found.message.startswith(
        "optimizer=sgd was dropped 0.099 behind the leader after 8 epochs"
    )
    assert "epochs: 16 for stage coarse" in found.message
    assert found.evidence["gain"] >= found.evidence["gap"]


def test_a_branch_that_stood_still_was_rightly_dropped() -> None:
    assert list(cut_early(raced(poor, fast))) == []


def test_a_branch_that_gains_no_faster_than_the_leader_catches_nobody() -> None:
    assert list(cut_early(raced(slow, lambda i: [0.1 + one for one in slow(i)]))) == []


def test_a_branch_that_goes_on_was_not_cut() -> None:
    assert list(cut_early(raced(slow, fast, dropped=False))) == []


def test_a_branch_of_which_all_were_pruned_while_they_caught_up_was_cut_too() -> None:
    (found,) = cut_early(raced(slow, fast, dropped=False, state="pruned"))
    assert "optimizer=sgd was pruned away" in found.message
    assert list(cut_early(raced(poor, fast, dropped=False, state="pruned"))) == []


def test_three_epochs_show_no_trend() -> None:
    def leaping(number: int) -> list[float]:
        return [0.4, 0.6, 0.85 - 0.001 * number]

    flat = raced(leaping, lambda i: [0.899, 0.9, 0.9])
    assert list(cut_early(flat)) == []


def test_a_branch_that_is_further_behind_than_it_gains_was_rightly_dropped() -> None:
    assert list(cut_early(raced(lambda i: [one - 0.2 for one in slow(i)], fast))) == []


# Known already


def test_values_that_were_tried_before_are_told() -> None:
    params = [{"optimizer": "sgd", "learning_rate": rate} for rate in (0.1, 0.01, 0.001)] * 10
    (found,) = known_already(a_picture(SPEC, trials_of(params, [0.5] * 30)))
    assert found.kind == "known_already"
    assert found.evidence == {"repeated": 27, "trials": 30, "distinct": 3}
    assert "sampler: grid" in found.message


def test_values_that_differ_are_not_told() -> None:
    assert list(known_already(a_picture(SPEC, trials_of(drawn(30), [0.5] * 30)))) == []


def test_repeats_with_other_seeds_and_continued_trials_are_meant_to_be_equal() -> None:
    params = drawn(10)
    trials = trials_of(params, [0.5] * 10)
    again = [
        trial.changed({"parent_id": trial.number % 10 + 1})
        for trial in trials_of(params, [0.5] * 10, first=10, stage_id=2)
    ]
    stages = [a_stage_of(SPEC), a_stage_of(SPEC, 2)]
    assert list(known_already(a_picture(SPEC, [*trials, *again], stages))) == []


def two_stages(second: Sequence[Params], edge: float = 0.1) -> Picture:
    """The first stage shows that rates above 0.1 diverge; in the second those above ``edge`` do."""
    first = drawn(60, optimizer="sgd")
    stages = [a_stage_of(SPEC), a_stage_of(SPEC, 2)]

    def values(params: Sequence[Params], edge: float) -> list[float | None]:
        return [None if one["learning_rate"] > edge else 0.9 for one in params]

    return a_picture(
        SPEC,
        [
            *trials_of(first, values(first, 0.1)),
            *trials_of(second, values(second, edge), first=60, stage_id=2),
        ],
        stages,
    )


def test_trials_past_an_edge_that_was_known_are_told_with_what_leaves_them_out() -> None:
    second = drawn(40, seed=1, optimizer="sgd")
    there = sum(one["learning_rate"] > 0.1 for one in second)
    (found,) = known_already(two_stages(second))
    assert found.kind == "known_already"
    assert found.evidence["diverged"] == found.evidence["there"] <= there
    assert "narrow: true for stage fine" in found.message
    assert found.stage_id == 2


def test_a_stage_that_stays_inside_spent_nothing_on_it() -> None:
    inside = [
        {**one, "learning_rate": min(one["learning_rate"], 0.05) * (1 + i / 1e6)}
        for i, one in enumerate(drawn(40, seed=1, optimizer="sgd"))
    ]
    assert list(known_already(two_stages(inside))) == []


def test_an_edge_that_was_none_in_the_next_stage_was_worth_a_look() -> None:
    second = drawn(40, seed=1, optimizer="sgd")
    assert list(known_already(two_stages(second, edge=4.0))) == []


def test_a_few_values_that_were_tried_before_are_chance() -> None:
    params = drawn(60)
    again = [*params, *params[:6]]
    assert list(known_already(a_picture(SPEC, trials_of(again, [0.5] * 66)))) == []

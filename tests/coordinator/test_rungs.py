"""When a rung is due and what is decided there: computed from stored values alone."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from coordinated import a_record, a_search
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.analysis.observing import observe
from hpsearch.coordinator.curves import Curves
from hpsearch.coordinator.rungs import (
    Decision,
    Rung,
    decide,
    due,
    event_data,
    next_rung,
)
from hpsearch.coordinator.view import SearchView, rank
from hpsearch.sampling import pruners
from hpsearch.spec.search import Pruner
from hpsearch.storage.records import SearchRecord, StageRecord, TrialRecord

EPOCHS = 9
HALVING = {"name": "successive_halving", "reduction_factor": 3}  # rungs at epochs 1 and 3


def _stage(id: int = 1, **changes: Any) -> StageRecord:
    given: dict[str, Any] = {"id": id, "search_id": 1, "state": "running", "position": id - 1}
    given |= {"planned": 0, "name": f"stage {id}", "kind": "search", "epochs": EPOCHS}
    return StageRecord(**{**given, "sampler": "random", "branches": (), "reasons": ()} | changes)


def _view(
    trials: list[TrialRecord],
    curves: dict[int, list[float]],
    pruner: Any = HALVING,
    stages: tuple[StageRecord, ...] = (_stage(),),
) -> SearchView:
    spec = a_search(
        stages=[{"name": "only", "trials": 9, "epochs": EPOCHS, "pruner": pruner}],
        space={"learning_rate": {"log_uniform": [1e-5, 1e-3]}},
    )
    now = datetime.now(UTC)
    view = SearchView(
        SearchRecord(id=1, name=spec.name, spec=spec, state="running", created_at=now)
    )
    view.stages.extend(stages)
    view.add(trials)
    view.curves = Curves({id: dict(enumerate(values, 1)) for id, values in curves.items()})
    return view


def _at(epoch: int, id: int, **changes: Any) -> TrialRecord:
    """A trial that stands at the rung after ``epoch``."""
    given = {"id": id, "number": id, "epochs": epoch, "until_epoch": epoch, "state": "waiting"}
    return a_record(**{**given, "target_epochs": EPOCHS, **changes})


def _numbers(trials: tuple[TrialRecord, ...]) -> list[int]:
    return [trial.number for trial in trials]


def test_a_rung_is_due_when_the_last_trial_has_come() -> None:
    there = [_at(1, 1), _at(1, 2)]
    coming = _at(1, 3, epochs=0, state="running")
    assert due(_view([*there, coming], {})) == []
    (rung,) = due(_view([*there, _at(1, 3)], {}))
    assert (rung.epoch, rung.bracket, rung.stage.id, rung.pruner.name) == (
        *(1, 0, 1),
        "successive_halving",
    )


def test_trials_that_have_ended_are_not_waited_for() -> None:
    ended = [
        a_record(id=2, number=2, state="failed", epochs=0, target_epochs=EPOCHS, until_epoch=1),
        a_record(id=3, number=3, state="complete", epochs=EPOCHS, target_epochs=EPOCHS),
        _at(1, 4, state="pruned"),
    ]
    assert [rung.epoch for rung in due(_view([_at(1, 1), *ended], {}))] == [1]
    assert due(_view(ended, {})) == []


def test_the_end_of_a_stage_is_no_rung() -> None:
    last = _at(EPOCHS, 1, epochs=EPOCHS - 1, state="running")
    assert due(_view([last], {})) == []


def test_continued_trials_neither_wait_at_a_rung_behind_them_nor_for_it() -> None:
    ahead = _at(3, 1, start_epoch=2, parent_id=9, epochs=2, state="running")
    view = _view([ahead, _at(1, 2)], {})
    assert [rung.epoch for rung in due(view)] == [1]
    view = _view([_at(3, 1, start_epoch=2, parent_id=9), _at(1, 2, epochs=0)], {})
    assert due(view) == [], "at epoch 3 the other one is still to come"


def test_a_stage_without_a_pruner_has_no_rung() -> None:
    view = _view([_at(1, 1)], {}, pruner="none")
    assert due(view) == []
    assert next_rung(view.search.spec, view.stages[0], 1, 0) == EPOCHS


def test_the_next_rung_is_the_first_after_the_epoch_and_then_the_end() -> None:
    view = _view([], {})
    found = [next_rung(view.search.spec, view.stages[0], 7, epoch) for epoch in range(EPOCHS)]
    assert found == [1, 3, 3, 9, 9, 9, 9, 9, 9]


def _decided(view: SearchView) -> tuple[list[int], list[int], Rung]:
    (rung,) = due(view)
    decision = decide(view, rung)
    assert {trial.state for trial in decision.pruned} <= {"pruned"}
    assert {trial.state for trial in decision.kept} <= {"waiting"}
    return _numbers(decision.pruned), _numbers(decision.kept), rung


@given(values=st.lists(st.integers(0, 50), min_size=3, max_size=30, unique=True))
def test_successive_halving_keeps_the_best_third(values: list[int]) -> None:
    trials = [_at(1, id) for id in range(1, len(values) + 1)]
    view = _view(trials, {id: [value] for id, value in enumerate(values, 1)})
    pruned, kept, _ = _decided(view)
    best = sorted(range(1, len(values) + 1), key=lambda id: -values[id - 1])
    assert sorted(kept) == sorted(best[: len(values) // 3])
    assert sorted(pruned) == sorted(best[len(values) // 3 :])


def test_who_goes_on_trains_to_the_next_rung_and_then_to_the_end() -> None:
    for epoch, following in ((1, 3), (3, EPOCHS)):
        trials = [_at(epoch, id) for id in range(1, 10)]
        view = _view(trials, {id: [0.1 * id] * epoch for id in range(1, 10)})
        decision = decide(view, due(view)[0])
        assert {trial.until_epoch for trial in decision.kept} == {following}
        assert _numbers(decision.kept) == [7, 8, 9]


def test_all_that_reached_the_epoch_in_the_stage_are_compared() -> None:
    earlier = [
        a_record(id=id, number=id, state=state, epochs=epochs, target_epochs=EPOCHS)
        for id, state, epochs in ((11, "complete", 9), (12, "pruned", 1), (13, "complete", 1))
    ]
    standing = [_at(1, id) for id in (1, 2, 3)]
    better = {11: [0.9], 12: [0.8], 13: [0.7]}
    view = _view([*earlier, *standing], {1: [0.1], 2: [0.6], 3: [0.3], **better})
    assert _decided(view)[0] == [1, 2, 3], "the two that may go on have gone on"
    worse = {id: [0.0] for id in better}
    view = _view([*earlier, *standing], {1: [0.1], 2: [0.6], 3: [0.3], **worse})
    assert _decided(view)[1] == [2, 3]


def test_what_extends_a_stage_is_compared_with_it() -> None:
    stages = (_stage(1, state="complete"), _stage(2, kind="expand"))
    before = [a_record(id=i, number=i, state="complete", epochs=9) for i in (1, 2, 3)]
    standing = [_at(1, id, stage_id=2) for id in (4, 5, 6)]
    curves = {id: [0.1 * id] for id in range(1, 7)}
    assert _decided(_view([*before, *standing], curves, stages=stages))[1] == [5, 6]


def test_a_failed_trial_is_not_judged_and_compared_only_with_a_number() -> None:
    failed = [
        a_record(id=id, number=id, state="failed", epochs=1, target_epochs=EPOCHS)
        for id in range(4, 8)
    ]
    standing = [_at(1, id) for id in (1, 2, 3)]
    nan = {id: [math.nan] for id in range(4, 8)}
    own = {1: [0.1], 2: [0.2], 3: [0.3]}
    assert _decided(_view([*standing, *failed], {**own, **nan}))[1] == [3]
    lower = {id: [0.0] for id in range(4, 8)}
    assert _decided(_view([*standing, *failed], {**own, **lower}))[1] == [2, 3]


def test_a_standing_trial_without_a_number_is_pruned() -> None:
    view = _view([_at(1, 1), _at(1, 2)], {1: [math.nan], 2: [0.1]})
    assert _decided(view)[:2] == ([1], [2])


def test_the_curve_of_a_continued_trial_is_that_of_its_network() -> None:
    parent = a_record(id=1, number=1, state="complete", epochs=2, target_epochs=2, stage_id=7)
    trial = _at(3, 2, start_epoch=2, parent_id=1)
    view = _view([parent, trial], {1: [0.5, 0.6], 2: []})
    view.curves.add(
        3, [{"trial_id": 2, "val_accuracy": 0.7, "by_fold": [0.6, 0.8]}], "val_accuracy"
    )
    assert view.curves.of(trial, view.trials, 3) == (0.5, 0.6, 0.7)
    assert view.curves.of(trial, view.trials, 1) == (0.5,)
    assert view.curves.by_fold(trial, 3) == (0.6, 0.8)
    assert view.curves.by_fold(trial, 2) == ()


def test_patience_sees_the_epochs_that_a_continued_trial_brought_along() -> None:
    pruner = {"name": "patient", "patience": 1, "interval_steps": 1}
    parent = a_record(id=1, number=1, state="complete", epochs=2, target_epochs=2, stage_id=7)
    trial = _at(3, 2, start_epoch=2, parent_id=1)
    for first, ends in ((0.9, True), (0.1, False)):
        view = _view([parent, trial], {1: [first, 0.2], 2: []}, pruner)
        view.curves.add(3, [{"trial_id": 2, "val_accuracy": 0.3}], "val_accuracy")
        assert (_decided(view)[0] == [2]) == ends


def test_the_brackets_of_hyperband_are_decided_apart() -> None:
    pruner = {"name": "hyperband", "reduction_factor": 3}
    view = _view([], {}, pruner)
    spec, stage = view.search.spec, view.stages[0]
    made = spec.stages[0].pruner
    assert made is not None
    trials, curves = [], {}
    for id in range(1, 31):
        epoch = next_rung(spec, stage, id, 0)
        trials.append(_at(epoch, id))
        curves[id] = [0.01 * id] * EPOCHS
    view = _view(trials, curves, pruner)
    brackets = {id: pruners.bracket(made, EPOCHS, spec.name, id) for id in range(1, 31)}
    rungs = due(view)
    assert [(rung.bracket, rung.epoch) for rung in rungs] == [(0, 1), (1, 3)]
    for rung in rungs:
        decision = decide(view, rung)
        mine = [id for id, bracket in brackets.items() if bracket == rung.bracket]
        assert sorted(_numbers(decision.kept + decision.pruned)) == mine
        assert _numbers(decision.kept) == mine[-(len(mine) // 3) :]


def test_the_event_tells_who_was_kept_in_words() -> None:
    view = _view([_at(1, id) for id in range(1, 7)], {id: [0.1 * id] for id in range(1, 7)})
    (rung,) = due(view)
    data = event_data(rung, decide(view, rung))
    assert data["message"] == "stage 1: rung at epoch 1: 2 of 6 go on (successive_halving)"
    assert (data["pruned"], data["kept"]) == ([1, 2, 3, 4], [5, 6])
    assert (data["stage"], data["epoch"], data["bracket"]) == ("stage 1", 1, 0)


def test_the_event_tells_which_of_hyperbands_brackets_it_is() -> None:
    pruner = Pruner(name="hyperband", options={"reduction_factor": 3})
    nobody = Decision(pruned=(), kept=())
    said = [
        event_data(Rung(stage=_stage(epochs=18), pruner=pruner, bracket=b, epoch=9), nobody)
        for b in range(3)
    ]
    ends = [data["message"].partition("(")[2] for data in said]
    assert ends == [f"hyperband, bracket {b} of 3)" for b in (1, 2, 3)]
    assert [data["bracket"] for data in said] == [0, 1, 2]


def test_samplers_see_pruned_trials_and_results_do_not() -> None:
    values = {"value": 0.9, "state": "pruned"}, {"value": 0.8, "state": "complete"}, {}
    trials = [_at(3, id, **given) for id, given in enumerate(values, start=1)]
    seen = [(one.number, one.state, one.value) for one in observe(trials)]
    assert seen == [(1, "pruned", 0.9), (2, "complete", 0.8)]
    assert [trial.number for trial in rank(trials, "max")] == [2]

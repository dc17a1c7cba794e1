"""What a Report changes: computed from the stored trials and the report alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from coordinated import a_record

from hpsearch.coordinator.progress import advance, commit
from hpsearch.spec import load
from hpsearch.spec.search import Objective
from workers.messages import Divergence, Refusal, Report

TRIAL = a_record(
    target_epochs=4,
    value=0.5,
    best_epoch=2,
    epochs=2,
    checkpoint_file="group-0-2.safetensors",
    checkpoint_row=0,
    checkpoint_epoch=2,
)
OBJECTIVE = Objective()
SEARCH = load("digits")


def _report(epoch: int, *values: float, **fields: object) -> Report:
    trials = tuple(range(1, len(values) + 1))
    metrics = {"val_accuracy": list(values)}
    return Report(epoch=epoch, trials=trials, metrics=metrics, seconds=2.0, **fields)


def test_a_changed_trial_is_what_replace_gives() -> None:
    changes = {"epochs": 3, "state": "running", "value": 0.6}
    assert TRIAL.changed(changes) == replace(TRIAL, **changes)
    with pytest.raises(TypeError, match="epoch"):
        TRIAL.changed({"epoch": 3})


def test_the_spread_is_that_of_the_best_epoch() -> None:
    metrics = {"val_accuracy": [0.6], "spread": [0.02]}
    (better,) = advance({1: TRIAL}, replace(_report(3, 0.6), metrics=metrics), OBJECTIVE)
    assert (better.value, better.spread) == (0.6, 0.02)
    metrics = {"val_accuracy": [0.5], "spread": [0.3]}
    (worse,) = advance({1: better}, replace(_report(4, 0.5), metrics=metrics), OBJECTIVE)
    assert (worse.value, worse.spread, worse.best_epoch) == (0.6, 0.02, 3)
    (without,) = advance({1: better}, _report(4, 0.7), OBJECTIVE)
    assert (without.value, without.spread) == (0.7, None)


def test_a_trial_that_stopped_is_complete_with_the_epochs_that_it_has() -> None:
    (ended,) = advance({1: TRIAL}, _report(3, 0.4, stopped=(1,)), OBJECTIVE)
    assert (ended.state, ended.epochs, ended.stopped_early) == ("complete", 3, True)
    assert (ended.value, ended.best_epoch) == (0.5, 2)
    (row,) = commit({1: TRIAL}, [ended], _report(3, 0.4, stopped=(1,)), SEARCH).metrics
    assert row["val_accuracy"] == 0.4


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_trial_may_end_in_an_epoch_that_is_stored_already(epoch: int) -> None:
    """One without checkpoints is trained again, and then a scheduler ends it sooner."""
    (pruned,) = advance({1: TRIAL}, _report(epoch, 0.4, pruned=(1,)), OBJECTIVE)
    assert (pruned.state, pruned.epochs, pruned.value) == ("pruned", 2, 0.5)
    (stopped,) = advance({1: TRIAL}, _report(epoch, 0.4, stopped=(1,)), OBJECTIVE)
    assert (stopped.state, stopped.epochs, stopped.stopped_early) == ("complete", 2, True)


def test_a_trial_may_end_after_its_last_epoch() -> None:
    late = Report(epoch=2, trials=(), metrics={}, seconds=0.0)
    (pruned,) = advance({1: TRIAL}, replace(late, pruned=(1,)), OBJECTIVE)
    assert (pruned.state, pruned.epochs) == ("pruned", 2)
    (stopped,) = advance({1: TRIAL}, replace(late, stopped=(1,)), OBJECTIVE)
    assert (stopped.state, stopped.stopped_early) == ("complete", True)


def test_a_trial_that_is_refused_fails_with_the_sentence_alone() -> None:
    new = replace(TRIAL, epochs=0, value=None, best_epoch=None, state="waiting")
    report = replace(_report(1), refused=(Refusal(trial=1, message="depth must be 1"),))
    (failed,) = advance({1: new}, report, OBJECTIVE)
    assert (failed.state, failed.failure_kind) == ("failed", "error")
    assert (failed.failure_message, failed.epochs) == ("depth must be 1", 0)
    assert commit({1: new}, [failed], report, SEARCH).metrics == []
    assert advance({1: failed}, report, OBJECTIVE) == [], "told twice"


def test_a_list_of_layers_is_stored_and_names_that_are_no_column_are_not() -> None:
    metrics = {"val_accuracy": [0.6], "layer_gradient_norms": [[0.1, 0.2]], "novelty": [1.0]}
    report = replace(_report(3, 0.6), metrics=metrics)
    (row,) = commit({1: TRIAL}, advance({1: TRIAL}, report, OBJECTIVE), report, SEARCH).metrics
    assert row["layer_gradient_norms"] == [0.1, 0.2]
    assert "novelty" not in row


def test_a_better_epoch_moves_the_value_and_a_worse_one_does_not() -> None:
    (better,) = advance({1: TRIAL}, _report(3, 0.6), OBJECTIVE)
    assert (better.epochs, better.value, better.best_epoch) == (3, 0.6, 3)
    (worse,) = advance({1: TRIAL}, _report(3, 0.4), OBJECTIVE)
    assert (worse.epochs, worse.value, worse.best_epoch) == (3, 0.5, 2)


def test_an_epoch_that_is_stored_already_changes_nothing() -> None:
    assert advance({1: TRIAL}, _report(2, 0.9), OBJECTIVE) == []
    assert advance({1: replace(TRIAL, state="complete")}, _report(4, 0.9), OBJECTIVE) == []


def test_the_last_epoch_completes_the_trial() -> None:
    (ended,) = advance({1: TRIAL}, _report(4, 0.6), OBJECTIVE)
    assert ended.state == "complete"


def test_a_trial_that_diverged_keeps_its_value_and_has_its_last_metrics_stored() -> None:
    end = Divergence(trial=1, epoch=3, message="nan", metrics={"val_accuracy": float("nan")})
    report = replace(_report(3), diverged=(end,))
    (failed,) = advance({1: TRIAL}, report, OBJECTIVE)
    assert (failed.state, failed.failure_kind, failed.value) == ("failed", "diverged", 0.5)
    (row,) = commit({1: TRIAL}, [failed], report, SEARCH).metrics
    assert row["trial_id"] == 1
    assert row["val_accuracy"] != row["val_accuracy"]
    assert row["seconds"] == 2.0


def test_a_diverged_member_that_is_trained_along_again_stays_as_it_is() -> None:
    gone = replace(TRIAL, state="failed", failure_kind="diverged", epochs=3)
    end = Divergence(trial=1, epoch=3, message="nan", metrics={})
    assert advance({1: gone}, replace(_report(3), diverged=(end,)), OBJECTIVE) == []


def test_a_newer_checkpoint_is_taken_with_its_row() -> None:
    other = replace(TRIAL, id=2, number=1)
    report = _report(3, 0.1, 0.2, checkpoint="group-0-3.safetensors")
    first, second = advance({1: TRIAL, 2: other}, report, OBJECTIVE)
    assert [t.checkpoint_row for t in (first, second)] == [0, 1]
    assert {t.checkpoint_epoch for t in (first, second)} == {3}


def test_only_new_epochs_are_committed_and_the_time_is_shared() -> None:
    ahead = replace(TRIAL, id=2, number=1, epochs=3)
    trials = {1: TRIAL, 2: ahead}
    report = _report(3, 0.1, 0.2)
    made = commit(trials, advance(trials, report, OBJECTIVE), report, SEARCH)
    assert [(row["trial_id"], row["seconds"]) for row in made.metrics] == [(1, 1.0)]
    assert [p.trial_id for p in made.progress] == [1]


def test_a_trial_at_a_rung_waits_and_goes_on_from_its_checkpoint() -> None:
    standing = replace(TRIAL, until_epoch=3)
    report = _report(3, 0.4, checkpoint="group-0-3.safetensors")
    (there,) = advance({1: standing}, report, OBJECTIVE)
    assert (there.state, there.epochs, there.checkpoint_epoch) == ("waiting", 3, 3)
    (progress,) = commit({1: standing}, [there], report, SEARCH).progress
    assert progress.state == "waiting"
    stopped = replace(report, stopped=(1,))
    assert [trial.state for trial in advance({1: standing}, stopped, OBJECTIVE)] == ["complete"]


def test_metrics_of_ones_own_are_stored_the_objective_apart() -> None:
    """In a column as all objectives, so that pruners read it; those beside it by name."""
    best = Objective(metric="top2", mode="max")
    given = {"objective": best, "metrics": {"top2": "m:top2", "a": "m:a", "b": "m:b"}}
    search = SEARCH.model_copy(update=given)
    diverged = replace(TRIAL, id=2)
    metrics = {"val_loss": [0.4], "top2": [0.9], "a": [1.0], "b": [math.nan]}
    end = Divergence(
        trial=2, epoch=3, message="nan", metrics={name: v for name, (v,) in metrics.items()}
    )
    report = replace(_report(3, 0.9, diverged=(end,)), metrics=metrics)
    trials = {1: TRIAL, 2: diverged}
    changed = advance(trials, report, best)
    assert (changed[0].value, changed[0].best_epoch) == (0.9, 3)
    one, other = commit(trials, changed, report, search).metrics
    for row in (one, other):
        assert (row["value"], row["val_loss"]) == (0.9, 0.4)
        assert str(row["others"]) == "{'a': 1.0, 'b': nan}"
        assert "top2" not in row
    beside = search.model_copy(update={"objective": OBJECTIVE})
    row = commit(trials, changed, report, beside).metrics[0]
    assert "value" not in row
    assert list(row["others"]) == ["top2", "a", "b"]

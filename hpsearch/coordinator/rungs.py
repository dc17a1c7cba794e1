"""Rungs: the epochs at which a stage's pruner decides who goes on, and its decision.

Pure functions of stored values. Called when trials are drafted, for their first rung, and by the
loop when a group has ended. A decision is made once for all that stand at a rung, when the last of
them has come, so it does not depend on which worker was faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpsearch.coordinator.view import SearchView
from hpsearch.sampling import pruners
from hpsearch.sampling.pruners import Curve
from hpsearch.spec.search import Pruner, Search
from hpsearch.storage.records import FINISHED, NewStage, StageRecord, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """The trials of one bracket of a stage stand at ``epoch``; only Hyperband has several."""

    stage: StageRecord
    pruner: Pruner
    bracket: int
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Who ends at a rung, and who goes on; the records as they are now."""

    pruned: tuple[TrialRecord, ...]
    kept: tuple[TrialRecord, ...]


def pruner_of(search: Search, stage: NewStage) -> Pruner | None:
    """The pruner of a stage; that of the stage that it extends, for an expand stage."""
    return search.stages[stage.planned].pruner


def next_rung(search: Search, stage: NewStage, number: int, epoch: int) -> int:
    """The epoch to which trial ``number`` is trained from ``epoch`` on: a rung, or the stage's end.

    Rungs that a continued trial has behind it have passed for it.
    """
    pruner = pruner_of(search, stage)
    if pruner is None:
        return stage.epochs
    bracket = pruners.bracket(pruner, stage.epochs, search.name, number)
    ahead = (rung for rung in pruners.rungs(pruner, stage.epochs, bracket) if rung > epoch)
    return next(ahead, stage.epochs)


def due(view: SearchView) -> list[Rung]:
    """The rungs of the open stage at which all stand that must come; by bracket."""
    stage = view.stages[-1] if view.stages else None
    pruner = None if stage is None else pruner_of(view.search.spec, stage)
    if stage is None or pruner is None:
        return []
    unfinished: dict[int, list[TrialRecord]] = {}
    for trial in view.of_stage(stage):
        if trial.state not in FINISHED:
            unfinished.setdefault(_bracket(view, pruner, trial), []).append(trial)
    found = (
        Rung(stage=stage, pruner=pruner, bracket=bracket, epoch=min(t.until_epoch for t in trials))
        for bracket, trials in sorted(unfinished.items())
    )
    return [rung for rung in found if _all_there(rung, unfinished[rung.bracket])]


def _all_there(rung: Rung, unfinished: Sequence[TrialRecord]) -> bool:
    if rung.epoch == rung.stage.epochs:
        return False
    awaited = [trial for trial in unfinished if trial.start_epoch < rung.epoch]
    return all(trial.epochs == trial.until_epoch == rung.epoch for trial in awaited)


def decide(view: SearchView, rung: Rung) -> Decision:
    """What the pruner says of those that stand at ``rung``, from the stored curves alone.

    They are compared with all that reached this epoch in the stage, in what it extends, and in the
    same bracket. A continued trial that brought the epoch along is left out: it got there on a
    schedule of its own. One that failed there with NaN is no rival to anybody.
    """
    mode, epoch = view.search.spec.objective.mode, rung.epoch
    reached = list(_reached(view, rung))
    standing = [trial for trial in reached if trial.state not in FINISHED]
    ended = pruners.decide(
        rung.pruner,
        mode,
        epoch,
        rung.stage.epochs,
        [_curve(view, trial, epoch) for trial in reached],
        frozenset(trial.number for trial in standing),
        view.search.spec.name,
    )
    return Decision(
        pruned=tuple(replace(t, state="pruned") for t in standing if t.number in ended),
        kept=tuple(
            replace(trial, state="waiting", until_epoch=_after(view, rung, trial))
            for trial in standing
            if trial.number not in ended
        ),
    )


def event_data(rung: Rung, decision: Decision) -> dict[str, Any]:
    """What the search's event log keeps of a decision."""
    pruned = [trial.number for trial in decision.pruned]
    kept = [trial.number for trial in decision.kept]
    total = pruners.num_brackets(rung.pruner, rung.stage.epochs)
    in_bracket = f", bracket {rung.bracket + 1} of {total}" if total > 1 else ""
    return {
        "stage": rung.stage.name,
        "epoch": rung.epoch,
        "bracket": rung.bracket,
        "pruner": rung.pruner.name,
        "pruned": pruned,
        "kept": kept,
        "message": f"{rung.stage.name}: rung at epoch {rung.epoch}: {len(kept)} of "
        f"{len(kept) + len(pruned)} go on ({rung.pruner.name}{in_bracket})",
    }


def _after(view: SearchView, rung: Rung, trial: TrialRecord) -> int:
    return next_rung(view.search.spec, rung.stage, trial.number, rung.epoch)


def _bracket(view: SearchView, pruner: Pruner, trial: TrialRecord) -> int:
    """The trial's bracket, which is asked for whenever a group has ended: computed once."""
    if trial.id not in view.brackets:
        name, epochs = view.search.spec.name, trial.target_epochs
        view.brackets[trial.id] = pruners.bracket(pruner, epochs, name, trial.number)
    return view.brackets[trial.id]


def _reached(view: SearchView, rung: Rung) -> Iterator[TrialRecord]:
    """Those of the bracket that trained over the rung's epoch, by number."""
    for trial in view.of_stage(*view.stages_of(rung.stage.planned)):
        is_there = trial.start_epoch < rung.epoch <= trial.epochs
        if is_there and _bracket(view, rung.pruner, trial) == rung.bracket:
            yield trial


def _curve(view: SearchView, trial: TrialRecord, epoch: int) -> Curve:
    return Curve(
        number=trial.number,
        values=view.curves.of(trial, view.trials, epoch),
        by_fold=view.curves.by_fold(trial, epoch),
    )

"""Collecting: which checkpoints of a search can still be needed; the others are deleted.

Asked by the ledger when a group has ended, and when a stage or the search has.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpsearch.coordinator.planning import to_continue
from hpsearch.coordinator.view import SearchView, rank_confirmed
from hpsearch.spec.search import Stage
from hpsearch.storage.records import FINISHED, TrialRecord

LEAST = 32  # files more than are needed, before it is worth a look at all trials


def needed(view: SearchView, *, has_ended: bool = False) -> set[str]:
    """The files from which a trial goes on, may be continued, or is one of the best.

    Trials that come later only push others down, so what is not needed now never is. A search that
    ``has_ended`` has no next stage, whatever its spec says.
    """
    if view.search.spec.resources.keep_checkpoints >= len(view.trials):
        return view.files()
    stage = None if has_ended else _next(view)
    trials = (*_unfinished(view), *_may_be_continued(view, stage), *_best(view, stage, has_ended))
    return {trial.checkpoint_file for trial in trials if trial.checkpoint_file is not None}


def _unfinished(view: SearchView) -> Iterator[TrialRecord]:
    return (trial for trial in view.trials.values() if trial.state not in FINISHED)


def _may_be_continued(view: SearchView, stage: Stage | None) -> list[TrialRecord]:
    trials = view.of_stage(*view.stages_of(view.stages[-1].planned))
    return to_continue(trials, stage, view.search.spec.objective.mode) if stage else []


def _best(view: SearchView, stage: Stage | None, has_ended: bool) -> list[TrialRecord]:
    """Of the whole search; a trial that is continued in ``stage`` makes room for one more.

    Any that a confirm stage repeats may turn out the best: they keep theirs until it has ended.
    """
    spec, gone = view.search.spec, view.superseded()
    kept = spec.resources.keep_checkpoints
    if kept and not has_ended:
        kept = max(kept, *(each.top for each in spec.stages))
    results = [trial for trial in view.trials.values() if trial.id not in gone]
    most = kept + (stage.continued if stage else 0)
    return rank_confirmed(results, spec.objective.mode)[:most]


def _next(view: SearchView) -> Stage | None:
    """The spec's stage after the one that is open."""
    stages, following = view.search.spec.stages, view.stages[-1].planned + 1
    return stages[following] if following < len(stages) else None

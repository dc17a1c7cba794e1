"""The verdict: what a person should know about a finished search before believing its result.

Called by the loop at the end of a search; stored as diagnoses and shown as warnings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hpsearch.analysis.diagnosis.searching import curve_diagnoses
from hpsearch.analysis.observing import observe
from hpsearch.coordinator.planning import explored
from hpsearch.coordinator.view import SearchView
from hpsearch.sampling.border import still_on_border
from hpsearch.storage.records import NewDiagnosis, TrialRecord
from hpsearch.storage.repository import Repository
from workers.config import DOMAINS
from workers.keys import key

MANY = 0.3  # of a branch's trials
ENOUGH = 8  # trials to judge a branch by


def final_diagnoses(repository: Repository, view: SearchView) -> list[NewDiagnosis]:
    """All diverged, best still on a border, many failed, and what the curves show of each trial.

    None for a healthy search. A pure function of what is stored.
    """
    trials = list(view.trials.values())
    found = [*_all_diverged(view), *_border(view), *_failed(view)]
    return [*found, *curve_diagnoses(repository, view.search, trials)]


def _all_diverged(view: SearchView) -> Iterator[NewDiagnosis]:
    trials, spec = view.trials.values(), view.search.spec
    if not trials or any(trial.failure_kind != "diverged" for trial in trials):
        return
    is_searched = "learning_rate" in spec.space.parameters
    lower = "the range of space.learning_rate" if is_searched else "train.learning_rate"
    yield NewDiagnosis(
        kind="nothing_complete",
        message=f"all {len(trials)} trials diverged: lower {lower}, and search again",
        evidence={"trials": len(trials), "diverged": len(trials)},
    )


def _border(view: SearchView) -> Iterator[NewDiagnosis]:
    searched = [stage for stage in view.stages if stage.kind != "confirm"]
    if not searched:
        return
    last = searched[-1].planned
    reasons = still_on_border(
        explored(view, last),
        observe(view.of_stage(*view.stages_of(last))),
        mode=view.search.spec.objective.mode,
        seed=key(view.search.spec.seed, "verdict"),
        limits=DOMAINS,
        expand=view.search.spec.stages[last].expand,
    )
    for reason in reasons:
        if reason.action == "limit":
            continue  # there is nothing past it, and nothing to warn of
        yield NewDiagnosis(
            kind="best_on_border",
            message=reason.text,
            evidence=dict(reason.evidence),
            stage_id=searched[-1].id,
        )


def _failed(view: SearchView) -> Iterator[NewDiagnosis]:
    by_branch: dict[str, list[TrialRecord]] = {}
    for trial in view.trials.values():
        by_branch.setdefault(trial.branch, []).append(trial)
    for branch, trials in by_branch.items():
        kinds = Counter(t.failure_kind for t in trials if t.state == "failed")
        for kind, count in kinds.items():
            if len(trials) >= ENOUGH and count >= MANY * len(trials):
                yield NewDiagnosis(
                    kind=f"many_{kind}",
                    message=f"{branch}: {count} of {len(trials)} trials failed as {kind}"
                    + ("; lower the learning rates that it tries" if kind == "diverged" else ""),
                    evidence={"branch": branch, "failed": count, "trials": len(trials)},
                )

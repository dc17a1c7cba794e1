"""Trials that came to nothing: all of a search, or many of a branch, and where they lie.

Rules of ``of_search.rules``. Source: Godbole et al., Deep Learning Tuning Playbook (2023),
"Identifying bad search space boundaries": a large infeasible part means a badly cut space, and its
edge is often one of stability.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from hpsearch.analysis.diagnosis.of_search.edges import Edge, clearest_edge
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.spec.search import Search
from hpsearch.storage.failures import commonest, in_common
from hpsearch.storage.records import FailureKind, NewDiagnosis, TrialRecord

MANY = 0.3  # of a branch's trials
ENOUGH = 8  # trials to judge a branch by
ADVICE: dict[FailureKind, str] = {
    "diverged": "lower the learning rates that it tries",
    "out_of_memory": "make the network or the batch smaller",
}


def nothing_complete(picture: Picture) -> Iterator[NewDiagnosis]:
    """No trial is there to be ranked: pruners left none, and no more failed, or all diverged."""
    states = Counter(trial.state for trial in picture.trials)
    total, pruned = states.total(), states["pruned"]
    if pruned >= max(1, states["failed"]) and not states["complete"]:
        names = {stage.pruner.name for stage in picture.spec.stages if stage.pruner}
        message = (
            f"none of the {total} trials was trained to its end, for {pruned} were pruned "
            f"({', '.join(sorted(names))}): loosen what prunes, or say pruner: none"
        )
        yield _nothing(message, trials=total, pruned=pruned)
    elif total and all(trial.failure_kind == "diverged" for trial in picture.trials):
        message = f"all {total} trials diverged: {_steadier(picture.spec)}"
        yield _nothing(message, trials=total, diverged=total)


def _steadier(spec: Search) -> str:
    """What to do where all diverge; a trainable's rate is known only if it has our name."""
    if "learning_rate" in spec.space.parameters:
        return "lower the range of space.learning_rate, and search again"
    if spec.trainable is None or "learning_rate" in spec.train:
        return "lower train.learning_rate, and search again"
    return f"see at which values {spec.objective.metric} is not finite, and leave them out"


def _nothing(message: str, **evidence: int) -> NewDiagnosis:
    return NewDiagnosis(kind="nothing_complete", message=message, evidence=evidence)


def failed(picture: Picture) -> Iterator[NewDiagnosis]:
    """``many_diverged`` and the like: a good part of a branch's trials failed in one way."""
    by_branch: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in picture.trials:
        by_branch[trial.branch].append(trial)
    for branch, trials in by_branch.items():
        kinds = Counter(t.failure_kind for t in trials if t.failure_kind is not None)
        for kind, count in kinds.items():
            if len(trials) >= ENOUGH and count >= MANY * len(trials):
                yield _many(picture, branch, kind, trials, count)


def _many(
    picture: Picture, branch: str, kind: FailureKind, trials: list[TrialRecord], count: int
) -> NewDiagnosis:
    edge = None if kind == "worker_lost" else clearest_edge(picture, branch, trials, kind)
    advice = _advice(edge, kind)
    of_kind = [trial for trial in trials if trial.failure_kind == kind]
    said, saying = commonest(of_kind)
    told = "" if kind == "diverged" else f", {in_common(of_kind)}"  # there all say the same
    return NewDiagnosis(
        kind=f"many_{kind}",
        message=f"{branch}: {count} of {len(trials)} trials failed as {kind}{told}"
        + (f"; {advice}" if advice else ""),
        evidence={
            **{"branch": branch, "failed": count, "trials": len(trials)},
            **{"message": said, "saying": saying},
            **({} if edge is None else edge.evidence),
        },
    )


def _advice(edge: Edge | None, kind: FailureKind) -> str | None:
    if edge is None:
        return ADVICE.get(kind)
    is_stability = kind == "diverged" and edge.region.side is not None
    return f"{edge.told}{', a stability edge' * is_stability}: {edge.advice}"

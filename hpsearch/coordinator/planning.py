"""Planning: which stage comes next, computed from the stored trials alone.

Called by the loop when a stage has no trial left to ask for or to train. The first stage covers the
space; a stage whose best trials crowd a border is followed by an expand stage; then come the spec's
further stages, with ranges and shares from the Refiner. A check stage, which trains nothing, is
before them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

from hpsearch.analysis.observing import explored, observe
from hpsearch.coordinator.asking import LEARNING, Asker
from hpsearch.coordinator.drafts import continued, numbered, repeated
from hpsearch.coordinator.view import SearchView, rank
from hpsearch.sampling.allocation import allocate
from hpsearch.sampling.border import extend
from hpsearch.sampling.refiner import Refinement, refine
from hpsearch.spec.reason import Reason
from hpsearch.spec.search import Search, Stage
from hpsearch.spec.space import Branch, Params
from hpsearch.storage.records import (
    NewStage,
    NewTrial,
    SearchRecord,
    StageKind,
    StageRecord,
    TrialRecord,
)
from workers.config import DOMAINS
from workers.keys import key

EXPAND_SHARE = 3  # an expand stage has a third of the trials of the stage that it extends


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """A stage to open, with the trials that it starts with (asked ones follow)."""

    stage: NewStage
    trials: tuple[NewTrial, ...] = ()


def next_stage(view: SearchView) -> StagePlan | None:
    """The stage that follows the last one, all of whose trials have ended; None at the end."""
    spec = view.search.spec
    if not view.stages:
        return _first(view, 0) if spec.stages[0].kind != "check" else _check(view, spec.stages[0])
    planned = view.stages[-1].planned
    if view.stages[-1].kind == "check":
        return _first(view, planned + 1)
    expansion = _expansion(view, planned)
    if expansion is not None or planned + 1 == len(spec.stages):
        return expansion
    following = spec.stages[planned + 1]
    if following.kind == "confirm":
        return _confirm(view, planned + 1, following)
    return _refined(view, planned + 1, following)


def sample_first(search: Search, count: int) -> list[Params]:
    """``count`` of the trials that ``search`` would begin with, spread over its branches."""
    view = SearchView(
        SearchRecord(
            id=0,
            name=search.name,
            spec=search,
            state="submitted",
            created_at=datetime.now(UTC),
        )
    )
    plan = _first(view, 1 if search.stages[0].kind == "check" else 0)
    view.stages.append(_as_opened(plan.stage))
    trials = Asker(view).next_generation(view.stages[0])
    step = max(1, len(trials) // max(1, count))
    return [trial.params for trial in trials[::step][:count]]


def _as_opened(stage: NewStage) -> StageRecord:
    values = {field.name: getattr(stage, field.name) for field in fields(stage)}
    return StageRecord(id=0, search_id=0, state="running", **values)


def _check(view: SearchView, stage: Stage) -> StagePlan:
    return StagePlan(stage=replace(_new_stage(view, 0, stage, "check", (), ()), position=-1))


def _first(view: SearchView, planned: int) -> StagePlan:
    stage = view.search.spec.stages[planned]
    branches = view.search.spec.space.branches()
    shares = allocate({branch.key: 1.0 for branch in branches}, stage.trials, 0)
    shared = tuple(b.model_copy(update={"trials": shares[b.key]}) for b in branches)
    begun = Refinement(branches=shared, reasons=())
    if view.prior:
        begun = _after_prior(view, stage, shared)
    new = _new_stage(view, planned, stage, "search", begun.branches, begun.reasons)
    return StagePlan(stage=new)


def _after_prior(view: SearchView, stage: Stage, branches: Sequence[Branch]) -> Refinement:
    """The first stage's branches, as if the prior search had been the stage before it."""
    refinement = refine(
        branches,
        view.prior,
        mode=view.search.spec.objective.mode,
        total_trials=stage.trials,
        seed=_seed(view, "prior"),
        limits=DOMAINS,
    )
    if not stage.narrow:
        refinement = _unnarrowed(refinement, branches)
    by = f"by the prior search {view.search.spec.prior}, "
    reasons = (replace(reason, text=by + reason.text) for reason in refinement.reasons)
    return replace(refinement, reasons=tuple(reasons))


def _expansion(view: SearchView, planned: int) -> StagePlan | None:
    """An expand stage, if the spec's stage may have another and its best trials crowd a border."""
    stage = view.search.spec.stages[planned]
    stages = view.stages_of(planned)
    if stage.kind == "confirm" or len(stages) > stage.expand:
        return None
    extension = extend(
        explored(stages),
        observe(view.of_stage(*stages)),
        mode=view.search.spec.objective.mode,
        trials=math.ceil(stage.trials / EXPAND_SHARE),
        seed=_seed(view, "extend"),
        limits=DOMAINS,
    )
    if extension is None:
        return None
    new = _new_stage(view, planned, stage, "expand", extension.branches, extension.reasons)
    return StagePlan(stage=new)


def _refined(view: SearchView, planned: int, stage: Stage) -> StagePlan:
    before = view.stages_of(planned - 1)
    trials = view.of_stage(*before)
    parents = to_continue(trials, stage, view.search.spec.objective.mode)
    refinement = refine(
        explored(before),
        observe(trials),
        mode=view.search.spec.objective.mode,
        total_trials=stage.trials - len(parents),
        seed=_seed(view, "refine"),
        limits=DOMAINS,
    )
    if not stage.narrow:
        refinement = _unnarrowed(refinement, explored(before))
    drafts = [continued(parent, stage.epochs) for parent in parents]
    new = _new_stage(view, planned, stage, "search", refinement.branches, refinement.reasons)
    return StagePlan(stage=new, trials=tuple(numbered(view, drafts, new)))


def to_continue(trials: Sequence[TrialRecord], stage: Stage, mode: str) -> list[TrialRecord]:
    """The best that have epochs to go in ``stage``; one that stopped early has not."""
    able = [trial for trial in trials if not trial.stopped_early and trial.epochs < stage.epochs]
    return rank(able, mode)[: stage.continued]


def _confirm(view: SearchView, planned: int, stage: Stage) -> StagePlan | None:
    """The best configurations of the whole search, each trained again with other seeds.

    None where no trial is complete: then the search is at its end.
    """
    gone = view.superseded()
    candidates = [trial for trial in view.trials.values() if trial.id not in gone]
    best = rank(candidates, view.search.spec.objective.mode)[: stage.top]
    if not best:
        return None
    drafts = [
        repeated(trial, replicate, stage.epochs)
        for trial in best
        for replicate in range(1, stage.seeds + 1)
    ]
    reasons = [
        Reason(
            branch=trial.branch,
            parameter=None,
            action="repeated",
            old=None,
            new=None,
            text=f"number {trial.number} ({trial.value:.4g}) is repeated with {stage.seeds} seeds",
            evidence={"trial": trial.number, "value": trial.value},
        )
        for trial in best
    ]
    new = _new_stage(view, planned, stage, "confirm", (), tuple(reasons))
    return StagePlan(stage=new, trials=tuple(numbered(view, drafts, new)))


def _unnarrowed(refinement: Refinement, wide: Sequence[Branch]) -> Refinement:
    """The refinement's choice and shares of branches over the ranges as they were."""
    parameters = {branch.key: branch.parameters for branch in wide}
    return Refinement(
        branches=tuple(
            branch.model_copy(update={"parameters": parameters[branch.key]})
            for branch in refinement.branches
        ),
        reasons=tuple(reason for reason in refinement.reasons if reason.parameter is None),
    )


def _new_stage(
    view: SearchView,
    planned: int,
    stage: Stage,
    kind: StageKind,
    branches: Sequence[Branch],
    reasons: Sequence[Reason],
) -> NewStage:
    is_expand = kind == "expand"
    number = len(view.stages_of(planned))
    return NewStage(
        position=view.next_position,
        planned=planned,
        name=f"{stage.name}-expand-{number}" if is_expand else stage.name,
        kind=kind,
        epochs=stage.epochs,
        # So few trials are spread best evenly; a sampler that learns would hardly begin to.
        sampler="qmc" if is_expand and stage.sampler in LEARNING else stage.sampler,
        branches=tuple(branches),
        reasons=tuple(reasons),
    )


def _seed(view: SearchView, purpose: str) -> int:
    return key(view.search.spec.seed, purpose, view.next_position)

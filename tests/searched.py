"""Whole searches as they are stored, in memory: for what is said of them by formula or by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from coordinated import a_record

from hpsearch.analysis.diagnosis.curve import Curve
from hpsearch.analysis.diagnosis.finding import Finding
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.spec import load
from hpsearch.spec.search import Search
from hpsearch.storage.records import SearchRecord, StageRecord, TrialRecord

AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_spec_of(space: Mapping[str, Any], **changes: Any) -> Search:
    """A search over ``space`` with one stage of 60 trials, which extends no range."""
    stages = [{"name": "only", "trials": 60, "epochs": 10, "expand": 0}]
    given = {"name": "told", "data": {"source": "digits"}, "space": space, "stages": stages}
    return load({**given, **changes})


def a_searched(spec: Search, **changes: Any) -> SearchRecord:
    """The search as it is stored, complete."""
    given: dict[str, Any] = {"id": 1, "state": "complete", "created_at": AT, **changes}
    return SearchRecord(name=spec.name, spec=spec, **given)


def a_stage_of(spec: Search, id: int = 1, **changes: Any) -> StageRecord:
    """A stage that covers the whole space, complete."""
    given: dict[str, Any] = {
        **{"position": id - 1, "planned": id - 1, "name": f"stage-{id}", "kind": "search"},
        **{"epochs": 10, "sampler": "random", "branches": spec.space.branches(), "reasons": ()},
        **changes,
    }
    return StageRecord(id=id, search_id=1, state="complete", **given)


def a_branch_key(params: Mapping[str, Any]) -> str:
    """The branch of params with an optimizer alone to part them."""
    return f"optimizer={params['optimizer']}" if "optimizer" in params else "all"


def trials_of(
    params: Sequence[Mapping[str, Any]], values: Sequence[float | None], **changes: Any
) -> list[TrialRecord]:
    """Trials with these params and values by number from ``first`` on; None: it diverged."""
    first = changes.pop("first", 0)
    return [
        a_record(
            **{"id": number + 1, "number": number, "params": dict(one), "value": value},
            **{"state": "failed" if value is None else "complete", "epochs": 10},
            **{"failure_kind": "diverged" if value is None else None, "target_epochs": 10},
            **{"branch": a_branch_key(one), **changes},
        )
        for number, (one, value) in enumerate(zip(params, values, strict=True), first)
    ]


def a_picture(
    spec: Search,
    trials: Sequence[TrialRecord],
    stages: Sequence[StageRecord] | None = None,
    curves: Mapping[int, Curve] | None = None,
    findings: Mapping[int, Sequence[Finding]] | None = None,
) -> Picture:
    """The search as the rules see it; without ``stages`` it has one that covers the space."""
    return Picture(
        search=a_searched(spec),
        stages=[a_stage_of(spec)] if stages is None else stages,
        trials=trials,
        curves=curves or {},
        findings=findings or {},
    )


def a_curve(values: Sequence[float], objective: str = "val_accuracy", **more: Any) -> Curve:
    """Epochs of which the objective, and ``more`` metrics, are known."""
    mode = more.pop("mode", "max")
    series = {name: np.asarray(one, dtype=float) for name, one in more.items()}
    missing = np.full(len(values), np.nan)
    series = {"train_loss": missing, objective: np.asarray(values, dtype=float), **series}
    return Curve(series=series, objective=objective, mode=mode)

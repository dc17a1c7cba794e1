"""Rows of frames that are more than a row of a table: ranges with their reasons, searches.

Called by ``hpsearch.analysis.frames``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpsearch.spec.space import Choice, Definition
from hpsearch.storage.records import StageRecord


def stage_rows(stage: StageRecord) -> Iterator[tuple[Any, ...]]:
    reasons: dict[tuple[str, str | None], tuple[str | None, str | None]] = {}
    for reason in stage.reasons:  # a parameter may have several, e.g. narrowed and extended
        action, text = reasons.get((reason.branch, reason.parameter), (None, None))
        joined = (_join(", ", action, reason.action), _join("; ", text, reason.text))
        reasons[reason.branch, reason.parameter] = joined
    for branch in stage.branches:
        for name, parameter in branch.parameters.items():
            why = reasons.pop((branch.key, name), (None, None))
            yield _stage_row(stage, branch.key, name, _range(parameter), why, branch.trials)
        if not branch.parameters or (branch.key, None) in reasons:
            why = reasons.pop((branch.key, None), (None, None))
            yield _stage_row(stage, branch.key, None, _NO_RANGE, why, branch.trials)
    for (key, parameter_name), why in reasons.items():  # of dropped branches
        yield _stage_row(stage, key, parameter_name, _NO_RANGE, why, 0)
    if not stage.branches and not stage.reasons:
        yield _stage_row(stage, None, None, _NO_RANGE, (None, None), 0)


_NO_RANGE = (None, None, None)


def _stage_row(
    stage: StageRecord,
    branch: str | None,
    parameter: str | None,
    limits: tuple[Any, Any, Any],
    why: tuple[str | None, str | None],
    num_trials: int,
) -> tuple[Any, ...]:
    place = (stage.name, stage.kind, branch, parameter)
    sampler = None if stage.kind == "check" else stage.sampler  # it trains and samples nothing
    return (*place, *limits, *why, num_trials, stage.epochs, sampler)


def _range(parameter: Definition) -> tuple[Any, Any, Any]:
    if isinstance(parameter, Choice):
        return None, None, parameter.choices
    return parameter.low, parameter.high, None


def _join(separator: str, *texts: str | None) -> str:
    return separator.join(text for text in texts if text)


def search_row(row: Any) -> tuple[Any, ...]:
    objective = row.spec["objective"]
    best = row.highest if objective["mode"] == "max" else row.lowest
    counts = (row.trials or 0, row.complete or 0, row.pruned or 0, row.failed or 0)
    made = (row.hpsearch_version, row.git_commit, row.host, row.user)
    end = (row.created_at, row.finished_at, row.message)
    about = (row.id, row.name, row.state, objective["metric"], objective["mode"], best)
    return (*about, *counts, row.seed, *made, *end)

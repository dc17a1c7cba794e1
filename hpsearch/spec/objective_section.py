"""The ``objective:`` section: a metric of ours or of the user's own, and its good direction.

Called by ``hpsearch.spec.training``, for a training of ours or for a trainable of the user's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hpsearch.spec.own_pairs import OURS
from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.rules import Rule, Text, read_fields
from hpsearch.spec.search import Objective
from workers.config.domain import Domain
from workers.metrics import CLASS_OBJECTIVES, OBJECTIVES, REGRESSION_OBJECTIVES

MODE: Rule = Domain(names=("max", "min"))
REPORTED: dict[str, Rule] = {
    "metric": Text("the name of a metric that the trainable reports"),
    "mode": MODE,
}


def read_our_objective(
    section: Mapping[Any, Any], task: str | None, own: Collection[str], problems: Problems
) -> Objective:
    """For data of ``task``, None if that is not known; ``own`` are the user's metrics.

    Which way those are good nobody knows but the user.
    """
    table: dict[str, Rule] = {"metric": Domain(names=(*OBJECTIVES, *own)), "mode": MODE}
    fields = read_fields(section, "objective", table, problems, what="a key of objective")
    of_task = REGRESSION_OBJECTIVES if task == "regression" else CLASS_OBJECTIVES
    metric = fields.get("metric", next(iter(of_task)))
    if metric in own:
        if section.get("mode") is None:
            rule = f"is required for a metric of your own: whether max or min of {metric} is good"
            problems.add("objective.mode", rule)
        return Objective(metric=metric, mode=fields.get("mode", "max"))
    if task is not None and metric not in of_task:
        rule = f"must be one of {', '.join((*of_task, *own))} for data of task {task}"
        problems.add("objective.metric", rule, shown(metric))
    good = OBJECTIVES[metric]
    if fields.get("mode", good) != good:
        rule = f"must be {good} for {metric}; correct it or leave it out"
        problems.add("objective.mode", rule, fields["mode"])
    return Objective(metric=metric, mode=good)


def read_reported_objective(section: Mapping[Any, Any], problems: Problems) -> Objective:
    """Any metric that a trainable reports, and which way is good where we do not know."""
    fields = read_fields(
        section, "objective", REPORTED, problems, what="a key of objective", required=("metric",)
    )
    metric = fields.get("metric", "")
    if metric in OURS - OBJECTIVES.keys():
        problems.add(
            "objective.metric", "is the name of a column of the results; rename it", metric
        )
    mode = fields.get("mode", OBJECTIVES.get(metric))
    if mode is None and metric:
        problems.add("objective.mode", f"is required for {metric}: min or max")
    good = OBJECTIVES.get(metric, mode)
    if mode != good:
        problems.add("objective.mode", f"must be {good} for {metric}; rename the metric", mode)
    return Objective(metric=metric, mode=mode or "min")

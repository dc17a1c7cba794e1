"""Ray Tune's schedulers by the names that a spec has for them.

Called by ``run`` for each stage that is trained.
"""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from hpsearch.executors.tune.results import EPOCH, listed
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice, Definition
from hpsearch.spec.trainable import changeable


def new_scheduler(search: Search, max_epochs: int) -> TrialScheduler:
    """The scheduler that ``search`` names, over trials of ``max_epochs``; periods are in epochs."""
    asked = search.tune.scheduler if search.tune is not None else None
    if asked is None:
        return FIFOScheduler()  # type: ignore[no-untyped-call]  # Ray's
    kind, defaults = _KINDS[asked.name]
    given = {"metric": search.objective.metric, "mode": search.objective.mode}
    more: dict[str, Any] = {"max_t": max_epochs} if asked.name in ("asha", "hyperband") else {}
    if asked.name == "pbt":
        more = {"hyperparam_mutations": mutations(search)}
    options = {**defaults, **more, **asked.options}
    scheduler: TrialScheduler = kind(time_attr=EPOCH, **given, **options)
    return scheduler


def mutations(search: Search) -> dict[str, Any]:
    """What population based training may change, as domains of Ray Tune's."""
    return {name: _domain(one) for name, one in changeable(search.space).items()}


def _domain(definition: Definition) -> Any:
    if isinstance(definition, Choice):
        return list(map(listed, definition.choices))
    low, high = definition.low, definition.high
    if definition.is_int:
        kind = tune.lograndint if definition.is_log else tune.randint
        return kind(int(low), int(high) + 1)
    return tune.loguniform(low, high) if definition.is_log else tune.uniform(low, high)


_KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "asha": (ASHAScheduler, {}),
    "hyperband": (HyperBandScheduler, {}),
    "median_stopping": (MedianStoppingRule, {"grace_period": 1}),
    "pbt": (PopulationBasedTraining, {"perturbation_interval": 1}),
}

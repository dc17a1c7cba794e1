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

from hpsearch.executors.tune.results import EPOCH
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice, Definition, Range


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
    """What population based training may change: each parameter, within the space's own range.

    Those with conditions stay, and those that part branches: a trial does not change its branch.
    """
    named, structural = search.space.parameters.items(), search.space.structural()
    plain = {name: one for name, one in named if isinstance(one, Range | Choice)}
    free = {name: one for name, one in plain.items() if name not in structural}
    return {name: _domain(one) for name, one in free.items() if one.when is None}


def _domain(definition: Definition) -> Any:
    if isinstance(definition, Choice):
        return list(definition.choices)
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

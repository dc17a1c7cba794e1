"""The space of a Tuner as distributions of Optuna, by names such as ``optimizer/momentum``.

Called by the search algorithm and by the callback; what has no even scale is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ray.tune.search.sample import Categorical, Domain, Float, Integer, Quantized

from hpsearch.errors import HpsearchError
from hpsearch.integrations.recording import GRID, flat
from hpsearch.sampling.studies import quiet

KNOWN = "uniform, quniform, loguniform, randint, qrandint, lograndint or choice"


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``recording.flat``."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        *path, last = key.split("/")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def distributions(space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """What varies in a Tuner's ``param_space``; constants are left out.

    Raises HpsearchError for a domain that cannot be narrowed, and for a space without any.
    """
    with quiet():  # Optuna warns of choices that are lists
        found = {
            name: _distribution(name, value)
            for name, value in flat(space).items()
            if isinstance(value, Domain) or _is_grid(value)
        }
    if not found:
        raise HpsearchError(
            f"a space must vary something, as tune.{KNOWN} do, but got {sorted(space)}: give "
            "the Tuner's param_space"
        )
    return found


def without_grids(space: Mapping[str, Any]) -> Mapping[str, Any]:
    """``space``. Raises HpsearchError for a grid, whose every value is to be tried."""
    grids = [name for name, value in flat(space).items() if _is_grid(value)]
    if grids:
        raise HpsearchError(
            f"a space must have no grid_search, but {grids[0]} is one: write tune.choice"
        )
    return space


def _is_grid(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {GRID}


def _distribution(name: str, domain: Any) -> BaseDistribution:
    if _is_grid(domain):
        return CategoricalDistribution(domain[GRID])
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.categories)
    sampler: Any = domain.get_sampler()
    step = None
    if isinstance(sampler, Quantized):
        sampler, step = sampler.sampler, sampler.q
    kind = type(sampler).__name__
    if isinstance(domain, Float) and kind == "_Uniform":
        return FloatDistribution(domain.lower, domain.upper, step=step)
    if isinstance(domain, Integer) and kind == "_Uniform":
        last = domain.upper if step else domain.upper - 1  # Tune's own: quantized ones include it
        return IntDistribution(domain.lower, last, step=step or 1)
    if isinstance(domain, Float) and kind == "_LogUniform" and step is None:
        return FloatDistribution(domain.lower, domain.upper, log=True)
    if isinstance(domain, Integer) and kind == "_LogUniform" and step is None:
        return IntDistribution(domain.lower, domain.upper - 1, log=True)
    raise HpsearchError(
        f"a parameter must be a tune.{KNOWN}, which have a range to narrow, but {name} is "
        f"{_shown(domain, kind, step)}: write one of these"
    )


def _shown(domain: Domain, kind: str, step: float | None) -> str:
    words = {"_Normal": "normal", "_LogUniform": "log-uniform", "_CallSampler": "a function"}
    return f"{'quantized ' if step else ''}{words.get(kind, type(domain).__name__)}"

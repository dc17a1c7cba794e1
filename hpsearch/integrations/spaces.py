"""The space of a program that defines it as it runs, found in Optuna's trials.

Called by the sampler for Optuna and by what brings a study into our tables.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from hpsearch.spec.space import Choice, Definition, Range, RangeKind, Space
from workers.config.domain import Domain

When = dict[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The space of some trials, and the distribution that each of its parameters has in them."""

    space: Space
    distributions: Mapping[str, BaseDistribution]

    @property
    def limits(self) -> dict[str, Domain]:
        """The ends of the numeric ranges: a study refuses values beyond them."""
        return {
            name: Domain(low=one.low, high=one.high)
            for name, one in self.distributions.items()
            if isinstance(one, FloatDistribution | IntDistribution)
        }


def found_space(trials: Sequence[FrozenTrial], branch_by: Collection[str] = ()) -> Found:
    """The parameters of ``trials`` whose distribution never changed, with their conditions.

    A parameter that some trials lack is conditional on the categorical whose value tells which do;
    one of which no single categorical tells is left out. The categoricals in ``branch_by`` part
    branches although nothing is conditional on them.
    """
    steady = _steady(trials)
    whens: dict[str, When] = {name: {} for name in steady if all(name in t.params for t in trials)}
    while True:  # a condition may itself be conditional
        parents = [n for n in whens if isinstance(steady[n], CategoricalDistribution)]
        pending = (name for name in steady if name not in whens)
        told = {n: when for n in pending if (when := _when(n, trials, parents)) is not None}
        if not told:
            break
        whens |= told
    for parent in branch_by:
        if parent in whens:
            whens = {
                n: when if n == parent else {parent: _choices(steady, parent), **when}
                for n, when in whens.items()
            }
    distributions = {name: steady[name] for name in steady if name in whens}
    parameters = {name: definition(one, whens[name]) for name, one in distributions.items()}
    return Found(space=Space(parameters=parameters), distributions=distributions)


def definition(distribution: BaseDistribution, when: When | None = None) -> Definition:
    """A distribution of Optuna as a parameter of ours; its step is left to :func:`part_of`."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(choices=distribution.choices, when=when or None)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kinds: tuple[RangeKind, RangeKind] = (
        ("int", "log_int")
        if isinstance(distribution, IntDistribution)
        else ("uniform", "log_uniform")
    )
    low, high = float(distribution.low), float(distribution.high)
    return Range(kind=kinds[distribution.log], low=low, high=high, when=when or None)


def part_of(distribution: BaseDistribution, parameter: Definition) -> BaseDistribution:
    """The part of a numeric distribution that a narrowed range leaves, on its own steps."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    assert isinstance(parameter, Range)
    low, high = _on_steps(distribution, parameter.low, parameter.high)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log, step=distribution.step)
    return FloatDistribution(low, high, log=distribution.log, step=distribution.step)


def _steady(trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
    """The parameters in the order in which they came up, without those whose range changed."""
    found: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, one in trial.distributions.items():
            found.setdefault(name, []).append(one)
    return {name: all_[0] for name, all_ in found.items() if all(o == all_[0] for o in all_)}


def _when(name: str, trials: Sequence[FrozenTrial], parents: Sequence[str]) -> When | None:
    """The condition under which trials have ``name``, if one parent tells it of all of them."""
    for parent in parents:
        has: dict[float, set[bool]] = {}
        values: dict[float, Any] = {}
        for trial in trials:
            if parent in trial.params:
                index = trial.distributions[parent].to_internal_repr(trial.params[parent])
                has.setdefault(index, set()).add(name in trial.params)
                values[index] = trial.params[parent]
            elif name in trial.params:
                break
        else:
            if all(len(answers) == 1 for answers in has.values()):
                return {parent: tuple(v for i, v in values.items() if has[i] == {True})}
    return None


def _choices(distributions: Mapping[str, BaseDistribution], name: str) -> tuple[Any, ...]:
    distribution = distributions[name]
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else ()


def _on_steps(
    distribution: FloatDistribution | IntDistribution, low: float, high: float
) -> tuple[float, float]:
    """The ends rounded outwards to the distribution's steps, in decimals as Optuna counts them."""
    if distribution.step is None or (
        isinstance(distribution, IntDistribution) and distribution.log
    ):
        return max(low, distribution.low), min(high, distribution.high)
    first, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    lower = math.floor((low - distribution.low) / distribution.step + 1e-9)
    upper = math.ceil((high - distribution.low) / distribution.step - 1e-9)
    ends = (float(first + max(lower, 0) * step), float(first + upper * step))
    return ends[0], min(ends[1], distribution.high)

"""A parameter's values on the way to Optuna and back, from the unit interval, and as grid levels.

Called by the samplers of this room; Optuna is imported only when a distribution is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.spec.space import Branch, Choice, Definition, Params, Range, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def exponents(parameter: Range) -> tuple[int, int]:
    """Of a range with a base: the exponents of its lowest and highest power."""
    assert parameter.base is not None
    low, high = (math.log(edge, parameter.base) for edge in (parameter.low, parameter.high))
    # The slack absorbs the rounding of log: log(1000, 10) is 2.9999999999999996.
    return math.ceil(low - 1e-9), math.floor(high + 1e-9)


def distribution(parameter: Definition) -> BaseDistribution:
    """Optuna's distribution: an index for a choice, an exponent for a range with a base."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(parameter, Choice):
        return CategoricalDistribution(tuple(range(len(parameter.choices))))
    if parameter.base is not None:
        return IntDistribution(*exponents(parameter))
    if parameter.is_int:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.is_log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.is_log)


def decode(parameter: Definition, drawn: Any) -> Value:
    """The parameter's value for what Optuna drew from :func:`distribution`."""
    if isinstance(parameter, Choice):
        return parameter.choices[int(drawn)]
    if parameter.base is not None:
        return int(parameter.base) ** int(drawn)
    if parameter.is_int:
        return int(drawn)
    # exp(log(low)) may fall an ulp short of low.
    return min(max(float(drawn), parameter.low), parameter.high)


def encode(parameter: Definition, value: Value) -> Any:
    """The inverse of :func:`decode`; the value must be one that :func:`admits`."""
    if isinstance(parameter, Choice):
        return _choices(parameter).index(_typed(value))
    if parameter.base is not None:
        return round(math.log(value, parameter.base))
    return int(value) if parameter.is_int else float(value)


def admits(parameter: Definition, value: Value) -> bool:
    """Whether ``value`` is one of the parameter's choices or lies within its range."""
    if isinstance(parameter, Choice):
        return _typed(value) in _choices(parameter)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and parameter.low <= value <= parameter.high


def holds(branch: Branch, params: Mapping[str, Value]) -> bool:
    """Whether ``params`` names every parameter of ``branch`` with a value that it admits."""
    return all(
        name in params and admits(parameter, params[name])
        for name, parameter in branch.parameters.items()
    )


def from_unit(parameter: Definition, place: float) -> Value:
    """The value at ``place`` in [0, 1), even on the parameter's own scale."""
    if isinstance(parameter, Choice):
        return parameter.choices[int(place * len(parameter.choices))]
    if parameter.base is not None:
        low, high = exponents(parameter)
        return int(parameter.base) ** (low + int(place * (high - low + 1)))
    # Half a unit on either side gives the two end values of a whole range their full share.
    slack = 0.5 if parameter.is_int else 0.0
    low_place = parameter.scale(parameter.low - slack)
    high_place = parameter.scale(parameter.high + slack)
    value = parameter.unscale(low_place + place * (high_place - low_place))
    inside = min(max(value, parameter.low), parameter.high)
    return round(inside) if parameter.is_int else inside


def branch_key(branches: Iterable[Branch], params: Mapping[str, Value]) -> str | None:
    """The key of the branch that these params belong to, if there is one."""
    for branch in branches:
        fixed = branch.fixed.items()
        if all(n in params and admits(Choice(choices=(value,)), params[n]) for n, value in fixed):
            return branch.key
    return None


def num_values(parameter: Range) -> int | None:
    """How many values a whole range has; None for a continuous one that is not a point."""
    if parameter.base is not None:
        low, high = exponents(parameter)
        return high - low + 1
    if parameter.is_int:
        return int(parameter.high) - int(parameter.low) + 1
    return 1 if parameter.low == parameter.high else None


def levels(parameter: Range, count: int) -> list[Value]:
    """``count`` values from end to end, even on the own scale; all values if there are fewer."""
    whole = num_values(parameter)
    count = count if whole is None else min(count, whole)
    if parameter.base is not None:
        places = np.linspace(*exponents(parameter), count)
        return [int(parameter.base) ** round(float(place)) for place in places]
    ends = parameter.scale(parameter.low), parameter.scale(parameter.high)
    values = [parameter.unscale(float(place)) for place in np.linspace(*ends, count)]
    inside = [min(max(value, parameter.low), parameter.high) for value in values]
    return sorted({round(value) for value in inside}) if parameter.is_int else inside


def merged(branch: Branch, values: Params) -> Params:
    """A trial's params: the branch's structural values and the drawn ones."""
    return {**branch.fixed, **values}


def _choices(parameter: Choice) -> list[tuple[str, Value]]:
    return [_typed(choice) for choice in parameter.choices]


def _typed(value: Value) -> tuple[str, Value]:
    # By type too: True == 1 == 1.0 in Python, but they are three choices. JSON gives lists back.
    value = tuple(value) if isinstance(value, list) else value
    return type(value).__name__, value

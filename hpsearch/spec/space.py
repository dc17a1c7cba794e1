"""Space, its parameters and its branches: what may vary, as frozen values.

Read from YAML by ``hpsearch.spec.load``, narrowed by ``hpsearch.sampling``, stored with each stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _value(value: Any) -> Any:
    """JSON has no tuples: a list in it was one."""
    return tuple(value) if isinstance(value, list) else value


Value = Annotated[Any, BeforeValidator(_value)]  # a number, string, boolean, or tuple of numbers
Params = dict[str, Value]
RangeKind = Literal["log_uniform", "uniform", "int", "log_int"]
RANGE_KINDS: tuple[RangeKind, ...] = get_args(RangeKind)


class Frozen(BaseModel):
    """Base of all spec values: immutable, no unknown keys.

    ``LATER`` are fields that came after searches were stored without them. At their defaults they
    are not stored, so that a spec has the hash that it had.
    """

    LATER: ClassVar[tuple[str, ...]] = ()
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Frozen):
    """A numeric parameter. ``base`` (log_int only) admits the powers of ``base`` alone."""

    kind: RangeKind
    low: float
    high: float
    base: int | None = None
    when: dict[str, tuple[Value, ...]] | None = None

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """Itself; of a parameter with several ranges, all of them."""
        return (self,)

    @property
    def is_log(self) -> bool:
        return self.kind.startswith("log")

    @property
    def is_int(self) -> bool:
        return self.kind.endswith("int")

    def scale(self, value: float) -> float:
        """A value's place on the scale on which the range is even: log10, or itself."""
        return math.log10(value) if self.is_log else float(value)

    def unscale(self, place: float) -> float:
        """The inverse of :meth:`scale`, not rounded."""
        return float(10.0**place) if self.is_log else place


class Choice(Frozen):
    """One of several values, of which nothing is known but their names."""

    choices: tuple[Value, ...]
    when: dict[str, tuple[Value, ...]] | None = None

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """Itself."""
        return (self,)


Definition = Range | Choice


class Cases(Frozen):
    """One parameter defined several times, under conditions of which one holds at most.

    So each optimizer can begin with a range of rates of its own.
    """

    cases: tuple[Definition, ...]

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """All cases."""
        return self.cases


Parameter = Range | Choice | Cases


def value_types(parameter: Parameter) -> set[type]:
    """The Python types of the values that a parameter takes, but for None."""
    return {kind for each in parameter.definitions for kind in _types(each)}


def _types(definition: Definition) -> set[type]:
    if isinstance(definition, Choice):
        return {type(value) for value in definition.choices if value is not None}
    return {int if definition.is_int else float}


def varies(parameter: Parameter) -> bool:
    """Whether trials may differ in it: it has several values, or trials outside its ``when``."""
    return any(each.when is not None or not _is_one(each) for each in parameter.definitions)


def _is_one(definition: Definition) -> bool:
    if isinstance(definition, Choice):
        return len(definition.choices) == 1
    return definition.low == definition.high


class Branch(Frozen):
    """One assignment of the structural choices, with the parameters that are active under it.

    ``trials`` is the number of new trials that a stage gives to it.
    """

    key: str
    fixed: dict[str, Value] = {}
    parameters: dict[str, Definition] = {}
    trials: int = 0


class Space(Frozen):
    """All parameters of a search by name, in the order of the spec."""

    parameters: dict[str, Parameter]

    def structural(self) -> tuple[str, ...]:
        """Names of the choices that part branches: those in a ``when``, and the optimizer."""
        named = {name for parameter in self.parameters.values() for name in parents(parameter)}
        return tuple(
            name
            for name, parameter in self.parameters.items()
            if isinstance(parameter, Choice) and (name in named or name == "optimizer")
        )

    def branches(self) -> tuple[Branch, ...]:
        """Every assignment of the structural choices, in the order of the spec."""
        return tuple(self._branch(fixed) for fixed in self.assignments())

    def assignments(self) -> Iterator[Params]:
        """The structural choices of each branch, one branch after the other."""
        return self._assignments({}, list(self.structural()))

    def _assignments(self, fixed: Params, names: list[str]) -> Iterator[Params]:
        pending = [name for name in names if name not in fixed]
        ready = [
            name
            for name in pending
            if not any(other in pending for other in parents(self.parameters[name]))
        ]
        if not ready:
            yield fixed
            return
        name = ready[0]
        rest = [other for other in names if other != name]
        parameter = self.parameters[name]
        if not is_active(parameter, fixed):
            yield from self._assignments(fixed, rest)
            return
        assert isinstance(parameter, Choice)
        for value in parameter.choices:
            yield from self._assignments({**fixed, name: value}, names)

    def _branch(self, fixed: Params) -> Branch:
        active = {
            name: definition
            for name, parameter in self.parameters.items()
            if name not in fixed and name not in self.structural()
            for definition in active_definitions(parameter, fixed)
        }
        key = ",".join(f"{name}={value}" for name, value in fixed.items()) or "all"
        return Branch(key=key, fixed=fixed, parameters=active)


def parents(parameter: Parameter) -> set[str]:
    """The names of the choices that decide whether, or how, ``parameter`` is active."""
    return {name for definition in parameter.definitions for name in (definition.when or {})}


def is_active(parameter: Parameter, fixed: Mapping[str, Value]) -> bool:
    """Whether ``parameter`` is varied under the assignment ``fixed``."""
    return bool(active_definitions(parameter, fixed))


def active_definitions(parameter: Parameter, fixed: Mapping[str, Value]) -> list[Definition]:
    """The definitions of ``parameter`` all of whose conditions hold: one, or none."""
    return [
        definition
        for definition in parameter.definitions
        if all(
            name in fixed and fixed[name] in values
            for name, values in (definition.when or {}).items()
        )
    ]

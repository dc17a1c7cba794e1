"""Which values of a space no trial could be trained with, whatever the other parameters are.

Called by ``hpsearch.spec.data`` once the data are known; the rules are those of
``workers.config.combination``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpsearch.spec.search import Search
from hpsearch.spec.space import (
    Cases,
    Choice,
    Definition,
    Params,
    Space,
    Value,
    active_definitions,
    parents,
)
from workers.config import TrainConfig
from workers.config.combination import RULES, ConfigError, DataShape, Rule, check_combination

When = Mapping[str, tuple[Value, ...]]
MOST_TRIED = 2000  # combinations for one value; what takes more to refuse is left to its trials


class _Undecided(Exception):
    """A rule asked for a parameter that has no value yet; its name."""


class _TooMany(Exception):
    """More combinations than MOST_TRIED."""


@dataclass(frozen=True, kw_only=True)
class _Draft(TrainConfig):
    """A configuration of which some parameters are still undecided."""

    undecided: frozenset[str] = frozenset()

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "undecided"):
            raise _Undecided(name)
        return object.__getattribute__(self, name)


def refused_values(search: Search, data: DataShape) -> Iterator[tuple[str, str]]:
    """(key path, sentence) of each choice and end of a range that breaks a rule in every trial.

    Where no trial is left, whatever is chosen, only the rules that all trials break are told. A
    value that is refused only because another one that it depends on is refused is left out.
    """
    everywhere = _broken_everywhere(search, data)
    for broken in everywhere:
        section = "space" if broken.key in search.space.parameters else "train"
        yield f"{section}.{broken.key}", str(broken)
    if everywhere:
        return
    found = [
        (name, path, error)
        for name, path, value, when in extremes(search.space)
        if (error := _Tree(search, data, _needed(search.space, when)).error({name: value}))
    ]
    to_blame = {name for name, _, error in found if error.key == name}
    for name, path, error in found:
        if error.key == name:
            yield path, str(error)
        elif error.key not in to_blame:
            yield path, f"leaves no trial that can be trained: {error.key} {error}"


def _broken_everywhere(search: Search, data: DataShape) -> list[ConfigError]:
    """Each rule that all trials break; where some break this one and some that, the first."""
    any_of_them = _Tree(search, data).error({})
    if any_of_them is None:
        return []
    errors = (_Tree(search, data, only=(rule,)).error({}) for rule in RULES)
    return [error for error in errors if error is not None] or [any_of_them]


@dataclass(slots=True)
class _Tree:
    """The trials of a search as a tree of decisions, of which only those are made that rules read.

    ``needed`` has the values that are left of choices, where some of them are asked for; ``only``
    the rules that are asked about, if not all.
    """

    search: Search
    data: DataShape
    needed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    only: tuple[Rule, ...] | None = None
    tried: int = 0

    def error(self, decided: Params) -> ConfigError | None:
        """The first error of the trials with ``decided``, if they all have one; else None."""
        try:
            return self._error(decided, frozenset())
        except _TooMany:
            return None

    def _error(self, decided: Params, inactive: frozenset[str]) -> ConfigError | None:
        self.tried += 1
        if self.tried > MOST_TRIED:
            raise _TooMany
        undecided = frozenset(self.search.space.parameters) - decided.keys() - inactive
        draft = _Draft.of({**self.search.train, **decided}, undecided=undecided)
        try:
            check_combination(draft, self.data, self.only)
        except _Undecided as asked:
            return self._decide(self._first(asked.args[0], undecided), decided, inactive)
        except ConfigError as error:
            return error
        return None

    def _first(self, name: str, undecided: frozenset[str]) -> str:
        """``name``, or what decides whether it is active."""
        deciding = parents(self.search.space.parameters[name])
        waiting = sorted(parent for parent in deciding if parent in undecided)
        return self._first(waiting[0], undecided) if waiting else name

    def _decide(self, name: str, decided: Params, inactive: frozenset[str]) -> ConfigError | None:
        active = active_definitions(self.search.space.parameters[name], decided)
        if not active:
            return self._error(decided, inactive | {name})
        first: ConfigError | None = None
        for value in self.needed.get(name) or _tried_values(active[0]):
            error = self._error({**decided, name: value}, inactive)
            if error is None:
                return None
            first = first or error
        return first


def _needed(space: Space, when: When) -> dict[str, tuple[Value, ...]]:
    """The values of choices under which a definition with the conditions ``when`` is active."""
    needed: dict[str, tuple[Value, ...]] = {}
    waiting = [when]
    while waiting:
        for parent, values in waiting.pop().items():
            kept = tuple(value for value in needed.get(parent, values) if value in values)
            needed[parent] = kept
            waiting += [choice.when or {} for choice in space.parameters[parent].definitions]
    return needed


def extremes(space: Space) -> Iterator[tuple[str, str, Value, When]]:
    """(name, key path, value, its conditions) of each choice and each end of a range."""
    for name, parameter in space.parameters.items():
        for number, definition in enumerate(parameter.definitions):
            place = f"{name}[{number}]" if isinstance(parameter, Cases) else name
            for path, value in _ends(definition):
                yield name, f"space.{place}.{path}", value, definition.when or {}


def _ends(definition: Definition) -> Iterator[tuple[str, Value]]:
    if isinstance(definition, Choice):
        for i, value in enumerate(definition.choices):
            yield f"choice[{i}]", value
        return
    for i, end in enumerate((definition.low, definition.high)):
        yield f"{definition.kind}[{i}]", int(end) if definition.is_int else end


def _tried_values(parameter: Definition) -> Sequence[Value]:
    """All choices and whole numbers; of a real range its ends and the middle of its scale."""
    if isinstance(parameter, Choice):
        return parameter.choices
    if parameter.base is not None:
        powers = (parameter.base**exponent for exponent in range(64))
        return tuple(power for power in powers if parameter.low <= power <= parameter.high)
    if parameter.is_int:
        return range(int(parameter.low), int(parameter.high) + 1)
    first, last = parameter.scale(parameter.low), parameter.scale(parameter.high)
    return parameter.unscale((first + last) / 2), parameter.low, parameter.high

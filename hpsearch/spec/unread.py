"""Parameters that no trial of a search could read: dimensions of nothing but noise.

``hpsearch.spec.training`` refuses them, ``hpsearch.spec.data`` asks what is read; which part of the
training reads a field is told by ``workers.config.reads``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice, Params, Value, active_definitions, is_active
from workers.config import DOMAINS, TrainConfig
from workers.config.own import of_model
from workers.config.reads import READS, Condition

_DEFAULT = TrainConfig()
_ALWAYS: Condition = {}


def unread(search: Search) -> Iterator[tuple[str, str]]:
    """(key path, sentence) of each parameter of the space that no trial reads."""
    for name in search.space.parameters:
        if not may_read(search, name):
            yield (
                f"space.{name}",
                f"is read only where {_wanted(search, name)}, as in no trial of this space; add "
                "such a value, or take the parameter away",
            )


def may_read(search: Search, name: str) -> bool:
    """Whether a trial of ``search`` may read the field ``name``, fixed or searched."""
    if name in of_model({**search.train, name: None}, DOMAINS):
        return True  # an argument of the user's own model
    trials = _Trials(search, name)
    return any(trials.may_meet(condition) for condition in READS.get(name, (_ALWAYS,)))


def _wanted(search: Search, name: str) -> str:
    """What would have to be for ``name`` to be read, where it takes the least: in words."""
    trials = _Trials(search, name)
    ways = [trials.missing(condition) for condition in READS[name]]
    least = min(map(len, ways))
    return ", or ".join(
        " and ".join(f"{field} is {values.words}" for field, values in way.items())
        for way in ways
        if len(way) == least
    )


@dataclass(frozen=True, slots=True)
class _Trials:
    """The trials of ``search`` that have a value of the field ``name``."""

    search: Search
    name: str

    def may_meet(self, condition: Condition) -> bool:
        """Whether ``condition`` holds in one of them.

        Within a branch parameters vary independently, so each may be looked at alone.
        """
        return any(
            all(
                any(map(values.admits, self._values(field, fixed)))
                for field, values in condition.items()
            )
            for fixed in self._assignments()
        )

    def missing(self, condition: Condition) -> Condition:
        """What of ``condition`` none of them has; all of it where only the combination is."""
        missing = {
            field: values
            for field, values in condition.items()
            if not self.may_meet({field: values})
        }
        return missing or condition

    def _assignments(self) -> Iterator[Params]:
        parameter = self.search.space.parameters.get(self.name)
        for fixed in self.search.space.assignments():
            if parameter is None or is_active(parameter, fixed):
                yield fixed

    def _values(self, field: str, fixed: Params) -> tuple[Value, ...]:
        """What ``field`` may be in the branch ``fixed``: its choices, or the ends of its range."""
        if field in fixed:
            return (fixed[field],)
        parameter = self.search.space.parameters.get(field)
        active = active_definitions(parameter, fixed) if parameter else []
        if not active:
            return (self.search.train.get(field, getattr(_DEFAULT, field)),)
        definition = active[0]
        if isinstance(definition, Choice):
            return definition.choices
        return definition.low, definition.high

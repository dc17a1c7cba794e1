"""What a key of a spec may hold: rules that say themselves in words, and the reading of a section.

Each section of a spec is a table of rules, ``workers.config.domain.Domain`` among them;
``read_fields`` holds what the user wrote against the table. Called by the other modules of this
room.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hpsearch.errors import closest
from hpsearch.spec.problem import Problems, shown
from workers.config.domain import Domain
from workers.config.own import is_own

UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_D = 3650
LARGEST = 1e18  # beyond it no number means anything here, and integers do not fit a database


class Rule(Protocol):
    """The legal values of a key."""

    def rule(self) -> str:
        """The rule in words that follow "must be"."""

    def admits(self, value: object) -> bool:
        """Whether ``value`` is legal."""


@dataclass(frozen=True, slots=True)
class Text:
    """Any text that is not empty."""

    what: str = "text"

    def rule(self) -> str:
        return self.what

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and bool(value.strip())


class Name:
    """A name of a search or a stage; it cannot be mistaken for an id, a path or an option."""

    def rule(self) -> str:
        return "a letter, then at most 99 letters, digits, '-', '_' or '.'"

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and bool(re.fullmatch(r"[^\W\d_][\w.-]{0,99}", value))


@dataclass(frozen=True, slots=True)
class PythonName:
    """A class or function that Python can import; ``what`` says what it is to be."""

    what: str

    def rule(self) -> str:
        return f"MODULE:NAME, {self.what}"

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and is_own(value)


class SearchRef:
    """A search that there is, by its name or its id."""

    def rule(self) -> str:
        return "the name or the id of a search"

    def admits(self, value: object) -> bool:
        is_id = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return is_id or Name().admits(value) or (isinstance(value, str) and value.isdecimal())


class Section:
    """A mapping, the keys of which have rules of their own."""

    def rule(self) -> str:
        return "a mapping"

    def admits(self, value: object) -> bool:
        return isinstance(value, Mapping)


class StageList:
    """A list of stages, which have rules of their own, or the word auto."""

    def rule(self) -> str:
        return "a list of stages, or auto"

    def admits(self, value: object) -> bool:
        return value == "auto" or isinstance(value, list)


class Validation:
    """How much of the data: a share of it, a number of rows, or folds (with rules of their own)."""

    def rule(self) -> str:
        return "a fraction in (0, 1), a whole number of rows >= 1, or {folds: 5}"

    def admits(self, value: object) -> bool:
        if isinstance(value, Mapping):
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value >= 1 if isinstance(value, int) else 0 < value < 1


class Duration:
    """A time: a number of seconds, or text with a unit; ten years at most."""

    def rule(self) -> str:
        return f"a time > 0 and <= {LONGEST_D}d, in seconds or with a unit as in 90m, 12h or 3d"

    def admits(self, value: object) -> bool:
        is_time = isinstance(value, str | int | float) and not isinstance(value, bool)
        return is_time and 0 < (seconds(value) or 0.0) <= LONGEST_D * UNITS_S["d"]


@dataclass(frozen=True, slots=True)
class OrAuto:
    """The word auto, or what another rule admits."""

    other: Rule

    def rule(self) -> str:
        return f"auto or {self.other.rule()}"

    def admits(self, value: object) -> bool:
        return value == "auto" or self.other.admits(value)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, every item of which another rule admits."""

    item: Rule

    def rule(self) -> str:
        return f"a list, each item {self.item.rule()}"

    def admits(self, value: object) -> bool:
        return isinstance(value, list) and all(self.item.admits(item) for item in value)


# Below what the database's columns hold, 2^31, and what a machine could ever do.
POSITIVE = Domain(low=1, high=1e9, integer=True)
COUNT = Domain(low=0, high=1e9, integer=True)
TRIALS = Domain(low=1, high=1e7, integer=True)
EPOCHS = Domain(low=1, high=1e6, integer=True)
NUMBER = Domain()
BOOLEAN = Domain(boolean=True)


def seconds(value: object) -> float | None:
    """A time as :class:`Duration` admits it, in seconds; None if it is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", str(value).strip())
    return None if found is None else float(found[1]) * UNITS_S[found[2]]


def join(path: str, key: object) -> str:
    """The key path of ``key`` in the section at ``path``."""
    return f"{path}.{key}" if path else str(key)


def obeys(value: object, rule: Rule, path: str, problems: Problems) -> bool:
    """Whether ``value`` is legal; if not, a problem at ``path`` says why."""
    if _has_endless(value):
        problems.add(path, f"must be finite and at most {LARGEST:g} in size", shown(value))
        return False
    if isinstance(rule, ListOf) and isinstance(value, list):
        places = enumerate(value)
        return all([obeys(item, rule.item, f"{path}[{i}]", problems) for i, item in places])
    if rule.admits(value):
        return True
    names = rule.names if isinstance(rule, Domain) and isinstance(value, str) else ()
    problems.add(path, f"must be {rule.rule()}", shown(value), closest(value, names))
    return False


def _has_endless(value: object) -> bool:
    """Whether a number in ``value`` is not finite, or too large for any use."""
    if isinstance(value, list):
        return any(_has_endless(item) for item in value if not isinstance(item, list))
    return isinstance(value, int | float) and not abs(value) <= LARGEST


def settled(value: Any, rule: Rule) -> Any:
    """A legal value in the type that its rule means: lists as tuples, 32.0 as 32 for an integer."""
    if isinstance(value, list):
        item_rule = rule.item if isinstance(rule, ListOf) else rule
        return tuple(settled(item, item_rule) for item in value)
    inner = rule.other if isinstance(rule, OrAuto) else rule
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not isinstance(inner, Domain) or inner.anything:
        return value
    return int(value) if inner.integer else float(value)


def read_fields(
    section: Mapping[Any, Any],
    path: str,
    table: Mapping[str, Rule],
    problems: Problems,
    *,
    what: str,
    required: Collection[str] = (),
) -> dict[str, Any]:
    """The legal entries of ``section``, settled; all else becomes a problem.

    A null is as good as no entry. ``what`` names the keys, as in "is not a key of a stage". That a
    key is required is not said beside the misspelling of it.
    """
    misspelt = set()
    for key in section:
        if key not in table:
            near = closest(key, table)
            misspelt.add(near)
            rest = "" if near else f"; there are {', '.join(table)}"
            problems.add(join(path, key), f"is not {what}{rest}", closest=near)
    given = {key: section[key] for key in table if section.get(key) is not None}
    for key in required:
        if key not in given and key not in misspelt:
            problems.add(join(path, key), f"is required: {table[key].rule()}")
    return {
        key: settled(value, table[key])
        for key, value in given.items()
        if obeys(value, table[key], join(path, key), problems)
    }

"""One parameter of the ``space:`` section: its range or choices, and the form of its conditions.

Called by ``hpsearch.spec.space_section`` for each name, with its domain of legal values: that of a
field in ``workers.config``, or of an argument of the user's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.errors import closest
from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.rules import NUMBER, Section, join, obeys, settled
from hpsearch.spec.space import RANGE_KINDS, Cases, Choice, Definition, Parameter, Range, Value
from workers.config.domain import Domain

PARAMETER_KINDS = (*RANGE_KINDS, "choice")
KEYS = (*PARAMETER_KINDS, "base", "when")
BASE = Domain(low=2, integer=True)
When = dict[str, tuple[Value, ...]]


def read_parameter(
    name: str, definition: object, problems: Problems, domain: Domain | None
) -> Parameter | None:
    """The parameter, or None where a problem leaves none. Conditions are not held against others.

    Of a name that the training does not know, what can be checked without a domain is checked.
    """
    path = join("space", name)
    if isinstance(definition, list):
        return _read_cases(definition, path, problems, domain)
    return _read_definition(definition, path, problems, domain)


def _read_cases(
    definitions: list[Any], path: str, problems: Problems, domain: Domain | None
) -> Cases | None:
    if len(definitions) < 2:
        rule = "must be a mapping, or a list of at least two, each with a when"
        problems.add(path, rule, shown(definitions))
        return None
    cases = [
        _read_definition(definition, f"{path}[{i}]", problems, domain)
        for i, definition in enumerate(definitions)
    ]
    for i, case in enumerate(cases):
        if case is not None and case.when is None:
            problems.add(f"{path}[{i}]", "is one of several definitions and needs a when")
    read = tuple(case for case in cases if case is not None)
    return Cases(cases=read) if len(read) == len(cases) else None


def _read_definition(
    definition: object, path: str, problems: Problems, domain: Domain | None
) -> Definition | None:
    if not isinstance(definition, Mapping):
        problems.add(
            path, f"must be a mapping with one of {', '.join(PARAMETER_KINDS)}", shown(definition)
        )
        return None
    return _Reader(definition, path, domain, problems).read()


@dataclass(frozen=True, slots=True)
class _Reader:
    definition: Mapping[Any, Any]
    path: str
    domain: Domain | None
    problems: Problems

    def read(self) -> Definition | None:
        kind, when = self._kind(), self._when()
        if "base" in self.definition and kind not in ("log_int", None):
            self._refuse("base", f"is for log_int alone, not {kind}; leave it out")
        if kind == "choice":
            return self._choice(when)
        return None if kind is None else self._range(kind, when)

    def _refuse(self, key: str, rule: str, value: str | None = None) -> None:
        self.problems.add(join(self.path, key), rule, value)

    def _kind(self) -> str | None:
        unknown = [key for key in self.definition if key not in KEYS]
        for key in unknown:
            rule, near = "is not a key of a parameter", closest(key, KEYS)
            self.problems.add(join(self.path, key), rule, closest=near)
        given = [kind for kind in PARAMETER_KINDS if kind in self.definition]
        if len(given) == 1:
            return given[0]
        if given or not unknown:  # else the unknown one is most likely the kind, spelt wrong
            rule = f"must have exactly one of {', '.join(PARAMETER_KINDS)}"
            self.problems.add(self.path, rule, " and ".join(given) or "none")
        return None

    def _when(self) -> When | None:
        when = self.definition.get("when")
        if when is None or not obeys(when, Section(), join(self.path, "when"), self.problems):
            return None
        lists = {
            str(name): values if isinstance(values, list) else [values]
            for name, values in when.items()
        }
        for name, values in lists.items():
            if not values:
                self._refuse(f"when.{name}", "must name at least one value", "[]")
        return {name: settled(values, Section()) for name, values in lists.items()} or None

    def _choice(self, when: When | None) -> Choice | None:
        values, path, domain = self.definition["choice"], join(self.path, "choice"), self.domain
        if not isinstance(values, list) or not values:
            self._refuse("choice", "must be a list of at least one value", shown(values))
            return None
        if domain is None or not self._all_obey(values, domain, path):
            return None
        choices = tuple(settled(value, domain) for value in values)
        twice = [i for i, value in enumerate(choices) if value in choices[:i]]
        for i in twice:
            self._refuse(f"choice[{i}]", "is among the choices already", shown(values[i]))
        return None if twice else Choice(choices=choices, when=when)

    def _range(self, kind: str, when: When | None) -> Range | None:
        ends, path = self.definition[kind], join(self.path, kind)
        if not isinstance(ends, list) or len(ends) != 2:
            self._refuse(kind, "must be [low, high]", shown(ends))
            return None
        if not self._fits_field(kind) or not self._all_obey(ends, NUMBER, path):
            return None
        in_domain = self.domain is None or self._all_obey(ends, self.domain, path)
        if not (self._suits_kind(kind, *ends) and in_domain and self._has_powers(kind, *ends)):
            return None
        return Range.model_validate(
            {
                "kind": kind,
                "low": ends[0],
                "high": ends[1],
                "base": self.definition.get("base") if kind == "log_int" else None,
                "when": when,
            }
        )

    def _all_obey(self, values: list[Any], domain: Domain, path: str) -> bool:
        places = enumerate(values)
        return all([obeys(value, domain, f"{path}[{i}]", self.problems) for i, value in places])

    def _fits_field(self, kind: str) -> bool:
        domain = self.domain or NUMBER
        if domain.names or domain.boolean or domain.text:
            self._refuse(kind, f"is no way to vary {domain.rule()}; write choice: [...]")
            return False
        if domain.integer and not kind.endswith("int"):
            self._refuse(kind, "is no way to vary an integer; write int or log_int")
            return False
        return True

    def _suits_kind(self, kind: str, low: float, high: float) -> bool:
        rules = {
            "must be [low, high] with low < high": low < high,
            "must be above 0, on a log scale": min(low, high) > 0 or not kind.startswith("log"),
            "must have whole numbers for ends": not kind.endswith("int")
            or (float(low).is_integer() and float(high).is_integer()),
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        for rule in broken:
            self._refuse(kind, rule, shown([low, high]))
        return not broken

    def _has_powers(self, kind: str, low: float, high: float) -> bool:
        base = self.definition.get("base")
        if base is None or kind != "log_int":
            return True
        if not obeys(base, BASE, join(self.path, "base"), self.problems):
            return False
        if _is_power(low, base) and _is_power(high, base):
            return True
        self._refuse(kind, f"must have powers of base {base} for ends", shown([low, high]))
        return False


def _is_power(value: float, base: int) -> bool:
    while value % base == 0:
        value //= base
    return value == 1

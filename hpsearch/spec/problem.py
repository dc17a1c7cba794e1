"""Problem and SpecError: everything that is wrong with a spec, told at once.

Collected by all of ``hpsearch.spec`` while it reads; the CLI prints one line for each problem.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hpsearch.errors import HpsearchError
from hpsearch.given import in_short

MOST_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: where, which rule it breaks, and how to mend it.

    ``key`` is a path such as ``stages[1].trials``, or ``line 3`` where there is no key. ``value``
    is what the user wrote, shortened; None where the key itself is the problem. ``closest`` is the
    valid name nearest to it.
    """

    file: str
    key: str
    rule: str
    value: str | None = None
    closest: str | None = None

    def __str__(self) -> str:
        got = "" if self.value is None else f" (got {self.value})"
        hint = "" if self.closest is None else f"; did you mean {self.closest}?"
        place = f"{self.file}: {self.key}" if self.key else self.file
        return " ".join(f"{place}: {self.rule}{got}{hint}".split())


class SpecError(HpsearchError):
    """A spec that is refused, with all that is wrong with it; its text has a line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)  # so that it survives a pickle

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:MOST_SHOWN]]
        more = len(self.problems) - len(lines)
        return "\n".join([*lines, f"and {more} more"] if more else lines)


@dataclass(kw_only=True, slots=True)
class Problems:
    """The problems found so far in one file."""

    file: str
    found: list[Problem] = field(default_factory=list)

    def add(
        self, key: str, rule: str, value: str | None = None, closest: str | None = None
    ) -> None:
        """One more; ``value`` is already in its short text, see :func:`shown`."""
        self.found.append(Problem(file=self.file, key=key, rule=rule, value=value, closest=closest))

    def raise_if_any(self) -> None:
        """Raises SpecError with all of them."""
        if self.found:
            raise SpecError(self.found)


def shown(value: Any) -> str:
    """``value`` in a few words, as YAML spells null and the booleans."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return in_short(value)

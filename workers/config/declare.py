"""How a field of ``TrainConfig`` is declared: its default, its domain, and what a person is told.

Used by the modules of this room; docs/training.md and ``hpsearch.spec`` read what is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from workers.config.domain import Domain

Names = tuple[str, ...] | Mapping[str, str]  # choices, with what each means where no code says it


def named(names: Names, help: str, *, shapes: bool = False) -> Any:
    """One of ``names``, the first by default."""
    first, *_ = names
    return _declared(first, Domain(names=tuple(names)), help, shapes, names)


def optional_name(names: Names, help: str, *, shapes: bool = False) -> Any:
    """One of ``names``, none by default."""
    return _declared(None, Domain(names=tuple(names), optional=True), help, shapes, names)


def real(default: float | None, help: str, *, shapes: bool = False, **domain: Any) -> Any:
    """A number; a default of None makes it optional."""
    return _declared(default, Domain(optional=default is None, **domain), help, shapes)


def count(default: int | None, help: str, *, shapes: bool = False, **domain: Any) -> Any:
    """An integer; a default of None makes it optional."""
    admitted = Domain(optional=default is None, integer=True, **domain)
    return _declared(default, admitted, help, shapes)


def flag(help: str, *, shapes: bool = False) -> Any:
    """True or false, false by default."""
    return _declared(False, Domain(boolean=True), help, shapes)


def text(help: str, *, shapes: bool = False) -> Any:
    """Text, none by default."""
    return _declared(None, Domain(text=True, optional=True), help, shapes)


def listed(
    default: float | tuple[Any, ...], help: str, *, shapes: bool = False, **domain: Any
) -> Any:
    """A list of numbers; one number stands for a list of one."""
    return _declared(default, Domain(sequence=True, **domain), help, shapes)


def _declared(default: object, domain: Domain, help: str, shapes: bool, names: Names = ()) -> Any:
    formulas = names if isinstance(names, Mapping) else {}
    metadata = {"domain": domain, "help": help, "shapes": shapes, "formulas": formulas}
    return field(default=default, metadata=metadata)

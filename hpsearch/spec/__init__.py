"""What a user asks for: YAML becomes a ``Search`` of frozen values, or is refused in full.

Used by all rooms above; start at ``load``. What reads data, and needs numpy, is loaded when it is
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hpsearch.spec.loading import load
from hpsearch.spec.problem import Problem, SpecError

if TYPE_CHECKING:
    from hpsearch.spec.data import check_data, load_data

__all__ = ["Problem", "SpecError", "check_data", "load", "load_data"]


def __getattr__(name: str) -> Any:
    if name in ("check_data", "load_data"):
        return getattr(import_module("hpsearch.spec.data"), name)
    raise AttributeError(f"module 'hpsearch.spec' has no attribute {name!r}")

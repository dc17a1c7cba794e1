"""Specs with a pruner, and what is told of those that are refused."""

from __future__ import annotations

from typing import Any

from refused_specs import refused

from hpsearch.spec import Problem, load
from hpsearch.spec.search import Pruner, Search


def spec(pruner: Any = None, *, stage: Any = None, **changes: Any) -> dict[str, Any]:
    """A spec with ``pruner`` at its top and ``stage`` in its first stage, where given."""
    tree: dict[str, Any] = {
        "name": "try",
        "data": {"source": "digits"},
        "space": {"learning_rate": {"log_uniform": [1e-4, 1]}},
        "stages": [
            {"name": "coarse", "trials": 20, "epochs": 10},
            {"name": "fine", "trials": 10, "epochs": 20, "continue": 2},
            {"name": "confirm", "top": 3},
        ],
    }
    if pruner is not None:
        tree["pruner"] = pruner
    if stage is not None:
        tree["stages"][0]["pruner"] = stage
    return {**tree, **changes}


def problems_of(*args: Any, **changes: Any) -> list[Problem]:
    return list(refused(load, spec(*args, **changes)))


def first(search: Search) -> Pruner | None:
    return search.stages[0].pruner

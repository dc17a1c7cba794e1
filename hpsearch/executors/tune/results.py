"""Results of Ray Tune under the names of our columns, and what is wrong with one.

Called for each result by the Tuner's callback.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS, DONE, SHOULD_CHECKPOINT
from ray.tune.utils import flatten_dict

from hpsearch.errors import closest
from workers.metrics import OBJECTIVES

# What Tune calls the epoch, from 1, and its seconds.
EPOCH, SECONDS = "training_iteration", "time_this_iter_s"
OWN = {*AUTO_RESULT_KEYS, *DEBUG_METRICS, DONE, SHOULD_CHECKPOINT}


def known_metrics(result: Mapping[str, Any], metric: str) -> dict[str, float]:
    """The objective, and what else we have columns for, as far as they are numbers."""
    flattened = flatten_dict(dict(result))
    names = (*OBJECTIVES, "learning_rate", metric)
    found = {name: number(flattened[name]) for name in names if name in flattened}
    return {name: value for name, value in found.items() if value is not None}


def number(value: Any) -> float | None:
    """A metric as a number; tensors of one number are, text and truth values are not."""
    if isinstance(value, str | bool | None):
        return None
    with suppress(Exception):  # whatever a user's object does; 10**400 overflows
        return float(value)
    return None


def refusal(result: Mapping[str, Any], metric: str) -> str:
    """Why a result without the objective, or with none that is a number, cannot count."""
    flattened = flatten_dict(dict(result))
    if metric in flattened:
        found = flattened[metric]
        said = "a number that no float holds" if isinstance(found, int) else f"{found!r:.100}"
        return f"trainable must report {metric} as a number, but reported {said}"
    names = sorted(n for n in flattened if n not in OWN and not n.startswith("config/"))
    near = closest(metric, names)
    hint = f"; did you mean {near}?" if near else ""
    said = ", ".join(names) or "nothing"
    rule = f"trainable must report {metric} each time, as objective.metric says"
    return f"{rule}, but reported {said}{hint}"


def listed(value: Any) -> Any:
    """A parameter as YAML has it, lists for tuples."""
    return list(map(listed, value)) if isinstance(value, tuple) else value

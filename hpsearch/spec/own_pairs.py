"""The ``loss:`` and ``metrics:`` of a spec: a user's own functions of (outputs, targets).

Called by ``hpsearch.spec.loading``. It imports the user's module, and with it most likely torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.reserved import RESERVED
from hpsearch.spec.rules import PythonName, Rule, obeys
from workers.config.own import OwnError
from workers.config.own_pairs import check_pairs
from workers.metrics import OBJECTIVES, PER_FOLD, PER_LAYER, WATCHED

OURS = {*OBJECTIVES, *WATCHED, *PER_LAYER, *PER_FOLD, *RESERVED, "others"}


class MetricName:
    """What a column of a frame may be called."""

    def rule(self) -> str:
        return "a name of letters, digits and '_' that begins with a letter"

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and value.isidentifier() and value[0] != "_"


PAIR: Rule = PythonName("a function of (outputs, targets), or a class or function that gives it")
METRIC_NAME: Rule = MetricName()


def check_loss(name: str, elsewhere: Collection[str], problems: Problems) -> None:
    """What is wrong with the loss ``name``; the sections ``elsewhere`` name one too."""
    for section in elsewhere:
        rule = f"is given at the top as well, as {name}; leave one of the two out"
        problems.add(f"{section}.loss", rule)
    _check(name, "loss", problems)


def read_metrics(section: Mapping[Any, Any], problems: Problems) -> dict[str, str]:
    """Those that are in order, by name."""
    return {
        name: place
        for name, place in section.items()
        if _is_name(name, problems)
        and obeys(place, PAIR, f"metrics.{name}", problems)
        and _check(place, f"metrics.{name}", problems)
    }


def named(top: Mapping[str, Any]) -> list[str]:
    """What a spec calls its own metrics, those too that cannot be had: that is told once."""
    names = (name for name in top.get("metrics", {}) if METRIC_NAME.admits(name))
    return [name for name in names if name not in OURS]


def _is_name(name: object, problems: Problems) -> bool:
    if not METRIC_NAME.admits(name):
        problems.add("metrics", f"must have names, each {METRIC_NAME.rule()}", shown(name))
    elif name in OURS:
        problems.add(f"metrics.{name}", "is the name of a column of ours; give it another")
    else:
        return True
    return False


def _check(place: str, key: str, problems: Problems) -> bool:
    try:
        check_pairs(place)
    except OwnError as error:
        problems.add(key, str(error))
        return False
    return True

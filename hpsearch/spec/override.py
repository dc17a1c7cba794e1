"""``--set KEY=VALUE``: any key of a spec replaced, added, or (by null) taken away.

Called by ``hpsearch.spec.loading`` before the spec is understood.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hpsearch.errors import closest
from hpsearch.spec.problem import Problem, Problems, SpecError
from hpsearch.spec.yaml_text import parse_yaml

FILE = "--set"


class _NoSuchKey(Exception):
    """(rule, closest name): the key path leads nowhere."""


def apply_overrides(
    tree: dict[str, Any], overrides: Sequence[str], problems: Problems
) -> dict[str, Any]:
    """``tree`` with every override applied in turn; one that cannot be becomes a problem.

    A key is a path such as ``space.learning_rate``, ``stages.0.trials``, ``stages[0].trials`` or,
    by the name of a stage, ``stages.coarse.trials``. A value is YAML.
    """
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        keys = re.sub(r"\[([0-9]+)\]", r".\1", key).split(".")
        if not equals or not all(keys):
            _add(problems, override, "must be KEY=VALUE, such as stages.0.trials=50")
            continue
        try:
            tree = _replaced(tree, keys, parse_yaml(text, f"{FILE} {key}"))
        except SpecError as error:
            problems.found.extend(error.problems)
        except _NoSuchKey as error:
            _add(problems, key, *error.args)
    return tree


def _add(problems: Problems, key: str, rule: str, closest: str | None = None) -> None:
    problems.found.append(Problem(file=FILE, key=key, rule=rule, closest=closest))


def _replaced(node: Any, keys: Sequence[str], value: Any) -> Any:
    """A copy of ``node`` with ``value`` at the path ``keys``; sections on the way are made."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    takes_away = value is None and not rest
    if isinstance(node, list):
        i = _index(node, key)
        item = [] if takes_away else [_replaced(node[i], rest, value)]
        return [*node[:i], *item, *node[i + 1 :]]
    if not isinstance(node, dict | None):
        raise _NoSuchKey(f"leads nowhere: what should have {key} is neither a mapping nor a list")
    section = node or {}
    if takes_away and key not in section:
        rule = f"leads nowhere: there is no {key} to take away"
        raise _NoSuchKey(rule, closest(key, section))
    if takes_away:
        return {name: item for name, item in section.items() if name != key}
    return {**section, key: _replaced(section.get(key), rest, value)}


def _index(items: list[Any], key: str) -> int:
    names = [str(item.get("name")) if isinstance(item, dict) else "" for item in items]
    if key in names:
        return names.index(key)
    if key.isdecimal() and len(key) < 10 and int(key) < len(items):
        return int(key)
    rule = f"leads nowhere: {key} is neither a name nor a number below {len(items)} in the list"
    raise _NoSuchKey(rule, closest(key, filter(None, names)))

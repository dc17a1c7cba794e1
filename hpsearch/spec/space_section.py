"""The ``space:`` section as a whole: its names, what its conditions refer to, its branches.

Called by ``hpsearch.spec.loading``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import Any

from hpsearch.errors import closest
from hpsearch.spec.parameters import read_parameter
from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.reserved import RESERVED
from hpsearch.spec.rules import join
from hpsearch.spec.space import (
    Cases,
    Choice,
    Parameter,
    Range,
    Space,
    Value,
    active_definitions,
    is_active,
    parents,
)
from workers.config import DOMAINS
from workers.config.domain import Domain

MOST_BRANCHES = 1000  # each needs trials of its own, enough of them to learn something


def read_space(
    section: Mapping[Any, Any],
    fixed: Collection[str],
    problems: Problems,
    domains: Mapping[str, Domain] = DOMAINS,
) -> Space | None:
    """The space, or None if it has a problem. ``fixed`` are the fields that ``train`` fixes.

    ``domains`` has what may be searched, and the legal values of each.
    """
    num_before = len(problems.found)
    parameters: dict[str, Parameter] = {}
    for name, definition in section.items():
        _check_name(name, fixed, problems, domains)
        parameter = read_parameter(str(name), definition, problems, domains.get(str(name)))
        if parameter is not None:
            parameters[str(name)] = parameter
    if not section:
        problems.add("space", "must have at least one parameter: a search varies something")
    _check_parents(parameters, {str(name) for name in section}, fixed, problems)
    _check_circles(parameters, problems)
    if len(problems.found) > num_before:
        return None
    space = Space(parameters=parameters)
    return space if _branches_well(space, problems) else None


def _check_name(
    name: object, fixed: Collection[str], problems: Problems, domains: Mapping[str, Domain]
) -> None:
    path = join("space", name)
    if name in RESERVED:
        rule = "is the name of a column of the results, which no parameter may have"
        problems.add(path, f"{rule}; rename the parameter")
    elif not isinstance(name, str) or not name.isidentifier():
        problems.add(path, "must be a name of letters, digits and _, not begun by a digit")
    elif name not in domains:
        problems.add(path, "is not a parameter of the training", closest=closest(name, domains))
    elif name in fixed:
        problems.add(path, "is fixed under train as well; leave it in one of the two")


def _check_parents(
    parameters: Mapping[str, Parameter],
    names: Collection[str],
    fixed: Collection[str],
    problems: Problems,
) -> None:
    for path, parent, values in _conditions(parameters):
        if parent in parameters:
            _check_condition(parameters[parent], values, path, problems)
        elif parent in fixed and parent not in names:
            problems.add(path, "is fixed under train; a condition needs a choice of the space")
        elif parent not in names:
            near = closest(parent, names)
            problems.add(path, "is not a parameter of the space", closest=near)


def _conditions(
    parameters: Mapping[str, Parameter],
) -> Iterator[tuple[str, str, tuple[Value, ...]]]:
    """(key path, choice, values) of every condition."""
    for name, parameter in parameters.items():
        for i, definition in enumerate(parameter.definitions):
            place = f"space.{name}[{i}]" if isinstance(parameter, Cases) else f"space.{name}"
            for parent, values in (definition.when or {}).items():
                yield f"{place}.when.{parent}", parent, values


def _check_condition(
    parent: Parameter, values: tuple[Value, ...], path: str, problems: Problems
) -> None:
    if not isinstance(parent, Choice):
        has = "is a range" if isinstance(parent, Range) else "has several definitions"
        problems.add(path, f"{has}; a condition needs a choice")
        return
    for value in values:
        if value not in parent.choices:
            rule = f"must be among its choices {', '.join(map(shown, parent.choices))}"
            names = [choice for choice in parent.choices if isinstance(choice, str)]
            problems.add(path, rule, shown(value), closest(value, names))


def _check_circles(parameters: Mapping[str, Parameter], problems: Problems) -> None:
    graph = {name: parents(parameter) for name, parameter in parameters.items()}
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]
            rule = f"goes in a circle: {' needs '.join(circle)}; take one of them away"
            problems.add(f"space.{circle[0]}.when", rule)
            graph = {name: parents for name, parents in graph.items() if name not in circle}
        else:
            return


def _branches_well(space: Space, problems: Problems) -> bool:
    """Whether there are not too many branches, and each parameter has one where it is active."""
    assignments = list(islice(space.assignments(), MOST_BRANCHES + 1))
    if len(assignments) > MOST_BRANCHES:
        rule = (
            f"must part into at most {MOST_BRANCHES} branches, but {space.structural()} make more"
        )
        problems.add("space", f"{rule}; take choices or conditions away")
        return False
    never = [
        name
        for name, parameter in space.parameters.items()
        if not any(is_active(parameter, fixed) for fixed in assignments)
    ]
    for name in never:
        problems.add(f"space.{name}.when", "can never hold: its conditions exclude each other")
    twice = [
        name
        for name, parameter in space.parameters.items()
        if any(len(active_definitions(parameter, fixed)) > 1 for fixed in assignments)
    ]
    for name in twice:
        rule = "has two definitions whose conditions can hold at once; part them"
        problems.add(f"space.{name}", rule)
    return not (never or twice)

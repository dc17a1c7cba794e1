"""A user's loss or metric: a function of (outputs, targets), or what gives one when it is called.

Read by ``workers.training``, which calls it, and by ``hpsearch.spec``, which checks its name.
Standard library only, but for what the user's module imports.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from workers.config.own import OwnError, imported, said, signature

Found = Callable[..., Any]


def check_pairs(name: str) -> None:
    """Raises OwnError if MODULE:NAME is nothing of the kind, as far as its arguments tell."""
    _is_maker(name, imported(name))


def of_pairs(name: str) -> Any:
    """What MODULE:NAME names, or what it makes, if it is a class or takes no arguments.

    A function of two is taken as it is. Raises OwnError.
    """
    found = imported(name)
    if not _is_maker(name, found):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:  # whatever a user's class does
        raise OwnError(
            f"must be built without arguments, but {name} raises {said(error)}"
        ) from error


def _is_maker(name: str, found: Found) -> bool:
    taken = signature(found)
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [
        p.name
        for p in taken.parameters.values()
        if p.default is p.empty and p.kind not in open_ended
    ]
    if inspect.isclass(found):
        if required:
            needs = ", ".join(required)
            rule = f"must be built without arguments, but {name} needs {needs}"
            raise OwnError(f"{rule}; name a function that builds it with them")
        return True
    if not required and not _takes_any(taken):
        return True
    if not _takes_two(taken):
        raise OwnError(f"must take (outputs, targets), but {name} takes {taken}")
    return False


def _takes_any(taken: inspect.Signature) -> bool:
    """As the signature of a module that is there already says."""
    return any(p.kind is p.VAR_POSITIONAL for p in taken.parameters.values())


def _takes_two(taken: inspect.Signature) -> bool:
    try:
        taken.bind(None, None)
    except TypeError:
        return False
    return True

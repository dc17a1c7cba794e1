"""What a user names in Python, as MODULE:NAME, and the arguments that it takes.

Called by ``workers.training`` to build a model, and by ``hpsearch.spec`` to check one. Standard
library only, but for what the user's module imports.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from workers.config.domain import IS_OWN, Domain
from workers.config.model import ModelFields

# Fields of our own networks: of a user's they are what its arguments may be called.
LEFT_TO_MODELS = {field.name for field in fields(ModelFields)} - {"model", "precision"} | {
    "dropout"
}

_BY_NAME: Mapping[Any, Any] = {"int": int, "float": float, "bool": bool, "str": str}


class OwnError(ValueError):
    """What a user names cannot be had; one sentence."""


def said(error: BaseException) -> str:
    """What kind of error it is, and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def is_own(name: str) -> bool:
    """Whether ``name`` is a MODULE:NAME."""
    return IS_OWN.fullmatch(name) is not None


def name_of(one: Callable[..., Any]) -> str:
    """The MODULE:NAME by which a class or function is found again. Raises OwnError if it is not."""
    name = f"{getattr(one, '__module__', '')}:{getattr(one, '__qualname__', '')}"
    if not is_own(name):
        raise OwnError(f"must be a class or function of a module, not within another, but is {one}")
    return name


def imported(name: str) -> Callable[..., Any]:
    """What MODULE:NAME names now, for a notebook may define it anew.

    Modules of the working folder are found, after all others. Raises OwnError.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it hides nothing of ours
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise OwnError(
            f"must name a class or function that Python can import, but {_why(error, name)}"
        ) from error
    if not callable(found):
        raise OwnError(f"must name a class or function, but {name} is a {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # whatever it is, it can be called


def _why(error: BaseException, name: str) -> str:
    """Why MODULE:NAME was not had: most often its module is not where it is sought."""
    module = name.partition(":")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None or not f"{module}.".startswith(f"{missing}."):
        return f"{name} raises {said(error)}"
    return (
        f"there is no module {missing} in the working folder {os.getcwd()}, nor among those that "
        "are installed: run hpsearch in the folder that has it"
    )


def arguments(name: str) -> tuple[dict[str, Domain], set[str]]:
    """The domain of each argument of MODULE:NAME, and those without a default. Raises OwnError."""
    parameters = signature(imported(name)).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = {p.name for p in named if p.default is p.empty}
    return {p.name: _domain(p) for p in named}, required


def signature(one: Callable[..., Any]) -> inspect.Signature:
    """With annotations as they are meant, where what they name can be had at run time.

    Raises OwnError.
    """
    try:
        with suppress(Exception):
            return inspect.signature(one, eval_str=True)
        return inspect.signature(one)
    except ValueError as error:  # of some that are written in C
        raise OwnError(f"must have arguments that Python can tell, but {said(error)}") from error


def of_model(values: Mapping[str, Any], known: Mapping[str, Domain]) -> set[str]:
    """The names among ``values`` that are arguments of a user's model, not fields of ours.

    All of them are a trainable's, where there is one.
    """
    if "trainable" in values:
        return set(values)
    if not is_own(str(values.get("model", ""))):
        return set()
    return {name for name in values if name in LEFT_TO_MODELS or name not in known}


def _domain(parameter: inspect.Parameter) -> Domain:
    """By its annotation, else by its default; anything where neither tells."""
    default = parameter.default
    annotation = _BY_NAME.get(parameter.annotation, parameter.annotation)
    options = (
        get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    )
    kinds = [option for option in options if option is not NoneType]
    optional = len(kinds) < len(options) or default is None
    kind = kinds[0] if len(kinds) == 1 else object
    items, names = set(get_args(kind)) - {Ellipsis}, get_args(kind)
    if get_origin(kind) is Literal and all(isinstance(name, str) for name in names):
        return Domain(names=names, optional=optional)
    if get_origin(kind) in (list, tuple, Sequence) and items in ({int}, {float}):
        return Domain(sequence=True, integer=items == {int}, optional=optional)
    if kind is parameter.empty:
        kind = type(default)
    if kind is bool:
        return Domain(boolean=True, optional=optional)
    if kind is str:
        return Domain(text=True, optional=optional)
    if kind is int or kind is float:
        return Domain(integer=kind is int, optional=optional)
    return Domain(anything=True, optional=True)

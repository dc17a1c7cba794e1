"""From the name of a spec to the plain mapping that its YAML stands for.

Called by ``hpsearch.spec.loading``; knows files and YAML, and nothing of searches.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hpsearch.errors import closest
from hpsearch.spec.problem import Problem, SpecError
from hpsearch.spec.yaml_text import parse_yaml
from workers.config.own import OwnError, name_of

PACKAGE = "search_spaces"
MOST_BYTES = 1_000_000
MOST_LEVELS = 20
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
Source = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A spec before it is understood: what to call its file, and its mapping."""

    file: str
    tree: dict[str, Any]


def read_document(source: Source) -> Document:
    """The mapping in a YAML file, in a packaged search space, or given. Raises SpecError.

    A packaged search space is meant by a bare name (``digits``), unless a file has that name.
    """
    if isinstance(source, Mapping):
        data = source.get("data")
        given = {**source, "data": {"source": data}} if callable(data) else source
        return Document(file="search", tree=_plain(given))
    file = _find(os.fspath(source))
    tree = parse_yaml(_text(file), file.name)
    if not isinstance(tree, dict):
        rule = "is empty, but a spec is" if tree is None else "must be"
        raise _refusal(file.name, "", f"{rule} a mapping such as name: digits")
    return Document(file=file.name, tree=tree)


def packaged() -> dict[str, Traversable]:
    """The search spaces that come with the package, by name."""
    files = (file for file in resources.files(PACKAGE).iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): file for file in sorted(files, key=lambda f: f.name)}


def _find(name: str) -> Path | Traversable:
    """The file that ``name`` means; one in the working folder goes first."""
    path, spaces = Path(name), packaged()
    what = _what_is(path) if name else None  # the path of an empty name is the working folder
    if what == "a file":
        return path
    if name in spaces:
        return spaces[name]
    found = "there is no such file" if what is None else f"is {what} and no file"
    rule = f"{found}; give a YAML file or a packaged search space, one of {', '.join(spaces)}"
    near = closest(path.stem, spaces) if what is None else None
    raise _refusal(name or "''", "", rule, near)


def _what_is(path: Path) -> str | None:
    """What there is at ``path``, in words; None if nothing is."""
    try:
        if not path.exists():
            return None
        if path.is_file():
            return "a file"
    except (OSError, ValueError):  # a name that no file can have
        return None
    return "a folder" if path.is_dir() else "a device or a pipe"


def _text(file: Path | Traversable) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _refusal(file.name, "", "is larger than 1 MB, no spec is; check the name")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise _refusal(file.name, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _refusal(file.name, "", "must be text in UTF-8; save it as such") from error


def _refusal(file: str, key: str, rule: str, closest: str | None = None) -> SpecError:
    return SpecError([Problem(file=file, key=key, rule=rule, closest=closest)])


def _name(one: Callable[..., Any]) -> str:
    try:
        return name_of(one)
    except OwnError as error:
        raise _refusal("search", "", str(error)) from error


def _plain(value: Any, level: int = 0) -> Any:
    """A copy of a mapping from Python in YAML's types: numpy numbers, tuples, paths are turned.

    Classes and functions become their MODULE:NAME.
    """
    if level > MOST_LEVELS:
        raise _refusal("search", "", "is nested too deeply; write it flat")
    if isinstance(value, Mapping):
        return {key: _plain(item, level + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, level + 1) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(value):
        return _name(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)  # what another YAML reader made a string of, see yaml_text
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value

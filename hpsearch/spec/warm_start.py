"""What ``warm_start`` may say: a trial of the database, or a row of a checkpoint file.

Read by ``hpsearch.spec.training`` to refuse what is neither, and by the coordinator to resolve it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice

FIELD = "warm_start"
RULE = (
    "must be SEARCH/NUMBER (a trial, by its search's name or id and its number) or "
    "FILE.safetensors (with #ROW for one of several)"
)
_TRIAL = re.compile(r"(?P<search>[^/]+)/(?P<number>[0-9]{1,9})")
_FILE = re.compile(r"(?P<file>.+\.safetensors)(#(?P<row>[0-9]{1,9}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSource:
    """The newest checkpoint of a trial; ``search`` is a name or an id."""

    search: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSource:
    """A row of a checkpoint file."""

    file: str
    row: int


def parse_warm_start(text: str) -> TrialSource | FileSource | None:
    """What ``text`` means; None if it breaks RULE."""
    if found := _FILE.fullmatch(text):
        return FileSource(file=found["file"], row=int(found["row"] or 0))
    if found := _TRIAL.fullmatch(text):
        return TrialSource(search=found["search"], number=int(found["number"]))
    return None


def warm_starts(search: Search) -> Iterator[tuple[str, str]]:
    """(key path, text) of each warm start of a search: the fixed one, or each choice."""
    fixed, parameter = search.train.get(FIELD), search.space.parameters.get(FIELD)
    if fixed is not None:
        yield f"train.{FIELD}", fixed
    for definition in parameter.definitions if parameter else ():
        for i, text in enumerate(definition.choices if isinstance(definition, Choice) else ()):
            if text is not None:
                yield f"space.{FIELD}.choice[{i}]", text

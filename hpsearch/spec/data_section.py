"""The ``data:`` section: which examples, how they are prepared, and what validates.

Called by ``hpsearch.spec.loading``; the data themselves are read by ``hpsearch.spec.data``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpsearch.spec.problem import Problems
from hpsearch.spec.rules import ListOf, OrAuto, Rule, Text, Validation, read_fields
from hpsearch.spec.search import Data
from workers.config.domain import Domain
from workers.data.config import PREPROCESS, SOURCES, TASKS, DataConfig, DataError

DATA: dict[str, Rule] = {
    "source": Domain(names=SOURCES, own=True),
    "path": Text("the path of a file or folder"),
    "target": Text("the name of a column"),
    "validation": Validation(),
    "preprocess": ListOf(Domain(names=PREPROCESS)),
    "limit": Domain(low=2, integer=True),
    "task": Domain(names=TASKS),
    "stream": OrAuto(Domain(boolean=True)),
    "loader_workers": OrAuto(Domain(low=0, high=1024, integer=True)),
}
VALIDATION: dict[str, Rule] = {"folds": Domain(low=2, integer=True)}


def read_data(section: Mapping[Any, Any], problems: Problems) -> Data | None:
    """Where the examples come from, or None if that is told wrong."""
    num_before = len(problems.found)
    what = "a key of data"
    fields = read_fields(section, "data", DATA, problems, what=what, required=("source",))
    if len(problems.found) > num_before:
        return None
    validation = fields.get("validation")
    if isinstance(validation, Mapping):
        del fields["validation"]
        fields |= _read_folds(validation, problems)
    try:
        DataConfig(**fields)
    except DataError as error:
        problems.add(f"data.{error.key}", str(error))
    return Data(**fields)


def _read_folds(section: Mapping[Any, Any], problems: Problems) -> dict[str, Any]:
    what, place = "a key of validation", "data.validation"
    return read_fields(section, place, VALIDATION, problems, what=what, required=("folds",))

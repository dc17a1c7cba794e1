"""``hpsearch.Search``: a search written in Python instead of YAML, checked as it is made."""

from __future__ import annotations

from typing import Any

from hpsearch.spec import load
from hpsearch.spec import search as values


def Search(*, name: str = "search", **keys: Any) -> values.Search:
    """The search of a spec's ``keys``, for :func:`hpsearch.run`. Raises SpecError.

    ``model`` may be a class or function that returns an nn.Module, ``data`` a function that returns
    examples, ``loss`` and each of ``metrics`` a function of (outputs, targets), in the place of
    their MODULE:NAME; docs/your-own-model.md has an example.
    """
    return load({"name": name, **keys})

"""hpsearch: coarse-to-fine hyperparameter search, many trials trained as one stacked model.

``connect`` reads a database of searches into pandas; ``run`` carries one out. Both load what they
need when they are first used, so that importing this package is cheap.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpsearch.api import connect as connect
    from hpsearch.api import run as run

__version__ = metadata.version("hpsearch")
__all__ = ["connect", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from hpsearch import api

        return getattr(api, name)
    raise AttributeError(f"module 'hpsearch' has no attribute {name!r}")

"""Examples from files to arrays: sources, the split, statistics for preprocessing.

Called by whoever owns a device, and by ``hpsearch.spec`` to check a spec's data before a search.
What needs numpy is loaded when it is first used: a spec is checked without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workers.data.config import PREPROCESS, SOURCES, DataConfig, DataError

if TYPE_CHECKING:
    from workers.data.dataset import Dataset, Transform
    from workers.data.loading import load

__all__ = ["PREPROCESS", "SOURCES", "DataConfig", "DataError", "Dataset", "Transform", "load"]
_MODULES = {"Dataset": "dataset", "Transform": "dataset", "load": "loading"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"workers.data.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'workers.data' has no attribute {name!r}")

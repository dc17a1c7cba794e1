"""hpsearch: coarse-to-fine hyperparameter search, many trials trained as one stacked model.

``connect`` reads a database of searches into pandas, ``run`` carries one out, ``Search`` writes one
in Python, ``weights`` gives a trained network. All load what they need when first used, so that
importing this package is cheap.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpsearch.api import connect as connect
    from hpsearch.api import run as run
    from hpsearch.checkpoints import weights as weights
    from hpsearch.notebook import Search as Search

__version__ = metadata.version("hpsearch")
__all__ = ["Search", "connect", "run", "weights"]
_MODULES = {"connect": "api", "run": "api", "weights": "checkpoints", "Search": "notebook"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"hpsearch.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'hpsearch' has no attribute {name!r}")

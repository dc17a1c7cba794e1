"""Doors to Ray Tune: our refining as its search algorithm, its runs in our tables.

Imported by programs that use Ray Tune.
"""

from hpsearch.integrations.ray_tune.callback import DatabaseCallback as DatabaseCallback
from hpsearch.integrations.ray_tune.search import CoarseToFineSearch as CoarseToFineSearch

__all__ = ["CoarseToFineSearch", "DatabaseCallback"]

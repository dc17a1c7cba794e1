"""Examples from files to arrays: sources, the split, statistics for preprocessing.

Called by whoever owns a device, and by ``hpsearch.spec`` to check a spec's data before a search.
"""

from workers.data.config import PREPROCESS, SOURCES, DataConfig, DataError
from workers.data.dataset import Dataset, Transform
from workers.data.loading import load

__all__ = ["PREPROCESS", "SOURCES", "DataConfig", "DataError", "Dataset", "Transform", "load"]

"""Reading many rows without garbage collection.

Called by ``hpsearch.analysis.frames`` and by the diagnoses of a search.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Without garbage collection: thousands of rows, in no cycles, set off collections of all else.

    They took a good part of the time of a frame of 10,000 trials.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

"""Why a training failed, in one word, by what its worker or Ray said.

Called by the loop when a training raised or its worker died.
"""

from __future__ import annotations

from hpsearch.executors.base import LOW_ON_MEMORY
from hpsearch.storage.failures import headline
from hpsearch.storage.records import FailureKind, TrialRecord

# PyTorch's own allocators, CUDA's, those of its libraries, and Python's.
NO_MEMORY = ("MemoryError", "can't allocate memory", "out of memory", "ALLOC_FAILED")


def failure_kind(traceback: str) -> FailureKind:
    """Out of memory as PyTorch says it, on a GPU and on the CPU, and Python; else an error."""
    said = headline(traceback)
    return "out_of_memory" if any(words in said for words in NO_MEMORY) else "error"


def was_refused(trial: TrialRecord) -> bool:
    """Whether its configuration cannot be trained: told in a sentence; what is raised is a
    traceback."""
    return trial.failure_kind == "error" and "\n" not in (trial.failure_message or "")


def is_out_of_memory(loss: str) -> bool:
    """Whether Ray ended a worker because its machine ran out of memory."""
    return LOW_ON_MEMORY in loss

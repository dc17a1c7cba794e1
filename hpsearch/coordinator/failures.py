"""What a worker's traceback says, in one line and in one word.

Called by the loop when a training raised, and by the summary when nothing else can be told.
"""

from __future__ import annotations

import re

from hpsearch.executors.base import LOW_ON_MEMORY
from hpsearch.storage.records import FailureKind, TrialRecord

# PyTorch's own allocators, CUDA's, those of its libraries, and Python's.
NO_MEMORY = ("MemoryError", "can't allocate memory", "out of memory", "ALLOC_FAILED")


def headline(traceback: str) -> str:
    """The line of a traceback that names the exception; PyTorch's may go on in C++ frames."""
    lines = traceback.strip().splitlines()
    named = [line for line in lines if re.match(r"\w[\w.]*(Error|Exception|NotWritten)\b", line)]
    return (named or lines)[-1]


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

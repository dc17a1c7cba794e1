"""What the stored message of a failed trial says, in one line, and what most of several say.

Read by the coordinator, by the diagnoses, and by whatever tells people how a search went.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from hpsearch.storage.records import TrialRecord


def headline(traceback: str) -> str:
    """The line of a traceback that names the exception; PyTorch's may go on in C++ frames."""
    lines = traceback.strip().splitlines()
    named = [line for line in lines if re.match(r"\w[\w.]*(Error|Exception|NotWritten)\b", line)]
    return (named or lines)[-1]


def said(trial: TrialRecord) -> str:
    """The headline of a failed trial's message; its kind if it has none."""
    message = (trial.failure_message or "").strip()
    return headline(message) if message else str(trial.failure_kind).replace("_", " ")


def commonest(failed: Iterable[TrialRecord]) -> tuple[str, int]:
    """What most of the trials say, the first of equals, and how many do."""
    ((text, count),) = Counter(map(said, failed)).most_common(1)
    return text, count


def in_common(failed: Collection[TrialRecord]) -> str:
    """As: all with: ValueError: no such thing; or: 3 of them with: ..., to stand after how many."""
    text, count = commonest(failed)
    return f"{'all' if count == len(failed) else f'{count} of them'} with: {text}"

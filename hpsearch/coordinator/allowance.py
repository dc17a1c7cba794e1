"""Allowance: when a search has spent its budget, and when everything in it fails.

Asked by ``loop`` after every step, over stored results; the time that runs is the clock's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hpsearch.coordinator.failures import was_refused
from hpsearch.coordinator.view import SearchView
from hpsearch.errors import HpsearchError
from hpsearch.settings import command
from hpsearch.spec.search import Budget
from hpsearch.storage.failures import commonest
from hpsearch.storage.records import BEGUN, FINISHED, EventRecord
from hpsearch.storage.upkeep import RETRIED


class AllFail(HpsearchError):
    """So many trials failed, and none came to an end, that the search is ended."""


class Allowance:
    """``budget``, and for how long the search is carried out; ``events`` gives its log so far."""

    def __init__(self, budget: Budget, events: Callable[[], Sequence[EventRecord]]) -> None:
        self._budget = budget
        self._is_limited = any(limit is not None for limit in budget.model_dump().values())
        self._earlier_s = carried_out_s(events()) if self._is_limited else 0.0
        self._started_s = time.monotonic()

    def spent(self, view: SearchView, gpus_per_worker: float) -> str | None:
        """Which limit is reached, in words; None if none is."""
        if not self._is_limited:
            return None
        trials, budget = view.trials.values(), self._budget
        worker_s = sum(trial.seconds for trial in trials)
        amounts = (
            ("epochs", budget.epochs, sum(t.epochs - t.start_epoch for t in trials)),
            ("trials", budget.trials, sum(trial.state in FINISHED for trial in trials)),
            ("wall_time", budget.wall_time, self._earlier_s + time.monotonic() - self._started_s),
            ("gpu_hours", budget.gpu_hours, gpus_per_worker * worker_s / 3600),
        )
        for name, limit, amount in amounts:
            if limit is not None and amount >= limit:
                return f"budget.{name} of {limit:g} is spent"
        return None


def all_fail(view: SearchView, url: str) -> AllFail | None:
    """What is wrong with most trials, if as many failed as may and none came to an end.

    Those that were refused do not count: they fail at once, before any other can end. The database
    is that at ``url``.
    """
    trials, most = view.trials.values(), view.search.spec.max_failures
    if any(trial.state in ("complete", "pruned") for trial in trials):
        return None
    failed = [t for t in trials if t.failure_kind in RETRIED and not was_refused(t)]
    if len(failed) < most:
        return None
    said, count = commonest(failed)
    return AllFail(
        f"max_failures is {most}, and {len(failed)} trials failed and none came to an end; {count} "
        f"of them with: {said}; mend it, and try them again with "
        f"{command(f'retry-failed {view.search.id}', url)}"
    )


def carried_out_s(events: Sequence[EventRecord]) -> float:
    """For how long a search was carried out before now, by its log.

    From each time that somebody took it to when it was given back, or, after a death, to the last
    thing that was noted of it.
    """
    total, begun, last = 0.0, None, None
    for event in events:
        if event.kind in ("acquired", "released"):
            end = event.created_at if event.kind == "released" else last
            total += (end - begun).total_seconds() if begun and end else 0.0
            begun = last = event.created_at if event.kind == "acquired" else None
        elif event.kind not in (BEGUN, "submitted"):  # what others note
            last = event.created_at
    return total

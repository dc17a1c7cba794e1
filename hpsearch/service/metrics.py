"""Metrics of a search for Prometheus, through Ray: how far it is, how fast, how well.

Sent by the job that carries a search out, ``carrying``. Tagged by search and never by trial: a
metric for each of ten thousand trials would be of no use and cost memory on every node.
"""

from __future__ import annotations

import time
from collections import Counter as Counted
from typing import get_args

from ray.util.metrics import Counter, Gauge

from hpsearch.coordinator.events import Advanced, Event, Finished
from hpsearch.coordinator.view import SearchView
from hpsearch.storage.records import TrialState

EVERY_S = 5.0
TAGS = ("search",)
STATES: tuple[TrialState, ...] = get_args(TrialState)


class Metrics:
    """Those of one search; an observer of its coordinator."""

    def __init__(self, title: str) -> None:
        """``title`` is what the search is tagged with."""
        self._tags = {"search": title}
        self._trials = Gauge("hpsearch_trials", "Trials by state.", (*TAGS, "state"))
        self._epochs = Counter("hpsearch_trial_epochs", "Epochs of single trials.", TAGS)
        self._best = Gauge("hpsearch_best_value", "The best value of the objective.", TAGS)
        self._width = Gauge("hpsearch_group_width", "Rows at once, of the newest group.", TAGS)
        self._latency_s = Gauge(
            "hpsearch_database_seconds", "What storing the last report took.", TAGS
        )
        self._told_s = 0.0

    def observe(self, event: Event) -> None:
        """Count epochs; now and then tell the rest."""
        if isinstance(event, Advanced):
            if event.trial_epochs:  # Ray refuses to count nothing
                self._epochs.inc(event.trial_epochs, self._tags)
            self._latency_s.set(event.stored_s, self._tags)
        if isinstance(event, Finished) or time.monotonic() - self._told_s > EVERY_S:
            self._told_s = time.monotonic()
            self._tell(event.view)

    def _tell(self, view: SearchView) -> None:
        states = Counted(trial.state for trial in view.trials.values())
        for state in STATES:
            self._trials.set(states[state], {**self._tags, "state": state})
        values = [t.value for t in view.trials.values() if t.state == "complete"]
        known = [value for value in values if value is not None]
        if known:
            choose = max if view.search.spec.objective.mode == "max" else min
            self._best.set(choose(known), self._tags)
        widths = [group.width for group in view.groups.values() if group.width is not None]
        if widths:
            self._width.set(widths[-1], self._tags)

"""Progress of a search on stderr: a live line on a terminal, plain lines when it is not one.

Watches the coordinator's events; called by ``hpsearch run`` and ``hpsearch resume``.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from statistics import fmean
from threading import Timer
from types import TracebackType
from typing import TypeGuard

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hpsearch.cli import outcome
from hpsearch.cli.tables import cell
from hpsearch.coordinator.checking import tally
from hpsearch.coordinator.events import (
    Advanced,
    Checked,
    Event,
    Finished,
    RungDecided,
    StageOpened,
    Troubled,
)
from hpsearch.coordinator.view import SearchView
from hpsearch.plain_text import one_line
from hpsearch.spec.preview import plan_summary
from hpsearch.storage.records import FINISHED, TrialRecord

REFRESH_S = 0.25  # of the live line
PLAIN_S = 5.0  # between plain lines
WAIT_S = 10.0  # without a line, after which one says what is waited for


class _Patient(Console):
    """A console whose reader may go away: that must not end a search that runs for hours."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Progress:
    """The stage's trials by state; the best so far; epochs a second; time left."""

    def __init__(self) -> None:
        self._console = _Patient(stderr=True, highlight=False)
        self._live = Live("", console=self._console, auto_refresh=False, transient=True)
        self._started_s: float | None = None  # of training, by this process
        self._shown_s = 0.0
        self._epochs = 0
        self._waiting: Timer | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waited()
        self._live.stop()

    def wait(self, what: str) -> None:
        """Say what is waited for: at once on a terminal, elsewhere after WAIT_S."""
        self._waited()
        line = f"waiting for {what}"
        if self._live.is_started:
            self._live.update(Text(one_line(line)), refresh=True)
            return
        self._waiting = Timer(WAIT_S, self._say, [line])
        self._waiting.daemon = True
        self._waiting.start()

    def _waited(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def observe(self, event: Event) -> None:
        """Take up one event of the coordinator."""
        self._waited()
        match event:
            case StageOpened(view=view, stage=stage):
                if stage.position <= 0:  # neither Ray's start nor the checks are the search's time
                    self._started_s = time.monotonic()
                if stage.kind == "check":
                    self._say("stage check")
                    return
                trials = len(view.of_stage(stage)) + sum(b.trials for b in stage.branches)
                self._say(f"stage {stage.name}: {trials} trials, {stage.epochs} epochs")
                for reason in stage.reasons:
                    if reason.action in ("extended", "stability_edge", "dropped"):
                        self._say(f"  {reason.text}")
            case Checked(results=results):
                for result in results:
                    if result.verdict in ("warn", "fail"):
                        probe = f" of {result.probe}" if result.probe else ""
                        self._say(f"  {result.verdict}: {result.name}{probe}: {result.text}")
                self._say(f"  {tally(results)}")
            case Advanced(view=view, trial_epochs=epochs):
                if self._started_s is None:  # it goes on: no time is known of these epochs
                    self._started_s = time.monotonic()
                else:
                    self._epochs += epochs
                self._show(view)
            case RungDecided(message=message) | Troubled(message=message):
                self._say(message)
            case Finished(view=view):
                elapsed_s = self._elapsed_s()
                told = outcome.line(view.trials.values())
                self._say(f"{told}; best {_best(view)}; {elapsed_s:.0f} s")

    def _show(self, view: SearchView) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < (REFRESH_S if self._live.is_started else PLAIN_S):
            return
        self._shown_s = now_s
        if self._live.is_started:
            line = Text(one_line(self._line(view)), no_wrap=True, overflow="ellipsis")
            self._live.update(line, refresh=True)
        else:
            self._say(self._line(view))

    def _line(self, view: SearchView) -> str:
        """Where the open stage is; of the whole search the best, the speed and the time left."""
        stage = view.stages[-1]
        elapsed_s = self._elapsed_s()
        rate = self._epochs / max(1e-9, elapsed_s)
        has_ended = any(trial.state in FINISHED for trial in view.trials.values())
        left = f", {_left_s(view, rate):.0f} s left" if has_ended and rate else ""
        return (
            f"{stage.name}: {_counts(view.of_stage(stage))}; best {_best(view)}; "
            f"{_rate(rate)} epochs/s; {elapsed_s:.0f} s{left}"
        )

    def _elapsed_s(self) -> float:
        return 0.0 if self._started_s is None else time.monotonic() - self._started_s

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk, say: progress is not worth a search
            self._console.print(one_line(line), soft_wrap=True, markup=False)


def _counts(trials: Collection[TrialRecord]) -> str:
    """Complete and running ones always; pruned and failed ones if there are any."""
    states = Counter(trial.state for trial in trials)
    pruned = f", {states['pruned']} pruned" * (states["pruned"] > 0)
    failed = f", {states['failed']} failed{outcome.kinds(trials)}" * (states["failed"] > 0)
    return f"{states['complete']} complete{pruned}, {states['running']} running{failed}"


def _best(view: SearchView) -> str:
    """What `hpsearch best` puts first: the best mean over seeds, else the best value so far."""
    choose = max if view.search.spec.objective.mode == "max" else min
    ranked = [t for t in view.trials.values() if t.state not in ("failed", "pruned")]
    over_seeds: defaultdict[int | None, list[float]] = defaultdict(list)
    for trial in ranked:
        if trial.replicate and trial.state == "complete" and _is_value(trial.value):
            over_seeds[trial.parent_id].append(trial.value)
    if over_seeds:
        return f"{cell(choose(map(fmean, over_seeds.values())))} over seeds"
    values = [t.value for t in ranked if _is_value(t.value) and not t.replicate]
    return cell(choose(values)) if values else "none yet"


def _is_value(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)


def _rate(epochs_per_s: float) -> str:
    """Whole epochs a second, or, where they are few, two digits."""
    return f"{epochs_per_s:.0f}" if epochs_per_s >= 10 else f"{epochs_per_s:.2g}"


def _left_s(view: SearchView, rate: float) -> float:
    """Time for the epochs that are planned and not done, at the rate so far."""
    planned = sum(row.trial_epochs for row in plan_summary(view.search.spec))
    extended = sum(
        branch.trials * stage.epochs
        for stage in view.stages
        if stage.kind == "expand"
        for branch in stage.branches
    )
    spent = sum(
        (trial.target_epochs if trial.state in FINISHED else trial.epochs) - trial.start_epoch
        for trial in view.trials.values()
    )
    return max(0, planned + extended - spent) / rate if rate else 0.0

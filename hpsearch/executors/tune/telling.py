"""What trials of Ray Tune say and how they end, as Reports: a Stopper and a Callback of the Tuner.

Made by ``run``; both are called in Tune's thread, the Stopper first.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray.tune import Callback, Checkpoint, Stopper
from ray.tune.experiment import Trial
from ray.tune.result import DONE, SHOULD_CHECKPOINT

from hpsearch.executors.base import Ended, Lost, Raised, Reported, Update
from hpsearch.executors.tune.results import EPOCH, SECONDS, known_metrics, refusal
from hpsearch.spec.search import Objective
from workers.messages import Divergence, Metric, Refusal, Report, TrialGroup

DIED = "The actor died"  # what Ray says of a process that is gone
BEGAN_BADLY = "raised in its creation task"  # nor is it gone then: a class's setup raised
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(kw_only=True, slots=True)
class Told:
    """How far a trial is; it was last started from the checkpoint of epoch ``begun``.

    ``metrics`` are those of its last result, ``held`` is a Report whose checkpoint is still being
    written. ``settled``: it has said all that counts. ``ends_itself``: its last result was its last
    word.
    """

    number: int
    group: TrialGroup
    config: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    begun: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    held: Report | None = None
    settled: bool = False
    ends_itself: bool = False

    @property
    def trial(self) -> int:
        """The id of the group's one member."""
        return self.group.members[0].trial

    def is_ahead(self, result: Mapping[str, Any]) -> bool:
        """Whether it says that it is further than Tune, which counts results, could have counted.

        One that is tried again is behind.
        """
        counted = result.get(EPOCH)
        return not isinstance(counted, int) or counted > max(self.epoch, self.begun) + 1


class Ending(Stopper):
    """Ends trials whose results cannot count, and all of them once ``close`` was called."""

    def __init__(self, told: Mapping[str, Told], objective: Objective) -> None:
        self._told, self._metric, self._closed = told, objective.metric, False

    def __getstate__(self) -> dict[str, Any]:
        """As the Feed's."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Before anybody else has the result: ``done`` in it is the trial's own word."""
        told = self._told[trial_id]
        told.ends_itself = bool(result.get(DONE))
        told.metrics = known_metrics(result, self._metric)
        value = told.metrics.get(self._metric)
        return value is None or not math.isfinite(value) or told.is_ahead(result)

    def stop_all(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End all trials."""
        self._closed = True


class Telling(Callback):
    """Tells of each result, and of each end, by ``tell``; links checkpoints to where ours are."""

    def __init__(
        self,
        told: Mapping[str, Told],
        objective: Objective,
        checkpoint_frequency: int,
        tell: Callable[[Update], None],
    ) -> None:
        self._told, self._metric, self._tell = told, objective.metric, tell
        self._frequency = checkpoint_frequency

    def __getstate__(self) -> dict[str, Any]:
        """As the Feed's."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell of a config that population based training has changed."""
        told = self._told[trial.trial_id]
        found = trial.latest_checkpoint_result  # its own, or the one that it takes over
        told.begun = int((found.metrics or {}).get(EPOCH) or 0) if found is not None else 0
        before, told.config = told.config, dict(trial.config)
        changed = {n: v for n, v in told.config.items() if before and before.get(n) != v}
        if changed:
            said = ", ".join(f"{name} {before[name]} to {v}" for name, v in changed.items())
            note = f"trial {told.trial} took over a better one at epoch {told.epoch}: {said}"
            self._report(
                told, Report(epoch=told.epoch, trials=(), metrics={}, seconds=0, note=note)
            )

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Tell of an epoch; after its checkpoint, if one is on the way."""
        told = self._told[trial.trial_id]
        self._release(told)
        if told.is_ahead(result):
            why = f"trainable must not report {EPOCH}, Ray Tune's count"
            self._report(told, _refused(told, why))
            return
        told.epoch = int(result[EPOCH])
        report = self._of_result(told, result)
        is_last = bool(result.get(DONE))
        due = self._frequency and (told.epoch % self._frequency == 0 or is_last)
        if report.trials and (due or result.get(SHOULD_CHECKPOINT)):
            told.held = report
        else:
            self._report(told, report)

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        checkpoint: Checkpoint,
        **info: Any,
    ) -> None:
        """Keep what was written after the epoch that is held."""
        told = self._told[trial.trial_id]
        if told.held is not None:
            name = told.group.due_checkpoint(told.epoch, ends_early=True)
            assert name is not None, "the coordinator gives each group a stem"
            place = linked(Path(checkpoint.path), Path(name).with_suffix(".tune"))
            told.held = replace(told.held, checkpoint=str(place))
        self._release(told)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell of its end, and why it ended, if its last result did not say so."""
        told = self._told[trial.trial_id]
        self._release(told)
        if not told.settled and told.epoch < told.group.end_epoch:
            self._report(told, self._of_end(told))
        self._tell(Ended(group=told.number))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell that it raised, or that its worker died."""
        told = self._told[trial.trial_id]
        said, died = _error(trial)
        if told.held is not None and told.epoch >= told.group.end_epoch:  # nothing else was left
            why = said.strip().splitlines()[-1]
            note = f"trial {told.trial} has no checkpoint of epoch {told.epoch}: saving it: {why}"
            told.held = replace(told.held, note=note)
        self._release(told)
        if died:
            self._tell(Lost(group=told.number, message=said.strip().splitlines()[-1]))
        else:
            self._tell(Raised(group=told.number, traceback=said))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell that Tune tries it once more."""
        told = self._told[trial.trial_id]
        self._release(told)
        note = f"trial {told.trial} raised or lost its worker; Ray Tune tries it again"
        self._report(told, Report(epoch=told.epoch, trials=(), metrics={}, seconds=0, note=note))

    def _of_result(self, told: Told, result: Mapping[str, Any]) -> Report:
        seconds = float(result.get(SECONDS) or 0.0)
        empty = Report(epoch=told.epoch, trials=(), metrics={}, seconds=seconds)
        value = told.metrics.get(self._metric)
        is_last = bool(result.get(DONE)) and told.epoch < told.group.end_epoch
        told.settled = is_last or value is None or not math.isfinite(value)
        if value is None:
            return _refused(told, refusal(result, self._metric))
        if not math.isfinite(value):
            return replace(empty, diverged=(_diverged(told, self._metric, value),))
        columns: dict[str, list[Metric]] = {name: [number] for name, number in told.metrics.items()}
        report = replace(empty, trials=(told.trial,), metrics=columns)
        return _last(report, told) if is_last else report

    def _of_end(self, told: Told) -> Report:
        """Of a trial that ended after its last result: by itself, or paused and then pruned."""
        report = Report(epoch=told.epoch, trials=(), metrics={}, seconds=0.0)
        if not told.epoch:
            why = f"must report {self._metric} by ray.tune.report, but ended without; add that"
            return _refused(told, f"trainable {why}")
        return _last(report, told)

    def _release(self, told: Told) -> None:
        if told.held is not None:
            held, told.held = told.held, None
            self._report(told, held)

    def _report(self, told: Told, report: Report) -> None:
        self._tell(Reported(group=told.number, report=report))


def _error(trial: Trial) -> tuple[str, bool]:
    """What it raised, with its traceback; and whether its process died."""
    said = Path(trial.error_file).read_text() if trial.error_file else "Error: nothing is known"
    return COLOURS.sub("", said), DIED in said and BEGAN_BADLY not in said


def _refused(told: Told, why: str) -> Report:
    """It cannot go on, for that reason."""
    told.settled = True
    refused = (Refusal(trial=told.trial, message=why),)
    return Report(epoch=told.epoch, trials=(), metrics={}, seconds=0.0, refused=refused)


def _last(report: Report, told: Told) -> Report:
    """It ended by itself, or its scheduler ended it."""
    ended = (told.trial,)
    return replace(report, stopped=ended) if told.ends_itself else replace(report, pruned=ended)


def _diverged(told: Told, metric: str, value: float) -> Divergence:
    message = f"{metric} is {value}, which is not finite"
    metrics: dict[str, Metric] = dict(told.metrics)
    return Divergence(trial=told.trial, epoch=told.epoch, message=message, metrics=metrics)


def linked(checkpoint: Path, place: Path) -> Path:
    """The files of a checkpoint's folder at ``place`` too, for Ray Tune deletes its own."""
    unfinished = place.with_suffix(".tmp")
    for old in (place, unfinished):
        shutil.rmtree(old, ignore_errors=True)
    try:
        shutil.copytree(checkpoint, unfinished, copy_function=os.link)
    except OSError:  # another file system, or one without links
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(checkpoint, unfinished)
    return unfinished.rename(place)

"""DatabaseCallback: writes a Tuner's run into our tables, as it goes.

Imported by programs that use Ray Tune; it is called in the Tuner's own process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from hpsearch.api import open_repository
from hpsearch.coordinator.ending import ending
from hpsearch.coordinator.heartbeat import heartbeat
from hpsearch.coordinator.patience import patiently
from hpsearch.errors import HpsearchError
from hpsearch.integrations.live import LiveTrial
from hpsearch.integrations.ray_tune.domains import distributions
from hpsearch.integrations.recording import (
    column_names,
    flat,
    known_metrics,
    last_line,
    new_trial,
    plain,
    search_of,
    stage_of,
)
from hpsearch.integrations.spaces import definition
from hpsearch.spec.space import Params, Space
from hpsearch.storage.leases import Lease, Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import ReportCommit
from hpsearch.storage.repository import Repository

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

LOG = logging.getLogger("hpsearch.search")


class DatabaseCallback(Callback):
    """Stores each trial of a Tuner's run with its parameters and all values that it reports.

    So ``hpsearch list``, ``best``, ``trials``, ``curves`` and pandas read it, while it runs and
    afterwards. A trial is ``complete`` if it ended by itself, by ``RunConfig(stop=...)`` or after
    ``max_t`` iterations; ``pruned`` if a scheduler ended it before; ``failed`` if it raised, or if
    its last value is not finite. Its value is the best that it reported.

    While the database is away the run waits. A Tuner that is restored goes on with the same search.

    Args:
        name: Of the search.
        space: The Tuner's ``param_space``, or what of it is to be stored. Parameters in nested
            ones are called ``outer/inner``; one that has the name of a column of ours, ``seed``
            say, gets an underscore: ``seed_``.
        metric, mode: What ranks trials, and "min" or "max".
        db: The database, as ``hpsearch.connect`` takes it.
        max_t: The scheduler's, if it has one.

    Raises HpsearchError for a name, a mode or a space that cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        space: Mapping[str, Any],
        metric: str,
        mode: str,
        db: str | None = None,
        max_t: int | None = None,
    ) -> None:
        if mode not in ("min", "max"):
            raise HpsearchError(f"the mode must be min or max, but got {mode!r}")
        found = {n: definition(one) for n, one in distributions(space).items()}
        self._names = column_names(found)
        self._url, self._max_t = db, max_t
        self._search = search_of(
            name,
            metric=metric,
            mode="max" if mode == "max" else "min",
            space=Space(parameters={self._names[n]: one for n, one in found.items()}),
            source="ray_tune",
            path="",
            trials=0,
        )
        self._id: int | None = None
        self._trials: dict[str, LiveTrial] = {}
        self._open: tuple[Repository, Lease, int, ExitStack] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the connection, which is opened when it is needed."""
        return {**self.__dict__, "_open": None}

    def get_state(self) -> dict[str, Any]:
        """Which search, and its trials by Tune's ids."""
        return {"id": self._id, "trials": self._trials}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with the search of a Tuner that is restored."""
        self._id, self._trials = state["id"], state["trials"]

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Store the trial, in state running."""
        repository, lease, stage_id, _ = self._opened()
        if trial.trial_id not in self._trials:
            number, branches = len(self._trials), self._search.space.branches()
            new = new_trial(number, self._params(trial.config), branches, stage_id)
            (added,) = repository.add_trials(lease, [new])
            self._trials[trial.trial_id] = LiveTrial(
                id=added.id, mode=self._search.objective.mode, max_t=self._max_t
            )
        live = self._trials[trial.trial_id]
        patiently(lambda: repository.start_group(lease, [live.id], "ray tune"), LOG.warning)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Store what it reported, as the epoch that Tune counts as training_iteration."""
        live = self._trials[trial.trial_id]
        flattened, metric = flat(result), self._search.objective.metric
        metrics = known_metrics(flattened, metric)
        live.report(flattened, flattened.get(metric), trial.stopping_criterion)
        row = {"trial_id": live.id, "seconds": result.get("time_this_iter_s"), **metrics}
        self._commit(ReportCommit(epoch=live.epochs, metrics=[row], progress=(live.progress(),)))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Store how it ended."""
        live = self._trials.get(trial.trial_id)
        if live is not None:  # one that was ended before it started is none of ours
            self._commit(ReportCommit(epoch=0, metrics=[], progress=(live.ended(),)))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Store that it raised, and what."""
        live = self._trials.get(trial.trial_id)
        if live is not None:
            why = last_line(trial.error_file)
            self._commit(ReportCommit(epoch=0, metrics=[], progress=(live.raised(why),)))

    def on_experiment_end(self, trials: Sequence[Trial], **info: Any) -> None:
        """Give the search back: complete, or stopped if some trials have not ended."""
        if self._open is None:
            return
        repository, lease, stage_id, until_end = self._open
        until_end.close()
        ended = all(trial.status in ("TERMINATED", "ERROR") for trial in trials)
        if ended:
            repository.finish_stage(lease, stage_id)
        state, why = ending(repository, lease.search_id) if ended else ("stopped", None)
        repository.release(lease, state, why)
        repository.database.close()
        self._open = None

    def _commit(self, commit: ReportCommit) -> None:
        repository, lease, _, _ = self._opened()
        patiently(lambda: repository.commit_report(lease, commit), LOG.warning)

    def _opened(self) -> tuple[Repository, Lease, int, ExitStack]:
        """The search, owned until the end of the run; made when its first trial starts."""
        if self._open is None:
            repository = open_repository(self._url)
            if self._id is None:
                self._id = repository.create_search(self._search, Provenance.collect()).id
            lease = repository.acquire(self._id, Owner.current())
            stages, _ = repository.load(self._id)
            if not stages:
                stages = [repository.open_stage(lease, stage_of(self._search), [])[0]]
            until_end = ExitStack()
            until_end.enter_context(heartbeat(repository, lease))
            self._open = (repository, lease, stages[0].id, until_end)
        return self._open

    def _params(self, config: Mapping[str, Any]) -> Params:
        values = flat(config)
        return {ours: plain(values[theirs]) for theirs, ours in self._names.items()}

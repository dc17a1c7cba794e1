"""Feed: the groups that the coordinator started, as trials of a running Tuner.

Made by ``run``. The coordinator's thread adds groups; Tune's own thread asks for trials.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.search import SearchAlgorithm

from hpsearch.executors.tune.results import EPOCH, listed
from workers.messages import TrialGroup

SEEDS = 2**31  # what every framework takes as one


class Feed(SearchAlgorithm):
    """Gives Tune at most ``limit`` trials at once, those that it paused included."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, TrialGroup]] = deque()
        self._num_given = 0
        self._closed = False
        self._experiment: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: a Tuner pickles itself to be restored, as ours never is."""
        return {}

    def add(self, trial_id: str, group: TrialGroup) -> None:
        """Have Tune train the one member of ``group``."""
        with self._changed:
            self._waiting.append((trial_id, group))
            self._changed.notify()

    def resize(self, limit: int | None) -> None:
        """Give so many at once from now on."""
        with self._changed:
            self._limit = limit
            self._changed.notify()

    def close(self) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()

    @property
    def total_samples(self) -> int:
        """How many trials Tune may hold ready; it asks for more of them one by one."""
        return self._limit or 1

    def add_configurations(
        self, experiments: Experiment | list[Experiment] | dict[str, dict[Any, Any]]
    ) -> None:
        """What all trials have in common."""
        assert isinstance(experiments, list), "a Tuner has one experiment"
        self._experiment = experiments[0].spec

    def next_trial(self) -> Trial | None:
        """The next one, if there is one; waits for it while none is running."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_ready() or self._num_given)
            if not self._is_ready():
                return None
            self._num_given += 1
            return self._trial(*self._waiting.popleft())

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """It has ended, well or not."""
        with self._changed:
            self._num_given -= 1

    def is_finished(self) -> bool:
        """Whether no more trials will come."""
        return self._closed

    def set_finished(self) -> None:
        """Tune ends."""
        self.close()

    def _is_ready(self) -> bool:
        has_room = self._limit is None or self._num_given < self._limit
        return bool(self._waiting) and has_room

    def _trial(self, trial_id: str, group: TrialGroup) -> Trial:
        member, spec = group.members[0], self._experiment
        config = {name: listed(value) for name, value in member.config.arguments}
        del config["trainable"]
        restore = None if member.resume is None else member.resume.file

        def name(_: Trial) -> str:
            return f"trial-{member.trial}-{trial_id}"

        trial = Trial(
            spec["run"],
            config=config | {"epochs": group.end_epoch, "seed": member.seed % SEEDS},
            trial_id=trial_id,
            storage=spec["storage"],
            stopping_criterion={EPOCH: group.end_epoch},
            checkpoint_config=spec["checkpoint_config"],
            max_failures=spec["max_failures"],
            restore_path=restore,
            trial_name_creator=name,
            trial_dirname_creator=name,
        )
        found = trial.latest_checkpoint_result
        if found is not None:  # so that it counts epochs on from there
            found.metrics[EPOCH] = group.start_epoch
        return trial

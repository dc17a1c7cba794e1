"""TuneRun: one Tuner, in a thread of its own, which trains the groups that it is given.

Held by ``executor``. With a scheduler each stage has one, for that compares trials of equal length.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from hpsearch.executors.base import Update
from hpsearch.executors.tune.exits import told_exits
from hpsearch.executors.tune.feed import Feed
from hpsearch.executors.tune.schedulers import new_scheduler
from hpsearch.executors.tune.telling import Ending, Telling, Told
from hpsearch.spec.search import Search
from workers.config.own import imported
from workers.messages import TrialGroup

KEPT = 4  # of Tune's own checkpoints of a trial: others may take over from one that is not the last
END_S = 60.0  # for its trials to end
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the database has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # one trial's mistake is no other's
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",  # the Feed knows how many may wait
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # nor is anything else printed
}


class TuneRun:
    """Trains trials of ``stage`` up to ``max_epochs``, at most ``limit`` at once; None: any number.

    Each trial takes ``resources``; ``tell`` is called in the Tuner's thread. What is written on the
    way lies in ``folder``, and goes with ``close``.
    """

    def __init__(
        self,
        search: Search,
        stage: str,
        max_epochs: int,
        limit: int | None,
        resources: Mapping[str, float],
        folder: Path,
        tell: Callable[[Update], None],
    ) -> None:
        assert search.tune is not None
        self.stage, self._max_epochs = stage, max_epochs
        self.error: BaseException | None = None
        self._folder, self._name = folder, f"tune-{uuid.uuid4().hex[:8]}.tmp"
        self._told: dict[str, Told] = {}
        self._num_trials = 0
        self._feed, self._ending = Feed(limit), Ending(self._told, search.objective)
        self._make_tuner = partial(self._new_tuner, search, resources, tell)
        self._thread = threading.Thread(target=self._fit, name="ray tune", daemon=True)
        self._thread.start()

    def start(self, number: int, group: TrialGroup) -> None:
        """Train the one member of ``group``."""
        self._num_trials += 1
        trial_id = f"{self._num_trials:06}"
        self._told[trial_id] = Told(number=number, group=group, epoch=0)
        self._feed.add(trial_id, group)

    def resize(self, limit: int | None) -> None:
        """Train at most so many at once from now on."""
        self._feed.resize(limit)

    def close(self) -> None:
        """End all trials, and delete what Tune wrote."""
        self._ending.close()
        self._feed.close()
        self._thread.join(END_S)
        shutil.rmtree(self._folder / self._name, ignore_errors=True)

    def _fit(self) -> None:
        try:
            with _settings():
                self._make_tuner().fit()
        except BaseException as error:  # it is raised where updates are waited for
            self.error = error

    def _new_tuner(
        self, search: Search, resources: Mapping[str, float], tell: Callable[[Update], None]
    ) -> tune.Tuner:
        asked = search.tune
        assert asked is not None
        trainable = imported(str(search.trainable))
        is_class = inspect.isclass(trainable)
        frequency = search.resources.checkpoint_every if is_class else 0
        reuse = _can_be_reused(trainable) if asked.reuse_actors == "auto" else asked.reuse_actors
        telling = Telling(self._told, search.objective, frequency, tell)
        trainable = told_exits(trainable)
        return tune.Tuner(
            tune.with_resources(trainable, dict(resources)) if resources else trainable,
            tune_config=tune.TuneConfig(
                search_alg=self._feed,
                scheduler=new_scheduler(search, self._max_epochs),
                num_samples=-1,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(
                name=self._name,
                storage_path=str(self._folder.absolute()),
                stop=self._ending,
                callbacks=[telling],
                failure_config=tune.FailureConfig(max_failures=asked.max_failures),
                checkpoint_config=tune.CheckpointConfig(
                    num_to_keep=KEPT,
                    checkpoint_frequency=frequency,
                    checkpoint_at_end=is_class or None,
                ),
                verbose=0,
            ),
        )


@contextmanager
def _settings() -> Iterator[None]:
    """SETTINGS, and without Tune's own word on failures: each is told of, and stored.

    They are put back for other Tuners of this process.
    """
    logger, before = logging.getLogger("ray.tune"), dict(os.environ)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    os.environ.update({name: before.get(name, value) for name, value in SETTINGS.items()})
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in SETTINGS.keys() - before.keys():
            os.environ.pop(name, None)


def _can_be_reused(trainable: Any) -> bool:
    """A function begins anew in the same process; a class does if it says how."""
    if not inspect.isclass(trainable):
        return True
    return getattr(trainable, "reset_config", None) is not tune.Trainable.reset_config

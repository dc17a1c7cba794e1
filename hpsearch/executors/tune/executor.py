"""TuneExecutor: each group is a trial of Ray Tune, which trains what a user has written for it.

Made by ``backends``. Tune starts trials, retries them and ends them by its scheduler; what is asked
next, and what is stored, stays with the coordinator.
"""

from __future__ import annotations

from pathlib import Path
from queue import Empty, SimpleQueue

from hpsearch.errors import HpsearchError, MayPass
from hpsearch.executors.base import ChecksBroken, Update
from hpsearch.executors.cluster import Cluster, cpus_and_gpus
from hpsearch.executors.tune.run import TuneRun
from hpsearch.spec.search import POPULATIONS, Search
from workers.messages import CheckPlan, CheckResult, TrialGroup

AHEAD = 2  # times as many trials as can run are given to Tune, so that it never waits for one
MOST_AT_ONCE = 10_000  # of a population


class TuneExecutor:
    """Trains ``search.trainable``; checkpoints come to ``folder``."""

    device = "Ray Tune"

    def __init__(
        self, cluster: Cluster, search: Search, folder: Path, num_workers: int | None = None
    ) -> None:
        """``num_workers``: trials that run at first; None: as many as there is room for.

        Raises HpsearchError if there is not room for one then.
        """
        assert search.tune is not None
        self._search, self._tune, self._folder = search, search.tune, folder
        scheduler = search.tune.scheduler
        self._is_population = scheduler is not None and scheduler.name in POPULATIONS
        self.gpus_per_worker = _gpus(search, cluster.num_gpus)
        self._ordered: int | None = None
        self._updates: SimpleQueue[Update] = SimpleQueue()
        self._run: TuneRun | None = None
        self._most = self._room(cluster.num_cpus, cluster.num_gpus)
        if not self._most and num_workers is None:
            raise self._no_room(cluster)
        self._num_workers = self._most if num_workers is None else num_workers

    @property
    def num_slots(self) -> int:
        if self._is_population:
            return MOST_AT_ONCE if self._num_workers else 0
        return AHEAD * self._num_workers

    @property
    def most_slots(self) -> int:
        return self._most

    def resize(self, num_workers: int) -> None:
        if num_workers == self._ordered:
            return
        self._ordered = num_workers
        if num_workers > self._most:  # machines may have joined
            self._most = max(self._most, self._room(*cpus_and_gpus()))
        self._num_workers = min(num_workers, self._most)
        if self._run is not None:
            self._run.resize(self._limit)

    def start(self, number: int, group: TrialGroup) -> str:
        (_,) = group.members  # a process of Tune's trains one trial
        self._run_for(group).start(number, group)
        return "ray tune"

    def wait(self, timeout_s: float) -> list[Update]:
        found: list[Update] = []
        try:
            found.append(self._updates.get(timeout=timeout_s))
            while True:
                found.append(self._updates.get_nowait())
        except Empty:
            pass
        if not found and self._run is not None and self._run.error is not None:
            said = str(self._run.error).strip().splitlines() or [repr(self._run.error)]
            raise MayPass(f"Ray Tune broke off ({said[-1]}): mend that, and resume")
        return found

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        raise ChecksBroken("a trainable is not trained by us, so nothing of it can be checked")

    def close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None

    @property
    def _limit(self) -> int | None:
        return None if self._is_population else self._num_workers

    def _run_for(self, group: TrialGroup) -> TuneRun:
        """The one of the group's stage; without a scheduler, any."""
        run = self._run
        if run is not None and self._tune.scheduler and run.stage != group.stage:
            run.close()
            run = None
        if run is None:
            run = self._run = TuneRun(
                self._search,
                group.stage,
                group.end_epoch,
                self._limit,
                self._per_trial(),
                self._folder,
                self._updates.put,
            )
        return run

    def _per_trial(self) -> dict[str, float]:
        """What each takes of the cluster; nothing where the trainable itself is to say it."""
        cpus, gpus = self._tune.cpus_per_trial, self.gpus_per_worker
        if cpus is None and not gpus:
            return {}
        return {"cpu": 1.0 if cpus is None else cpus, "gpu": gpus}

    def _room(self, num_cpus: int, num_gpus: int) -> int:
        """How many trials run at once: as many as are asked for, if there is room."""
        needed, there = self._needed(), {"cpu": num_cpus, "gpu": num_gpus}
        most = int(min(there[kind] / amount for kind, amount in needed.items() if amount))
        asked = self._search.resources.workers
        return most if asked == "auto" else min(asked, most)

    def _needed(self) -> dict[str, float]:
        return self._per_trial() or {"cpu": 1.0}

    def _no_room(self, cluster: Cluster) -> HpsearchError:
        needs = ", ".join(f"{amount:g} {kind.upper()}s" for kind, amount in self._needed().items())
        return HpsearchError(
            f"a trial must find room on the cluster, but needs {needs} of its {cluster.num_cpus} "
            f"CPUs and {cluster.num_gpus} GPUs: lower tune.cpus_per_trial or "
            "resources.gpus_per_worker"
        )


def _gpus(search: Search, num_gpus: int) -> float:
    asked = search.resources.gpus_per_worker
    if asked == "auto":
        return 1.0 if num_gpus else 0.0
    return asked

"""Executor: how groups are run. The coordinator starts groups on it and waits for what they report.

Implemented by ``ray`` (actors), ``processes`` (of one machine), ``inprocess`` (debugging) and
``simulated`` (no training); one contract suite runs over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hpsearch.errors import MayPass
from hpsearch.spec.search import Search
from workers.messages import CheckPlan, CheckResult, Report, TrialGroup

if TYPE_CHECKING:
    from workers.data import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What an executor is made for: a search, whose workers are called after ``title``.

    ``dataset`` is None where the trainable of the search brings its own, whose checkpoints come to
    ``folder``; others are told where to write with each group.
    """

    search: Search
    title: str
    dataset: Dataset | None = None
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """A group finished an epoch."""

    group: int
    report: Report


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A group has sent its last Report; its slot is free."""

    group: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Raised:
    """A group's training raised; ``traceback`` is the worker's. Its slot is free."""

    group: int
    traceback: str


LOW_ON_MEMORY = "low on memory"  # in the message of a worker that Ray ended for its machine's sake


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A group's worker died; the executor has replaced it. Its slot is free."""

    group: int
    message: str


class ChecksBroken(MayPass):
    """The checks before a search raised, or lost their worker; nothing is known of the search."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the checks must run to their end, but one of them broke ({why}): mend that, or leave "
            "stage check out"
        )


Update = Reported | Ended | Raised | Lost


class Executor(Protocol):
    """Runs up to ``num_slots`` groups at once.

    After ``start(n, ...)``, ``wait`` gives the group's Reports in order of epochs, then exactly one
    of Ended, Raised or Lost. Reports of different groups interleave in any order.
    """

    @property
    def num_slots(self) -> int: ...

    @property
    def most_slots(self) -> int:
        """How many it can run at once at most, with all the workers that there is room for."""
        ...

    @property
    def device(self) -> str:
        """What a worker trains on, in words, as speeds are stored by it."""
        ...

    @property
    def gpus_per_worker(self) -> float:
        """What a worker holds of them; 0 where there are none."""
        ...

    def resize(self, num_workers: int) -> None:
        """Run at most so many groups at once from now on, and no more than there is room for.

        Those that are running go on to their end, and hold what they hold until then.
        """
        ...

    def start(self, number: int, group: TrialGroup) -> str:
        """Begin to train ``group``; give the worker's name. There must be a free slot."""
        ...

    def wait(self, timeout_s: float) -> list[Update]:
        """Updates since the last call; an empty list if none came within ``timeout_s``.

        It waits for one, and gives with it what others have ready.
        """
        ...

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        """What the checks of ``plan`` find, on one worker, while nothing else is running.

        Raises ChecksBroken if one of them does.
        """
        ...

    def close(self) -> None:
        """Stop what is running, without waiting for it. May be called twice."""
        ...

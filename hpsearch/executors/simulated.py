"""SimulatedExecutor: a function instead of training, virtual time, injected failures.

Coordinators are tested and measured on it: ten thousand trials take seconds, and every run of the
same simulation is the same.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path

from hpsearch.executors.base import Ended, Lost, Raised, Reported, Update
from workers.messages import (
    CheckPlan,
    CheckResult,
    Divergence,
    Member,
    Metric,
    Refusal,
    Report,
    Speed,
    TrialGroup,
)

Curve = Callable[[Member, int], dict[str, Metric]]
Stops = Callable[[Member, int], bool]
Refuses = Callable[[Member], str | None]
Fault = Callable[[TrialGroup, int, int], str | None]


@dataclass(order=True, slots=True)
class _Event:
    at_s: float
    order: int
    number: int = field(compare=False)
    epoch: int = field(compare=False)


class SimulatedExecutor:
    """Runs groups on ``num_slots`` imaginary workers.

    ``curve(member, epoch)`` gives a member's metrics at an epoch (from 1); a NaN among them ends
    the member as diverged. ``stops(member, epoch)`` says whether it ends early there in good
    health, and ``refuses(member)`` may answer why it cannot be trained at all. ``fault(group,
    epoch, attempt)`` may answer "lost" to let the group's worker die instead of reporting that
    epoch, "raise" to let its training raise, or "memory" to let it find no memory (attempts count
    the group's starts from 1). ``epoch_s`` is the virtual time of one epoch; ``now_s`` the clock.
    ``checks`` is what checking finds. ``step_s(width)`` is what a step of so many rows takes: a
    group that measures tries widths of 1, 4, 16, ... and its own, and takes the least time a row,
    the wider of equals, as training does.
    """

    device = "simulated"
    gpus_per_worker = 0.0

    def __init__(
        self,
        curve: Curve,
        *,
        num_slots: int = 2,
        epoch_s: Callable[[TrialGroup], float] = lambda group: 1.0,
        fault: Fault = lambda group, epoch, attempt: None,
        stops: Stops = lambda member, epoch: False,
        refuses: Refuses = lambda member: None,
        checks: Sequence[CheckResult] = (),
        step_s: Callable[[int], float] = lambda width: 1.0 + width / 16,
    ) -> None:
        self._num_slots = self.most_slots = num_slots
        self.now_s = 0.0
        self._curve, self._epoch_s, self._fault = curve, epoch_s, fault
        self._checks, self._step_s = list(checks), step_s
        self._stops, self._refuses = stops, refuses
        self._events: list[_Event] = []
        self._groups: dict[int, tuple[TrialGroup, list[Member]]] = {}
        self._attempts: dict[int, int] = {}
        self._order = 0

    @property
    def num_slots(self) -> int:
        return self._num_slots

    def resize(self, num_workers: int) -> None:
        self._num_slots = min(num_workers, self.most_slots)

    def start(self, number: int, group: TrialGroup) -> str:
        assert len(self._groups) < self._num_slots, "no slot is free"
        self._groups[number] = (group, list(group.members))
        self._attempts[number] = self._attempts.get(number, 0) + 1
        self._schedule(number, group.start_epoch + 1)
        return "simulated"

    def wait(self, timeout_s: float) -> list[Update]:
        if not self._events:
            return []
        event = heapq.heappop(self._events)
        self.now_s = max(self.now_s, event.at_s)
        return list(self._happen(event.number, event.epoch))

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        return self._checks

    def close(self) -> None:
        self._events.clear()
        self._groups.clear()

    def _schedule(self, number: int, epoch: int) -> None:
        self._order += 1
        at_s = self.now_s + self._epoch_s(self._groups[number][0])
        heapq.heappush(self._events, _Event(at_s, self._order, number, epoch))

    def _happen(self, number: int, epoch: int) -> Iterator[Update]:
        group, members = self._groups[number]
        fault = self._fault(group, epoch, self._attempts[number])
        if fault is not None:
            del self._groups[number]
            yield _fail(number, fault)
            return
        refused = self._refused(members)
        if refused:
            report = Report(epoch=epoch, trials=(), metrics={}, seconds=0.0, refused=refused)
            yield Reported(group=number, report=report)
        if members:
            yield Reported(group=number, report=self._report(group, members, epoch))
        if epoch == group.end_epoch or not members:
            del self._groups[number]
            yield Ended(group=number)
        else:
            self._schedule(number, epoch + 1)

    def _refused(self, members: list[Member]) -> tuple[Refusal, ...]:
        """Those that cannot be trained, which are taken out of ``members``."""
        found = [(member, self._refuses(member)) for member in members]
        members[:] = [member for member, why in found if why is None]
        return tuple(
            Refusal(trial=member.trial, message=why) for member, why in found if why is not None
        )

    def _report(self, group: TrialGroup, members: list[Member], epoch: int) -> Report:
        """The Report of ``epoch``; those that ended with it are taken out of ``members``."""
        found = [(member, self._curve(member, epoch)) for member in members]
        alive = [(m, metrics) for m, metrics in found if not _has_nan(metrics)]
        diverged = [(m, metrics) for m, metrics in found if _has_nan(metrics)]
        stopped = tuple(member.trial for member, _ in alive if self._stops(member, epoch))
        members[:] = [member for member, _ in alive if member.trial not in stopped]
        names = list(found[0][1])
        speeds = self._speeds(group) if group.measures and epoch == group.start_epoch + 1 else ()
        best = min(speeds, key=lambda s: (s.seconds / s.width, -s.width), default=None)
        return Report(
            epoch=epoch,
            trials=tuple(member.trial for member, _ in alive),
            metrics={name: [metrics[name] for _, metrics in alive] for name in names},
            seconds=self._epoch_s(group),
            diverged=tuple(
                Divergence(
                    trial=member.trial, epoch=epoch, message="a metric is nan", metrics=metrics
                )
                for member, metrics in diverged
            ),
            stopped=stopped,
            checkpoint=_write_checkpoint(group, epoch, stopped) if alive else None,
            speeds=speeds,
            width=None if best is None else group.width or best.width,
        )

    def _speeds(self, group: TrialGroup) -> tuple[Speed, ...]:
        num_rows = len(group.members)
        tried = *takewhile(lambda width: width < num_rows, (4**n for n in count())), num_rows
        return tuple(Speed(width=width, seconds=self._step_s(width)) for width in tried)


def _has_nan(metrics: dict[str, Metric]) -> bool:
    return any(isinstance(value, float) and math.isnan(value) for value in metrics.values())


def _fail(number: int, fault: str) -> Update:
    if fault == "lost":
        return Lost(group=number, message="the simulated worker died")
    if fault == "memory":
        said = "torch.OutOfMemoryError: the simulated memory is full"
    else:
        said = "RuntimeError: the simulated training raised"
    return Raised(group=number, traceback=f"Traceback (most recent call last):\n{said}")


def _write_checkpoint(group: TrialGroup, epoch: int, stopped: tuple[int, ...]) -> str | None:
    """An empty file in the place of what training would write."""
    file = group.due_checkpoint(epoch, ends_early=bool(stopped))
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    return file

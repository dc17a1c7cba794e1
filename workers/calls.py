"""What a worker process is sent beside groups and check plans, and what it answers.

Written and read by ``workers.process`` and by the executor that started it, on their own pipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.messages import CheckPlan, CheckResult, Report, TrialGroup
from workers.shared_data import Shared

Request = TrialGroup | CheckPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """The first that a worker is sent: what a TrainingWorker is made of.

    It is device ``rank`` of the ``num_devices`` that meet in the file ``meeting``, and part the
    work as ``form`` says.
    """

    shared: Shared
    num_threads: int
    name: str
    num_sharing: int
    rank: int = 0
    num_devices: int = 1
    form: str = "data"
    meeting: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The first that a worker says, once its data are on the device."""

    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A group's next Report."""

    report: Report


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the checks of a plan found."""

    results: list[CheckResult]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A request has been carried out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """Carrying it out raised; ``summary`` is one line."""

    summary: str
    traceback: str


Answer = Ready | Said | Found | Done | Failed

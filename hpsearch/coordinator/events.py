"""What the loop tells whoever watches: the CLI's progress display, a notebook, a test.

Sent by ``loop.Coordinator`` and by its ``ledger.Ledger`` after the fact is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hpsearch.coordinator.view import SearchView
from hpsearch.storage.records import StageRecord
from workers.messages import CheckResult


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOpened:
    """A stage was stored; its reasons say how it came about."""

    view: SearchView
    stage: StageRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """The checks of a check stage were made and stored, whatever they found."""

    view: SearchView
    results: tuple[CheckResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Advanced:
    """A Report was stored, in ``stored_s``: ``trial_epochs`` epochs of single trials are done."""

    view: SearchView
    trial_epochs: int
    stored_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RungDecided:
    """A pruner decided who goes on at a rung; ``message`` says it in words."""

    view: SearchView
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Troubled:
    """A worker died or a training raised; ``message`` says what is done about it."""

    view: SearchView
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The search is complete."""

    view: SearchView


Event = StageOpened | Checked | Advanced | RungDecided | Troubled | Finished
Observer = Callable[[Event], None]

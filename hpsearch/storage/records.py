"""Search, Stage and Trial as they are stored; what the coordinator decides on.

Plain frozen values, no SQLAlchemy, so that decisions are pure functions over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

from hpsearch.spec.reason import Reason
from hpsearch.spec.search import SamplerName, Search
from hpsearch.spec.space import Branch, Params

SearchState = Literal["submitted", "running", "stopped", "cancelled", "complete", "failed"]
StageKind = Literal["check", "search", "expand", "confirm"]
StageState = Literal["running", "complete"]
TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]
FailureKind = Literal["diverged", "error", "out_of_memory", "worker_lost"]
CHECK_KIND = "check_"  # what the kinds of findings of a check stage begin with
DATA_READ = "data_read"  # the event that notes which data a search began with
PACKED_FOR = "packed_for"  # the event that notes for how many workers groups are packed
TESTED = "tested"  # the event that notes the winner's score on the test part, one a search
BEGUN = "begun"  # the event that a job of the service was submitted
ENDED: tuple[SearchState, ...] = ("complete", "failed", "cancelled")
FINISHED: tuple[TrialState, ...] = ("complete", "pruned", "failed")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRecord:
    """A stored search; ``message`` says why it failed, or is where it is otherwise.

    One that is ``served`` is the service's to carry out, those of the highest priority first.
    """

    id: int
    name: str
    spec: Search
    state: SearchState
    created_at: datetime
    finished_at: datetime | None = None
    message: str | None = None
    priority: int = 0
    served: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NewStage:
    """A stage to open; ``position`` counts from 0 over the search, expand stages too.

    A check stage has position -1, so that the others draw the same trials with it as without.
    ``planned`` is the index of the spec's stage that this one carries out; an expand stage has the
    index of the stage that it extends and kind "expand".
    """

    position: int
    planned: int
    name: str
    kind: StageKind
    epochs: int
    sampler: SamplerName
    branches: tuple[Branch, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord(NewStage):
    """A stage as it was opened."""

    id: int
    search_id: int
    state: StageState


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """A stored trial. ``params`` holds the searched values only, structural choices included.

    ``number`` counts from 0 over the search. ``generation`` is the ask it came from within its
    stage and branch; ``group`` the number, within the search, of the TrialGroup it belongs to.
    ``parent_id`` is the trial that it continues or repeats, ``start_epoch`` the parent's epochs if
    it continues. ``replicate`` keys the minibatch order: 0 but for the repeats of confirm stages.
    ``epochs`` counts completed ones: a trial that was ``stopped_early`` is complete with what it
    has, most often fewer than ``target_epochs``, and goes no further. ``value`` is the best
    objective over them (the inherited ones too), ``best_epoch`` its epoch and ``spread`` its
    standard deviation over the folds there, None without folds. ``checkpoint_epoch`` is 0 while
    there is no checkpoint.
    """

    id: int
    search_id: int
    stage_id: int
    number: int
    branch: str
    generation: int
    group: int
    params: Params
    seed: int
    replicate: int
    start_epoch: int
    target_epochs: int
    until_epoch: int
    parent_id: int | None = None
    state: TrialState = "waiting"
    failure_kind: FailureKind | None = None
    failure_message: str | None = None
    value: float | None = None
    spread: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    checkpoint_file: str | None = None
    checkpoint_row: int | None = None
    checkpoint_epoch: int = 0
    attempts: int = 0
    seconds: float = 0.0
    stopped_early: bool = False

    def changed(self, changes: Mapping[str, Any]) -> TrialRecord:
        """What ``dataclasses.replace`` gives, sooner: each trial changes after each epoch."""
        return TrialRecord(**{**dict(zip(_FIELDS, _values(self), strict=True)), **changes})


_FIELDS = tuple(field.name for field in fields(TrialRecord))
_values = attrgetter(*_FIELDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTrial:
    """A trial to store, in state waiting; the fields are those of :class:`TrialRecord`.

    ``stage_id`` is None for the trials that are stored together with their stage.
    """

    stage_id: int | None
    number: int
    branch: str
    generation: int
    group: int
    params: Params
    seed: int
    replicate: int
    start_epoch: int
    target_epochs: int
    until_epoch: int
    parent_id: int | None = None
    value: float | None = None
    spread: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    checkpoint_file: str | None = None
    checkpoint_row: int | None = None
    checkpoint_epoch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialProgress:
    """Where a trial stands after a report: totals, not increments.

    Without a ``checkpoint_file`` the trial keeps the checkpoint that is stored.
    """

    trial_id: int
    epochs: int
    value: float | None
    best_epoch: int | None
    seconds: float
    state: TrialState
    stopped_early: bool = False
    spread: float | None = None
    failure_kind: FailureKind | None = None
    failure_message: str | None = None
    checkpoint_file: str | None = None
    checkpoint_row: int | None = None
    checkpoint_epoch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRecord:
    """How a group is trained: what kind it is of, on which device, and how many rows at once.

    ``number`` counts within the search. ``kind`` says in words what decides the speed: the model's
    shapes, the batch size, the precision. One that ``measures`` tries several widths in its first
    steps, from ``start_epoch`` on; ``width`` is None until it has reported which was best. One that
    neither measures nor has a width, as of older versions, is trained with all rows at once.
    """

    number: int
    kind: str
    device: str
    start_epoch: int
    measures: bool
    width: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedRecord:
    """What a step of ``width`` rows of a kind took on a device: seconds, and bytes of memory.

    ``seconds`` are infinite where a group of so many rows found no memory.
    """

    kind: str
    device: str
    width: int
    seconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportCommit:
    """What one Report changes, stored whole or not at all.

    Each of ``metrics`` has ``trial_id`` and any of the columns of the metrics table; all of them
    are for ``epoch``, counted from 1. ``group`` is the group with the width that it chose in this
    epoch, None where it chose none, and ``speeds`` what it measured; ``regrouped`` are the new
    groups, by trial id, of those that are packed anew for that.
    """

    epoch: int
    metrics: list[dict[str, Any]]
    progress: tuple[TrialProgress, ...]
    group: GroupRecord | None = None
    speeds: tuple[SpeedRecord, ...] = ()
    regrouped: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RungCommit:
    """What a pruner decided at a rung, stored whole or not at all.

    ``pruned`` are the ids of the trials that end there; ``kept`` gives those that go on, by id,
    their new group and the epoch to which that trains. ``data`` is the event that tells of it.
    """

    pruned: tuple[int, ...]
    kept: Mapping[int, tuple[int, int]]
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDiagnosis:
    """A finding to store: about a trial, about a stage, or (both None) about the search."""

    kind: str
    message: str
    evidence: Mapping[str, Any]
    trial_id: int | None = None
    stage_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisRecord:
    """A stored finding."""

    id: int
    search_id: int
    kind: str
    message: str
    evidence: Mapping[str, Any]
    trial_id: int | None
    stage_id: int | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRecord:
    """A line of a search's event log, which is only ever appended to."""

    id: int
    search_id: int
    kind: str
    data: Mapping[str, Any]
    created_at: datetime

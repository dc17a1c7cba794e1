"""Trials that were trained elsewhere, as a search in our tables: one stage, a value an epoch.

Called by the imports of Optuna studies and Ray Tune folders, which store finished work at once, and
by the callback of Ray Tune, which stores as it goes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hpsearch.coordinator.ending import ending
from hpsearch.coordinator.heartbeat import heartbeat
from hpsearch.errors import HpsearchError
from hpsearch.sampling.encoding import branch_key
from hpsearch.sampling.observations import Mode
from hpsearch.spec.reserved import RESERVED
from hpsearch.spec.rules import Name
from hpsearch.spec.search import Data, Objective, Search, Stage
from hpsearch.spec.space import Branch, Parameter, Params, Space
from hpsearch.storage.leases import Lease, Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import (
    FailureKind,
    NewStage,
    NewTrial,
    ReportCommit,
    SearchRecord,
    TrialProgress,
    TrialState,
)
from hpsearch.storage.repository import Repository
from workers.metrics import OBJECTIVES, column_of

GRID = "grid_search"  # a mapping of Tune's that is a value, no part of a config


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A trial from elsewhere that has ended.

    ``curve`` has what was reported by epoch, from 1, under our names of metrics, the objective
    under its column (``metrics.column_of``). ``value`` is the objective, of the ``best_epoch`` if
    that is known.
    """

    params: Params
    value: float | None
    state: TrialState = "complete"
    curve: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    best_epoch: int | None = None
    failure_kind: FailureKind | None = None
    failure_message: str | None = None
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """How far it got."""
        return max(self.curve, default=0)


def search_of(
    name: str, *, metric: str, mode: Mode, space: Space, source: str, path: str, trials: int
) -> Search:
    """The request that stands for a search made elsewhere; its one stage is called as ``source``.

    Raises HpsearchError for a name that no search may have.
    """
    if not Name().admits(name):
        raise HpsearchError(f"the name of a search must be {Name().rule()}, but got {name!r}")
    good = OBJECTIVES.get(metric, mode)
    if mode != good:
        raise HpsearchError(
            f"the mode of {metric} must be {good}, but got {mode}: give the metric another name"
        )
    return Search(
        name=name,
        objective=Objective(metric=metric, mode=mode),
        data=Data(source=source, path=path),
        space=space,
        stages=(Stage(name=source, trials=trials, expand=0),),
    )


def store(repository: Repository, search: Search, outcomes: Sequence[Outcome]) -> SearchRecord:
    """Store trials that have ended as a search that is complete, or failed if that breaks off."""
    record = repository.create_search(search, Provenance.collect())
    lease = repository.acquire(record.id, Owner.current())
    try:
        with heartbeat(repository, lease):
            _write(repository, lease, search, outcomes)
    except BaseException:
        repository.release(lease, "failed", "the import broke off: delete it, and import again")
        raise
    repository.release(lease, *ending(repository, record.id))
    return repository.find_search(record.id)


def stage_of(search: Search) -> NewStage:
    """The one stage of a search from elsewhere, over all of its space."""
    return NewStage(
        position=0,
        planned=0,
        name=search.stages[0].name,
        kind="search",
        epochs=search.stages[0].epochs,
        sampler="random",
        branches=search.space.branches(),
        reasons=(),
    )


def new_trial(
    number: int, params: Params, branches: Iterable[Branch], stage_id: int | None = None
) -> NewTrial:
    """A trial from elsewhere to store; nobody here trains it."""
    key = branch_key(branches, params) or "all"
    return NewTrial(
        stage_id=stage_id,
        number=number,
        branch=key,
        generation=1,
        group=0,
        params=params,
        seed=0,
        replicate=0,
        start_epoch=0,
        target_epochs=0,
        until_epoch=0,
    )


def known_metrics(result: Mapping[str, Any], metric: str) -> dict[str, float]:
    """What a result has of our metrics, and the objective, by column."""
    found = {name: result[name] for name in (*OBJECTIVES, "learning_rate") if name in result}
    if metric in result:
        found[column_of(metric)] = result[metric]
    return {name: float(value) for name, value in found.items() if is_number(value)}


def is_number(value: object) -> bool:
    """Whether it can be a metric; NaN and the infinities can."""
    return isinstance(value, Real) and not isinstance(value, bool)


def best_of(curve: Mapping[int, float], mode: Mode) -> tuple[int, float] | None:
    """The epoch and value of the best that is finite, the earlier of equals; None without one."""
    sign = 1.0 if mode == "min" else -1.0
    finite = {epoch: value for epoch, value in curve.items() if math.isfinite(value)}
    return min(finite.items(), key=lambda one: (sign * one[1], one[0]), default=None)


def column_names(space: Mapping[str, Parameter]) -> dict[str, str]:
    """What parameters are called here: a name that a column of ours has gets an underscore."""
    return {name: f"{name}_" if name in RESERVED else name for name in space}


def flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A nested config or result of Ray Tune as one mapping, with keys joined by /."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value and set(value) != {GRID}:
            found |= flat(value, f"{path}{key}/")
        else:
            found[f"{path}{key}"] = value
    return found


def last_line(error_file: str | Path | None) -> str:
    """What a trial of Ray Tune raised: the end of the traceback in its ``error.txt``."""
    path = Path(error_file) if error_file else None
    lines = path.read_text(errors="replace").split("\n") if path and path.is_file() else []
    said = [line for line in lines if line.strip()]
    return said[-1].strip() if said else "it raised; Ray Tune kept no traceback"


def plain(value: Any) -> Any:
    """A parameter's value as a column of JSON can hold it: what it cannot becomes text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple) and all(is_number(item) for item in value):
        return tuple(plain(item) for item in value)
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _write(
    repository: Repository, lease: Lease, search: Search, outcomes: Sequence[Outcome]
) -> None:
    stage, branches = stage_of(search), search.space.branches()
    new = [new_trial(number, one.params, branches) for number, one in enumerate(outcomes)]
    opened, trials = repository.open_stage(lease, stage, new)
    ids = [trial.id for trial in trials]
    for epoch in sorted({epoch for one in outcomes for epoch in one.curve}):
        rows = [
            {"trial_id": id, **one.curve[epoch]}
            for id, one in zip(ids, outcomes, strict=True)
            if epoch in one.curve
        ]
        repository.commit_report(lease, ReportCommit(epoch=epoch, metrics=rows, progress=()))
    ended = tuple(_progress(id, one) for id, one in zip(ids, outcomes, strict=True))
    repository.commit_report(lease, ReportCommit(epoch=0, metrics=[], progress=ended))
    repository.finish_stage(lease, opened.id)


def _progress(trial_id: int, one: Outcome) -> TrialProgress:
    return TrialProgress(
        trial_id=trial_id,
        epochs=one.epochs,
        value=one.value,
        best_epoch=one.best_epoch,
        seconds=one.seconds,
        state=one.state,
        failure_kind=one.failure_kind,
        failure_message=one.failure_message,
    )

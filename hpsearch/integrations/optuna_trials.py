"""A stored trial in Optuna's words: state, distributions, times, attributes, values by epoch.

Called by ``optuna_live``, which serves a search as a study; the export copies what that serves. A
table of what becomes what is in docs/integrations.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from hpsearch.spec.space import Choice, Definition, Params, Space
from hpsearch.storage.records import SearchRecord, StageRecord

STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
TOLD = (  # what a trial tells of itself beside its params and values
    "stage",
    "branch",
    "failure_kind",
    "failure_message",
    "number",
    "epochs",
    "best_epoch",
    "seed",
)
METRIC_NAMES = "study:metric_names"  # the attribute in which Optuna keeps them


def frozen_study(record: SearchRecord, name: str, state: str) -> FrozenStudy:
    """A search as a study with this name, and the search's state as it is now."""
    is_max = record.spec.objective.mode == "max"
    return FrozenStudy(
        study_name=name,
        direction=StudyDirection.MAXIMIZE if is_max else StudyDirection.MINIMIZE,
        user_attrs={"hpsearch_search": record.id, "state": state},
        system_attrs={METRIC_NAMES: [record.spec.objective.metric]},
        study_id=record.id,
    )


def frozen_trial(
    place: int,
    row: Any,
    params: Params,
    distributions: Mapping[str, BaseDistribution],
    curve: Mapping[int, float],
) -> FrozenTrial:
    """A row of ``watching.history`` as the trial of number ``place``: Optuna's have no gaps.

    A trial that ended started as long before as it was trained.
    """
    state = _state(row)
    ended = _local(row.finished_at or row.created_at) if state.is_finished() else None
    started = ended - timedelta(seconds=row.seconds) if ended else _local(row.started_at)
    known = {name: storable(value) for name, value in params.items() if name in distributions}
    has_value = state in (TrialState.COMPLETE, TrialState.PRUNED) and not _is_nan(row.value)
    told = {name: getattr(row, name) for name in TOLD}
    return FrozenTrial(
        number=place,
        trial_id=row.trial,
        state=state,
        value=row.value if has_value else None,
        datetime_start=started,
        datetime_complete=ended,
        params=known,
        distributions={name: distributions[name] for name in known},
        user_attrs={name: value for name, value in told.items() if value is not None},
        # Where Optuna keeps the params of a trial that waits; the dashboard shows these.
        system_attrs={"fixed_params": known} if state == TrialState.WAITING else {},
        intermediate_values=dict(curve),
    )


def distributions_of(
    space: Space, stages: Sequence[StageRecord], params: Sequence[Params]
) -> dict[str, BaseDistribution]:
    """One for each parameter: Optuna lets no categorical have others in another trial.

    Over all ranges that it had in the spec and in ``stages``, and all values that trials have.
    """
    found = {}
    for name, parameter in space.parameters.items():
        later = (b.parameters[name] for s in stages for b in s.branches if name in b.parameters)
        values = [one[name] for one in params if name in one]
        found[name] = _united([*parameter.definitions, *later], values)
    return found


def storable(value: Any) -> Any:
    """A value that Optuna's database can hold: lists are text there."""
    return str(list(value)) if isinstance(value, tuple | list) else value


def _state(row: Any) -> TrialState:
    if row.state == "waiting" and row.started_at is not None:
        return TrialState.RUNNING  # it has begun, and waits for its next rung
    if row.state == "complete" and _is_nan(row.value):
        return TrialState.FAIL  # as Optuna has it of an objective that returns NaN
    return STATES[row.state]


def _is_nan(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _local(time: datetime | None) -> datetime | None:
    """In local time without a zone, as Optuna keeps times."""
    return None if time is None else time.astimezone().replace(tzinfo=None)


def _united(definitions: Sequence[Definition], values: Iterable[Any]) -> BaseDistribution:
    ranges = [one for one in definitions if not isinstance(one, Choice)]
    if len(ranges) < len(definitions):
        choices = [c for one in definitions if isinstance(one, Choice) for c in one.choices]
        return CategoricalDistribution([*dict.fromkeys(map(storable, [*choices, *values]))])
    ends = [*values, *(end for one in ranges for end in (one.low, one.high))]
    log = all(one.is_log for one in ranges)
    if all(one.is_int for one in ranges):
        return IntDistribution(int(min(ends)), int(max(ends)), log=log)
    return FloatDistribution(float(min(ends)), float(max(ends)), log=log)

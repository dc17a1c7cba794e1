"""A search of ours as an Optuna study, for its plots and its dashboard.

Called by ``hpsearch export --optuna``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from optuna import create_study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.errors import HpsearchError
from hpsearch.integrations.optuna_storage import opened
from hpsearch.spec.space import Choice, Definition
from hpsearch.storage.records import FINISHED, SearchRecord, StageRecord, TrialRecord
from workers.metrics import column_of

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
Curves = Mapping[int, Mapping[int, float]]


def export_study(search: str | int, url: str, study: str | None, db: str | None) -> tuple[str, int]:
    """Write the ended trials of a search as a new study; its name, and how many they are.

    The study is called as the search unless ``study`` says otherwise. Each trial has its values by
    epoch, and the user attributes stage, branch, number, seed, epochs, best_epoch, failure_kind;
    a parameter has one distribution, over all ranges that it had. Raises HpsearchError for a
    database that cannot be (``optuna_storage``) and a study that is there already, StorageError for
    a search that is not.
    """
    from hpsearch.api import connect

    frames = connect(db)
    record = frames.repository.find_search(search)
    stages, trials = frames.repository.load(record.id)
    ended = [trial for trial in trials if trial.state in FINISHED]
    found = _distributions(record, stages, ended)
    curves, ends = _curves(frames, record), _ends(frames, record)
    names = {stage.id: stage.name for stage in stages}
    frozen = [
        _frozen(one, names[one.stage_id], found, curves.get(one.number, {}), ends.get(one.number))
        for one in ended
    ]
    name = study or record.name
    with opened(url, create=True) as storage:
        try:
            is_max = record.spec.objective.mode == "max"
            direction = StudyDirection.MAXIMIZE if is_max else StudyDirection.MINIMIZE
            made = create_study(storage=storage, study_name=name, direction=direction)
        except DuplicatedStudyError as error:
            raise HpsearchError(
                f"the study must be a new one, but there is one called {name} already: give "
                "another name with --study"
            ) from error
        made.set_metric_names([record.spec.objective.metric])
        made.set_user_attr("hpsearch_search", record.id)
        made.add_trials(frozen)
    return name, len(frozen)


def _curves(frames: Frames, record: SearchRecord) -> Curves:
    column = column_of(record.spec.objective.metric)
    curves = frames.curves(record.id).dropna(subset=[column])
    by_number: dict[int, dict[int, float]] = {}
    for number, epoch, value in curves[["number", "epoch", column]].itertuples(index=False):
        by_number.setdefault(int(number), {})[int(epoch)] = float(value)
    return by_number


def _ends(frames: Frames, record: SearchRecord) -> dict[int, datetime]:
    """When each trial ended, in local time without a zone, as Optuna keeps it."""
    ended = frames.trials(record.id)[["number", "finished_at"]].dropna()
    return {
        int(number): at.to_pydatetime().astimezone().replace(tzinfo=None)
        for number, at in ended.itertuples(index=False)
    }


def _frozen(
    trial: TrialRecord,
    stage: str,
    found: Mapping[str, BaseDistribution],
    curve: Mapping[int, float],
    ended: datetime | None,
) -> FrozenTrial:
    ended = ended or datetime.now()
    params = {name: _storable(value) for name, value in trial.params.items() if name in found}
    told = {
        "stage": stage,
        "branch": trial.branch,
        "number": trial.number,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "best_epoch": trial.best_epoch,
        "failure_kind": trial.failure_kind,
    }
    return FrozenTrial(
        number=-1,  # the storage gives it one
        trial_id=-1,
        state=STATES[trial.state],
        value=None if trial.state == "failed" else trial.value,
        datetime_start=ended - timedelta(seconds=trial.seconds),
        datetime_complete=ended,
        params=params,
        distributions={name: found[name] for name in params},
        user_attrs={name: value for name, value in told.items() if value is not None},
        system_attrs={},
        intermediate_values=dict(curve),
    )


def _distributions(
    record: SearchRecord, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> dict[str, BaseDistribution]:
    """One for each parameter: Optuna lets no categorical have others in another trial."""
    found = {}
    for name, parameter in record.spec.space.parameters.items():
        later = (b.parameters[name] for s in stages for b in s.branches if name in b.parameters)
        values = [trial.params[name] for trial in trials if name in trial.params]
        found[name] = _united([*parameter.definitions, *later], values)
    return found


def _united(definitions: Sequence[Definition], values: Iterable[Any]) -> BaseDistribution:
    ranges = [one for one in definitions if not isinstance(one, Choice)]
    if len(ranges) < len(definitions):
        choices = [c for one in definitions if isinstance(one, Choice) for c in one.choices]
        return CategoricalDistribution([*dict.fromkeys(map(_storable, [*choices, *values]))])
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    log = all(one.is_log for one in ranges)
    if all(one.is_int for one in ranges):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _storable(value: Any) -> Any:
    """A value that Optuna's database can hold: lists are text there."""
    return str(list(value)) if isinstance(value, tuple | list) else value

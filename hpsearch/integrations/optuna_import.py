"""An Optuna study as a search of ours that has ended.

Called by ``hpsearch import --optuna``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from optuna import get_all_study_names, load_study
from optuna.trial import FrozenTrial, TrialState

from hpsearch.api import open_repository
from hpsearch.errors import HpsearchError
from hpsearch.integrations.optuna import FINISHED, mode_of
from hpsearch.integrations.optuna_storage import opened
from hpsearch.integrations.recording import (
    Outcome,
    best_of,
    column_names,
    plain,
    search_of,
    store,
)
from hpsearch.integrations.spaces import definition, found_space
from hpsearch.sampling.observations import Mode
from hpsearch.spec.space import Choice, Definition, Parameter, Range, Space
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.urls import masked_url
from workers.metrics import column_of


def import_study(
    url: str,
    study: str | None = None,
    *,
    name: str | None = None,
    metric: str | None = None,
    db: str | None = None,
) -> SearchRecord:
    """Store a study's ended trials as a search called ``name``, by default as the study.

    Its objective is called ``metric``, by default as the study calls it, or ``value``. Steps that
    begin with 0 become epochs from 1. Raises HpsearchError for a database, a study or a name that
    cannot be, and for a study of several objectives or without an ended trial.
    """
    with opened(url, create=False) as storage:
        found = load_study(study_name=_name(get_all_study_names(storage), study), storage=storage)
        if len(found.directions) != 1:
            raise HpsearchError(
                f"a study must have one objective to be imported, but {found.study_name} has "
                f"{len(found.directions)}: choose another one with --study"
            )
        mode, trials = mode_of(found), found.get_trials(deepcopy=False, states=FINISHED)
        metric = metric or (found.metric_names or ["value"])[0]
        called = name or found.study_name
    if not trials:
        raise HpsearchError(f"a study must have a trial that has ended, but {called} has none")
    parameters = _parameters(trials)
    names = column_names(parameters)
    search = search_of(
        called,
        metric=metric,
        mode=mode,
        space=Space(parameters={names[n]: one for n, one in parameters.items()}),
        source="optuna",
        path=masked_url(url),
        trials=len(trials),
    )
    first = min((step for trial in trials for step in trial.intermediate_values), default=1)
    shift = 1 if first == 0 else 0
    outcomes = [_outcome(one, names, column_of(metric), mode, shift) for one in trials]
    return store(open_repository(db), search, outcomes)


def _name(names: Sequence[str], given: str | None) -> str:
    if given in names or (given is None and len(names) == 1):
        return given or names[0]
    shown = ", ".join(names) or "none"
    which = "name one of them" if given is None else f"not {given}: name one of them"
    raise HpsearchError(f"the database has the studies {shown}; {which} with --study")


def _parameters(trials: Sequence[FrozenTrial]) -> dict[str, Parameter]:
    """All parameters in the order in which they came up; with conditions, where trials show them.

    One whose distribution changed has all of them as its range.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    known = found_space(complete or trials).space.parameters
    seen: dict[str, list[Definition]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen.setdefault(name, []).append(definition(distribution))
    united = {name: known.get(name) or _united(all_) for name, all_ in seen.items()}
    return {name: _plain(parameter) for name, parameter in united.items()}


def _united(definitions: Sequence[Definition]) -> Definition:
    first, ranges = definitions[0], [one for one in definitions if isinstance(one, Range)]
    if not isinstance(first, Range):
        return first  # a study refuses another set of choices
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    is_log, is_int = all(one.is_log for one in ranges), all(one.is_int for one in ranges)
    kind = ("log_int" if is_log else "int") if is_int else ("log_uniform" if is_log else "uniform")
    return Range(kind=kind, low=low, high=high)


def _plain(parameter: Parameter) -> Parameter:
    if not isinstance(parameter, Choice):
        return parameter
    return parameter.model_copy(update={"choices": tuple(map(plain, parameter.choices))})


def _outcome(
    trial: FrozenTrial, names: Mapping[str, str], column: str, mode: Mode, shift: int
) -> Outcome:
    reported = {step + shift: value for step, value in trial.intermediate_values.items()}
    best = best_of(reported, mode)
    value = trial.value
    if trial.state != TrialState.COMPLETE:
        value = best[1] if best else None
    ends = [value, *list(reported.values())[-1:]]
    diverged = any(one is not None and not math.isfinite(one) for one in ends)
    failed = diverged or trial.state == TrialState.FAIL
    why = "the objective is not finite" if diverged else "it failed; Optuna keeps no reason"
    pruned = trial.state == TrialState.PRUNED
    return Outcome(
        params={names[name]: plain(one) for name, one in trial.params.items()},
        value=value,
        state="failed" if failed else "pruned" if pruned else "complete",
        curve={epoch: {column: one} for epoch, one in reported.items()},
        best_epoch=best[0] if best and best[1] == value else None,
        failure_kind=("diverged" if diverged else "error") if failed else None,
        failure_message=why if failed else None,
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
    )

"""The prior of a search: what an earlier one found, as observations within this one's space.

Called by ``hpsearch.api`` before anything is stored, and by the ledger when a search begins. The
earlier search must be complete, so that a restart finds the same.
"""

from __future__ import annotations

from dataclasses import replace

from hpsearch.analysis.observing import observe
from hpsearch.errors import HpsearchError, closest
from hpsearch.sampling.encoding import branch_key, holds
from hpsearch.sampling.observations import Observation
from hpsearch.spec.search import Search
from hpsearch.spec.space import Params, Space
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import SearchRecord, TrialRecord
from hpsearch.storage.repository import Repository

Prior = tuple[Observation, ...]


def resolve_prior(repository: Repository, spec: Search, own_id: int | None = None) -> Prior:
    """The trials of the search that ``prior`` names, where they lie within the space of ``spec``.

    A name means the newest search of that name before this one, whose id is ``own_id`` once it has
    one. A configuration that was trained several times counts once, by its longest training; what
    the earlier search fixed under ``train`` counts as its value in all trials. Raises HpsearchError
    for a search that is not there, has not ended, or cannot be compared.
    """
    if spec.prior is None:
        return ()
    try:
        record = repository.find_search(spec.prior, before=own_id)
    except StorageError as error:
        raise _refusal(spec, f"{error}; `hpsearch import` brings one in") from error
    _check(spec, record)
    longest = sorted(repository.load(record.id)[1], key=lambda t: (t.epochs, -t.number))
    trials = {repr(sorted(trial.params.items())): trial for trial in longest}
    prior = _inside(spec, record, list(trials.values()))
    if not any(one.state == "complete" for one in prior):
        rule = "must have a complete trial within this space"
        raise _refusal(spec, f"{rule}, but none of its {len(trials)} is: widen the ranges")
    return prior


def _check(spec: Search, record: SearchRecord) -> None:
    if record.state != "complete":
        rule = "must name a search that is complete"
        raise _refusal(spec, f"{rule}, but it is {record.state}: wait, or name another one")
    ours, theirs = spec.objective, record.spec.objective
    if ours != theirs:
        rule = f"must have the objective {ours.metric} ({ours.mode})"
        mend = "give --metric when it is imported" if record.spec.is_from_elsewhere else "change it"
        raise _refusal(spec, f"{rule}, but has {theirs.metric} ({theirs.mode}): {mend}")
    known = {**record.spec.train, **record.spec.space.parameters}
    for name in spec.space.parameters:
        if name not in known:
            near = closest(name, known)
            hint = f" (it has {near})" if near else ""
            rule = f"must have each parameter of this space, but has no {name}{hint}"
            raise _refusal(spec, f"{rule}: fix that under train, or name another search")


def _inside(spec: Search, record: SearchRecord, trials: list[TrialRecord]) -> Prior:
    """Those that have ended and lie within the space, each in its branch there."""
    branches = {branch.key: branch for branch in spec.space.branches()}
    found = []
    for one in observe(sorted(trials, key=lambda trial: trial.number)):
        params = _known(spec.space, {**record.spec.train, **one.params})
        key = branch_key(branches.values(), params)
        if key is not None and holds(branches[key], params):
            found.append(replace(one, branch=key, params=params))
    return tuple(found)


def _known(space: Space, values: Params) -> Params:
    return {name: value for name, value in values.items() if name in space.parameters}


def _refusal(spec: Search, rule: str) -> HpsearchError:
    return HpsearchError(f"{spec.name}: prior: {rule} (got {spec.prior!r})")

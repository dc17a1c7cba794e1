"""LiveStorage: the searches of our database as studies that Optuna reads while they go on.

Used by ``hpsearch dashboard --optuna``, by the export of a study, and by notebooks that call
Optuna's own plots. It only reads.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Row

from hpsearch.api import open_repository
from hpsearch.errors import HpsearchError
from hpsearch.integrations.optuna_trials import distributions_of, frozen_study, frozen_trial
from hpsearch.settings import database_url
from hpsearch.spec.space import Params
from hpsearch.storage import codec, searches, trials, watching
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.urls import check_exists

READ_ONLY = (
    "searches of hpsearch are only read here, but this would change one: notes, attributes and "
    "trials of your own need a study of Optuna's, which `hpsearch export SEARCH --optuna URL` makes"
)


class ReadOnly(HpsearchError):
    """Something would write to a search, which its coordinator alone may."""

    def __init__(self) -> None:
        super().__init__(READ_ONLY)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What was read of a trial; ``curve`` is the objective by epoch."""

    row: Row[Any]
    params: Params
    curve: Mapping[int, float]


class _Search:
    """A search, and its trials as they were at the last look."""

    def __init__(self, record: SearchRecord) -> None:
        self.record = record
        self._known: dict[int, _Known] = {}  # by the trial's id, in the order of numbers
        self._distributions: dict[str, BaseDistribution] = {}
        self._trials: list[FrozenTrial] = []

    @property
    def long_name(self) -> str:
        """One that no other search has."""
        return f"{self.record.name} (id {self.record.id})"

    def look(self, connection: Connection) -> list[FrozenTrial]:
        """The trials as they are now; those that are as they were are the same objects.

        A trial's values by epoch are stored together with where it stands then, so they are as
        they were while its row is. What was given away is never changed, only replaced.
        """
        rows = watching.history(connection, self.record.id)
        changed = [row for row in rows if not self._has(row)]
        if changed or len(rows) != len(self._known):
            new = self._read(connection, changed)
            self._known = {row.trial: new.get(row.trial) or self._known[row.trial] for row in rows}
            self._trials = self._translated(connection, new)
        return self._trials

    def _has(self, row: Row[Any]) -> bool:
        known = self._known.get(row.trial)
        return known is not None and known.row == row

    def _read(self, connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, _Known]:
        params: Sequence[Params] = codec.decode_all(row.params for row in rows)
        ids, metric = [row.trial for row in rows], self.record.spec.objective.metric
        curves = watching.objectives(connection, ids, metric)
        return {
            row.trial: _Known(row=row, params=one, curve=curves.get(row.trial, {}))
            for row, one in zip(rows, params, strict=True)
        }

    def _translated(self, connection: Connection, new: Container[int]) -> list[FrozenTrial]:
        """All trials; each anew if a distribution has changed, for it is that of all."""
        before = {trial._trial_id: trial for trial in self._trials}
        stages = trials.stages(connection, self.record.id)
        params = [known.params for known in self._known.values()]
        distributions = distributions_of(self.record.spec.space, stages, params)
        if distributions != self._distributions:
            self._distributions, before = distributions, {}
        return [
            before[id]
            if id in before and id not in new
            else frozen_trial(place, one.row, one.params, distributions, one.curve)
            for place, (id, one) in enumerate(self._known.items())
        ]


class LiveStorage(BaseStorage):
    """Every search of the database at ``url`` as a study, as it is whenever it is asked for.

    A study is called as its search, an older one of the same name as "digits (id 3)", and has the
    search's id: ``optuna.load_study(study_name="digits", storage=LiveStorage())``. A look reads
    the rows of a search's trials, and of those that have changed since the last one their values by
    epoch. Threads may share it.

    Each method that would write raises ReadOnly. Those that read raise KeyError for a study or a
    trial that is not there, as Optuna's do, and StorageError for a database that cannot be read.
    The same is raised here for a file that does not exist.
    """

    def __init__(self, url: str | None = None) -> None:
        check_exists(database_url(url))
        self.repository = open_repository(url)
        self._lock = Lock()
        self._searches: dict[int, _Search] = {}  # by id; also of those that were deleted since

    def get_all_studies(self) -> list[FrozenStudy]:
        with self._lock, self.repository.database.read() as connection:
            return self._studies(connection)

    def get_study_id_from_name(self, study_name: str) -> int:
        for study in self.get_all_studies():
            if study_name in (study.study_name, self._searches[study._study_id].long_name):
                return study._study_id
        raise KeyError(f"there is no study {study_name!r}")

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._study(study_id).study_name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study(study_id).user_attrs

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study(study_id).system_attrs

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        with self._lock, self.repository.database.read() as connection:
            self._find(self._studies(connection), study_id)
            known = self._searches[study_id].look(connection)
        found = [trial for trial in known if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._lock, self.repository.database.read() as connection:
            study_id = watching.search_of(connection, trial_id)
        every = [] if study_id is None else self.get_all_trials(study_id, deepcopy=False)
        found = next((trial for trial in every if trial._trial_id == trial_id), None)
        if found is None:
            raise KeyError(f"there is no trial with the id {trial_id}")
        return copy.deepcopy(found)

    def _study(self, study_id: int) -> FrozenStudy:
        return self._find(self.get_all_studies(), study_id)

    def _find(self, studies: Sequence[FrozenStudy], study_id: int) -> FrozenStudy:
        for study in studies:
            if study._study_id == study_id:
                return study
        raise KeyError(f"there is no study with the id {study_id}")

    def _studies(self, connection: Connection) -> list[FrozenStudy]:
        """All, oldest first; a spec is read once, as it never changes."""
        states = watching.search_states(connection)
        unknown = states.keys() - self._searches.keys()
        if unknown:
            new = searches.list_all(connection, after=min(unknown) - 1)
            self._searches = {record.id: _Search(record) for record in new} | self._searches
        newest = {self._searches[id].record.name: id for id in states}
        found = []
        for id, state in states.items():
            one = self._searches[id]
            name = one.record.name if newest[one.record.name] == id else one.long_name
            found.append(frozen_study(one.record, name, state))
        return found

    # What would write

    def _refuse(self, *given: Any, **named: Any) -> NoReturn:
        raise ReadOnly

    create_new_study = delete_study = _refuse
    set_study_user_attr = set_study_system_attr = _refuse
    create_new_trial = set_trial_param = set_trial_state_values = _refuse
    set_trial_intermediate_value = set_trial_user_attr = set_trial_system_attr = _refuse

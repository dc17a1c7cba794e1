"""Stages and their trials as rows: open them, add to them, read them back.

Called by ``hpsearch.storage.repository`` inside its transactions.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Update, bindparam, func, insert, select, update

from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Branch
from hpsearch.storage.bulk import execute_rows
from hpsearch.storage.events import add_event
from hpsearch.storage.records import NewStage, NewTrial, StageRecord, TrialRecord
from hpsearch.storage.tables import StageRow, TrialRow
from hpsearch.storage.types import LARGEST_INTEGER

_STAGE = [StageRow.__table__.c[field.name] for field in fields(StageRecord)]
_TRIAL = [TrialRow.__table__.c[field.name] for field in fields(TrialRecord)]
_GIVEN = {kind: [field.name for field in fields(kind)] for kind in (NewStage, NewTrial)}
_INSERT = insert(TrialRow)
_UNSTARTED = {"state": "waiting", "attempts": 0, "seconds": 0.0, "stopped_early": False}


def open_stage(
    connection: Connection, search_id: int, stage: NewStage, now: datetime
) -> StageRecord:
    """Store a stage, in state running."""
    given = {**_values(stage), "search_id": search_id, "state": "running"}
    stage_id = connection.execute(
        insert(StageRow).values(**given, created_at=now).returning(StageRow.id)
    ).scalar_one()
    data = {"stage_id": stage_id, "position": stage.position, "name": stage.name}
    add_event(connection, search_id, "stage_opened", data, now)
    return StageRecord(id=stage_id, **given)


def finish_stage(connection: Connection, search_id: int, stage_id: int, now: datetime) -> None:
    """Set a stage complete."""
    connection.execute(
        update(StageRow)
        .where(StageRow.id == stage_id, StageRow.search_id == search_id)
        .values(state="complete", finished_at=now)
    )
    add_event(connection, search_id, "stage_finished", {"stage_id": stage_id}, now)


def add_trials(
    connection: Connection,
    search_id: int,
    trials: Sequence[NewTrial],
    now: datetime,
    stage_id: int | None = None,
) -> list[TrialRecord]:
    """Store trials, in state waiting; those without a stage of their own go to ``stage_id``."""
    given = [
        {
            **_values(trial),
            "search_id": search_id,
            "stage_id": stage_id if trial.stage_id is None else trial.stage_id,
            **_UNSTARTED,
        }
        for trial in trials
    ]
    if not given:
        return []
    columns = {name: [values[name] for values in given] for name in given[0]}
    execute_rows(connection, _INSERT, {**columns, "created_at": [now] * len(given)})
    ids = _ids(connection, search_id, columns["number"])
    return [TrialRecord(id=ids[values["number"]], **values) for values in given]


def update_trials(
    connection: Connection,
    search_id: int,
    trial_ids: Sequence[int],
    columns: Mapping[str, Sequence[Any]],
    kept: Container[str] = (),
) -> None:
    """Set ``columns``, which have a value a trial; where one of ``kept`` has None, it stays.

    A trial of another search is left alone.
    """
    new = {f"new_{name}": values for name, values in columns.items()}
    searches = [search_id] * len(trial_ids)
    statement = _update(tuple((name, name in kept) for name in columns))
    execute_rows(connection, statement, {"trial": trial_ids, "search": searches, **new})


def load(connection: Connection, search_id: int) -> tuple[list[StageRecord], list[TrialRecord]]:
    """The stages by position and the trials by number."""
    trials = connection.execute(
        select(*_TRIAL).where(TrialRow.search_id == search_id).order_by(TrialRow.number)
    )
    return stages(connection, search_id), [TrialRecord(**row._mapping) for row in trials]


def find(connection: Connection, search_id: int, number: int) -> TrialRecord | None:
    """The trial of that number."""
    if not 0 <= number <= LARGEST_INTEGER:
        return None
    row = connection.execute(
        select(*_TRIAL).where(TrialRow.search_id == search_id, TrialRow.number == number)
    ).first()
    return None if row is None else TrialRecord(**row._mapping)


def stages(connection: Connection, search_id: int) -> list[StageRecord]:
    """The stages by position."""
    rows = connection.execute(
        select(*_STAGE).where(StageRow.search_id == search_id).order_by(StageRow.position)
    )
    return [_stage(row) for row in rows]


def _ids(connection: Connection, search_id: int, numbers: Sequence[int]) -> dict[int, int]:
    rows = connection.execute(
        select(TrialRow.number, TrialRow.id).where(
            TrialRow.search_id == search_id, TrialRow.number.between(min(numbers), max(numbers))
        )
    )
    return {number: id for number, id in rows}


@cache
def _update(columns: tuple[tuple[str, bool], ...]) -> Update:
    """By the names of the columns, each with whether it stays where the new value is NULL."""
    trials = TrialRow.__table__.c
    new = {name: bindparam(f"new_{name}", type_=trials[name].type) for name, _ in columns}
    values = {
        name: func.coalesce(new[name], trials[name]) if kept else new[name]
        for name, kept in columns
    }
    own = (trials.id == bindparam("trial")) & (trials.search_id == bindparam("search"))
    return update(TrialRow).where(own).values(values)


def _stage(row: Row[Any]) -> StageRecord:
    branches = tuple(Branch.model_validate(branch) for branch in row.branches)
    reasons = tuple(Reason(**reason) for reason in row.reasons)
    return StageRecord(**{**row._mapping, "branches": branches, "reasons": reasons})


def _values(record: NewStage | NewTrial) -> dict[str, Any]:
    """Not ``dataclasses.asdict``: that would take branches and reasons apart too."""
    return {name: getattr(record, name) for name in _GIVEN[type(record)]}

"""The event log of a search and the diagnoses made of it: rows that are only ever added.

Called by ``hpsearch.storage.repository`` and by the writes that leave an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from hpsearch.storage.database import clock
from hpsearch.storage.records import TESTED, DiagnosisRecord, EventRecord, NewDiagnosis
from hpsearch.storage.tables import DiagnosisRow, EventRow, SearchRow


def add_event(
    connection: Connection, search_id: int, kind: str, data: Mapping[str, Any], now: datetime
) -> None:
    """Append to the log; ``data`` is what JSON can hold."""
    connection.execute(
        insert(EventRow).values(search_id=search_id, kind=kind, data=data, created_at=now)
    )


def keep_test(connection: Connection, search_id: int, data: Mapping[str, Any]) -> EventRecord:
    """The score on the test part that is stored; this one if none was."""
    connection.execute(select(SearchRow.id).where(SearchRow.id == search_id).with_for_update())
    found = test_of(connection, search_id)
    if found is None:
        now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
        add_event(connection, search_id, TESTED, data, now)
        found = test_of(connection, search_id)
    assert found is not None  # it was added
    return found


def test_of(connection: Connection, search_id: int) -> EventRecord | None:
    """The first score on the test part of a search, if there is one."""
    told = (event for event in events(connection, search_id) if event.kind == TESTED)
    return next(told, None)


def events(connection: Connection, search_id: int) -> list[EventRecord]:
    """The log, oldest first."""
    table = EventRow.__table__
    rows = connection.execute(
        select(table).where(table.c.search_id == search_id).order_by(table.c.id)
    )
    return [EventRecord(**row._mapping) for row in rows]


def add_diagnoses(
    connection: Connection, search_id: int, found: Sequence[NewDiagnosis], now: datetime
) -> None:
    """Append findings; those stored before stay."""
    if not found:
        return
    rows = [
        {
            "search_id": search_id,
            "trial_id": diagnosis.trial_id,
            "stage_id": diagnosis.stage_id,
            "kind": diagnosis.kind,
            "message": diagnosis.message,
            "evidence": diagnosis.evidence,
            "created_at": now,
        }
        for diagnosis in found
    ]
    connection.execute(insert(DiagnosisRow), rows)


def drop_diagnoses(connection: Connection, search_id: int, stage_id: int) -> None:
    """Forget the findings about a stage, which are made anew."""
    connection.execute(
        delete(DiagnosisRow).where(
            DiagnosisRow.search_id == search_id, DiagnosisRow.stage_id == stage_id
        )
    )


def diagnoses(connection: Connection, search_id: int) -> list[DiagnosisRecord]:
    """The findings about a search, in the order in which they were made."""
    table = DiagnosisRow.__table__
    rows = connection.execute(
        select(table).where(table.c.search_id == search_id).order_by(table.c.id)
    )
    return [DiagnosisRecord(**row._mapping) for row in rows]

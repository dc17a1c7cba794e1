"""How groups are trained, and how fast each width was, as rows.

Called by ``hpsearch.storage.repository`` inside its transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hpsearch.storage.records import GroupRecord, SpeedRecord
from hpsearch.storage.tables import Base, GroupRow, SpeedRow

_GROUP = [GroupRow.__table__.c[field.name] for field in fields(GroupRecord)]
_SPEED = [SpeedRow.__table__.c[field.name] for field in fields(SpeedRecord)]

# Both databases have ON CONFLICT, each with an insert of its own.
_INSERT: dict[str, Callable[[type[Base]], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def keep_group(connection: Connection, search_id: int, group: GroupRecord, now: datetime) -> None:
    """Store how a group is trained; what is stored of it already stays, so that it is repeated.

    Only the epoch from which it measures is not settled before it has measured.
    """
    row = {**asdict(group), "search_id": search_id, "created_at": now}
    connection.execute(_keep(connection.dialect.name), row)


@cache
def _keep(dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Built once: to build it takes longer than to execute it."""
    statement = _INSERT[dialect](GroupRow)
    return statement.on_conflict_do_update(
        index_elements=["search_id", "number"],
        set_={"start_epoch": statement.excluded.start_epoch},
        where=GroupRow.width.is_(None),
    )


def set_width(connection: Connection, search_id: int, group: GroupRecord) -> None:
    """Store which width a group goes on with."""
    connection.execute(
        update(GroupRow)
        .where(GroupRow.search_id == search_id, GroupRow.number == group.number)
        .values(width=group.width)
    )


def groups(connection: Connection, search_id: int) -> list[GroupRecord]:
    """How the groups of a search are trained, by number."""
    rows = connection.execute(
        select(*_GROUP).where(GroupRow.search_id == search_id).order_by(GroupRow.number)
    )
    return [GroupRecord(**row._mapping) for row in rows]


def add_speeds(connection: Connection, measured: Sequence[SpeedRecord], now: datetime) -> None:
    """Store what was measured; the newest replaces what was known of the same width."""
    if not measured:
        return
    statement = _INSERT[connection.dialect.name](SpeedRow)
    new = {name: statement.excluded[name] for name in ("seconds", "bytes", "measured_at")}
    # In one order for all: two searches that store the same rows would wait for each other.
    ordered = sorted(measured, key=lambda speed: (speed.kind, speed.device, speed.width))
    connection.execute(
        statement.on_conflict_do_update(index_elements=["kind", "device", "width"], set_=new),
        [{**asdict(speed), "measured_at": now} for speed in ordered],
    )


def forget_speeds(connection: Connection) -> int:
    """Delete all measurements; how many there were."""
    return connection.execute(delete(SpeedRow)).rowcount


def speeds(connection: Connection, device: str | None = None) -> list[SpeedRecord]:
    """What is known of ``device``, or of all, by kind, device and width."""
    query = select(*_SPEED).order_by(SpeedRow.kind, SpeedRow.device, SpeedRow.width)
    if device is not None:
        query = query.where(SpeedRow.device == device)
    return [SpeedRecord(**row._mapping) for row in connection.execute(query)]

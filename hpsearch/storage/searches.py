"""Searches as rows: create, find and list them.

Called by ``hpsearch.storage.repository`` inside its transactions.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select, text, true, update

from hpsearch.errors import did_you_mean
from hpsearch.given import in_short, is_search
from hpsearch.spec.search import Search
from hpsearch.storage import codec
from hpsearch.storage.database import clock
from hpsearch.storage.errors import StorageError
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.tables import SearchRow
from hpsearch.storage.types import LARGEST_INTEGER

CREATE_LOCK = 0x68707373  # "hpss": PostgreSQL's advisory lock of who looks before he creates


def create(
    connection: Connection,
    spec: Search,
    provenance: Provenance,
    priority: int = 0,
    *,
    served: bool = False,
) -> SearchRecord:
    """Store a request, in state submitted; the service carries out one that is ``served``."""
    now = connection.execute(select(clock(connection.dialect.name))).scalar_one()
    search_id = connection.execute(
        insert(SearchRow)
        .values(
            name=spec.name,
            spec=spec,
            spec_hash=spec_hash(spec),
            state="submitted",
            seed=spec.seed,
            hpsearch_version=provenance.hpsearch_version,
            git_commit=provenance.git_commit,
            host=provenance.host,
            user=provenance.user,
            packages=provenance.packages,
            lease_token=0,
            created_at=now,
            priority=priority,
            served=served,
            notice_tries=0,
        )
        .returning(SearchRow.id)
    ).scalar_one()
    return SearchRecord(
        id=search_id,
        name=spec.name,
        spec=spec,
        state="submitted",
        created_at=now,
        priority=priority,
        served=served,
    )


def find_or_create(
    connection: Connection, spec: Search, provenance: Provenance
) -> tuple[SearchRecord, bool]:
    """As :func:`find_same`, else created; and whether it was. Two who ask at once get the same."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATE_LOCK})
    found = find_same(connection, spec)
    return (create(connection, spec, provenance), True) if found is None else (found, False)


def find(connection: Connection, ref: str | int, before: int | None = None) -> SearchRecord:
    """By id, or the newest of that name; a name of digits only is taken for an id first.

    ``before`` leaves only searches with a smaller id.
    """
    if not is_search(ref):
        raise StorageError(
            f"a search must be given by its name or its id, but got {in_short(ref)}: "
            "`hpsearch list` shows all"
        )
    ref = ref if isinstance(ref, str) else int(ref)  # NumPy's integers too
    found = None
    is_admitted = true() if before is None else SearchRow.id < before
    id = int(ref) if isinstance(ref, int) or (ref.isascii() and ref.isdigit()) else None
    if id is not None and 0 <= id <= LARGEST_INTEGER:  # other digits can only be a name
        found = _first(connection, _records().where(SearchRow.id == id, is_admitted))
    if found is None and isinstance(ref, str):
        found = _first(connection, _newest((SearchRow.name == ref) & is_admitted))
    if found is None:
        raise StorageError(_unknown(connection, ref, is_admitted))
    return found


def check_is_trained_here(record: SearchRecord) -> None:
    """Raises StorageError for a search that another program made: nobody here can go on with it."""
    if record.spec.is_from_elsewhere:
        raise StorageError(
            f"search {record.name} (id {record.id}) was made by {record.spec.data.source}, and its "
            "trials cannot be trained here: go on with it there, or learn from it with "
            f"`prior: {record.name}` in a spec"
        )


def set_message(connection: Connection, search_id: int, message: str) -> None:
    """Say why it ended, or ends."""
    connection.execute(update(SearchRow).where(SearchRow.id == search_id).values(message=message))


def find_same(connection: Connection, spec: Search) -> SearchRecord | None:
    """The newest search of the same name with the same spec."""
    same = (SearchRow.name == spec.name) & (SearchRow.spec_hash == spec_hash(spec))
    return _first(connection, _newest(same))


def newest_of_name(connection: Connection, name: str) -> int | None:
    """The id of the newest search of that name."""
    found = _first(connection, _newest(SearchRow.name == name))
    return None if found is None else found.id


def list_all(connection: Connection, after: int = 0) -> list[SearchRecord]:
    """All searches, oldest first; with ``after`` those that are younger than the one of that id."""
    query = _records().where(SearchRow.id > after).order_by(SearchRow.id)
    return [_record(row) for row in connection.execute(query)]


def spec_hash(spec: Search) -> str:
    """SHA-256 of the spec as it is stored, in hexadecimal; equal for equal specs."""
    return hashlib.sha256(codec.encode(spec).encode()).hexdigest()


def _records() -> Select[Any]:
    return select(
        SearchRow.id,
        SearchRow.name,
        SearchRow.spec,
        SearchRow.state,
        SearchRow.created_at,
        SearchRow.finished_at,
        SearchRow.message,
        SearchRow.priority,
        SearchRow.served,
    )


def _newest(condition: ColumnElement[bool]) -> Select[Any]:
    return _records().where(condition).order_by(SearchRow.id.desc()).limit(1)


def _first(connection: Connection, query: Select[Any]) -> SearchRecord | None:
    row = connection.execute(query).first()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> SearchRecord:
    return SearchRecord(**{**row._mapping, "spec": Search.model_validate(row.spec)})


def _unknown(connection: Connection, ref: str | int, is_admitted: ColumnElement[bool]) -> str:
    names = list(connection.scalars(select(SearchRow.name).where(is_admitted).distinct()))
    if not names:
        return (
            f"there is no search {ref!r}: this database holds none yet, "
            "start one with `hpsearch run SPEC`"
        )
    is_id = isinstance(ref, int) or ref.isdigit()
    hint = "" if is_id else did_you_mean(ref, names)
    rest = " " if hint.endswith("?") else "; " if hint else ""
    return f"there is no search {ref!r}: {hint}{rest}`hpsearch list` shows all"

"""What is done to a search that nobody carries out: it is deleted, or its failed trials wait again.

Called by ``hpsearch.storage.queue`` inside its transactions, the search's row locked.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select, update

from hpsearch.storage.records import CHECK_KIND, FailureKind
from hpsearch.storage.tables import (
    DiagnosisRow,
    EventRow,
    GroupRow,
    MetricRow,
    SearchRow,
    StageRow,
    TrialRow,
)

# A trial that diverged would do so again: its results are what its configuration gives.
RETRIED: tuple[FailureKind, ...] = ("error", "out_of_memory", "worker_lost")


def delete_search(connection: Connection, search_id: int) -> None:
    """Delete it with everything that was stored of it; what was measured of speeds stays."""
    trials = select(TrialRow.id).where(TrialRow.search_id == search_id)
    connection.execute(delete(MetricRow).where(MetricRow.trial_id.in_(trials)))
    for table in (DiagnosisRow, EventRow, GroupRow, TrialRow, StageRow):
        connection.execute(delete(table).where(table.search_id == search_id))
    connection.execute(delete(SearchRow).where(SearchRow.id == search_id))


def retry_failed(connection: Connection, search_id: int) -> int:
    """Let failed trials wait as if they had never begun, but for those that diverged; how many.

    What was concluded of the search is forgotten, and concluded anew at its end.
    """
    failed = (TrialRow.search_id == search_id) & TrialRow.failure_kind.in_(RETRIED)
    count = connection.execute(select(func.count()).where(failed)).scalar_one()
    if not count:
        return 0
    connection.execute(
        update(TrialRow)
        .where(failed)
        .values(
            state="waiting",
            failure_kind=None,
            failure_message=None,
            epochs=TrialRow.start_epoch,  # those that are stored come out the same, and stay
            attempts=0,
            finished_at=None,
        )
    )
    connection.execute(
        delete(DiagnosisRow).where(
            DiagnosisRow.search_id == search_id, ~DiagnosisRow.kind.startswith(CHECK_KIND)
        )
    )
    return count

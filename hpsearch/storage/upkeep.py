"""What is done to a search that nobody carries out: it is deleted, or its failed trials wait again.

Called by ``hpsearch.storage.queue`` inside its transactions, the search's row locked.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select, update

from hpsearch.storage.records import CHECK_KIND, FailureKind
from hpsearch.storage.tables import (
    CodeRow,
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

ANEW = {
    **{"state": "waiting", "failure_kind": None, "failure_message": None, "finished_at": None},
    **{"attempts": 0, "value": None, "spread": None, "best_epoch": None},
    **{"checkpoint_file": None, "checkpoint_row": None, "checkpoint_epoch": 0},
    "epochs": TrialRow.start_epoch,  # those that are stored come out the same, and stay
}


def delete_search(connection: Connection, search_id: int) -> None:
    """Delete it with everything that was stored of it; what was measured of speeds stays."""
    trials = select(TrialRow.id).where(TrialRow.search_id == search_id)
    connection.execute(delete(MetricRow).where(MetricRow.trial_id.in_(trials)))
    for table in (CodeRow, DiagnosisRow, EventRow, GroupRow, TrialRow, StageRow):
        connection.execute(delete(table).where(table.search_id == search_id))
    connection.execute(delete(SearchRow).where(SearchRow.id == search_id))


def retry_failed(connection: Connection, search_id: int) -> int:
    """Let failed trials wait as if they had never begun, but for those that diverged; how many.

    Each is a group of its own, which begins at its first epoch. What was concluded of the search is
    forgotten, and concluded anew at its end.
    """
    of_search = TrialRow.search_id == search_id
    failed = connection.execute(
        select(TrialRow.id, TrialRow.target_epochs, TrialRow.until_epoch, StageRow.state)
        .join(StageRow, StageRow.id == TrialRow.stage_id)
        .where(of_search, TrialRow.failure_kind.in_(RETRIED))
        .order_by(TrialRow.number)
    ).all()
    last = connection.execute(select(func.max(TrialRow.group)).where(of_search)).scalar_one()
    for group, row in enumerate(failed, 1 + (last or 0)):
        # Where the stage is over, nobody decides at a rung any more.
        until = row.target_epochs if row.state == "complete" else row.until_epoch
        change = update(TrialRow).where(TrialRow.id == row.id)
        connection.execute(change.values(**ANEW, group=group, until_epoch=until))
    connection.execute(
        delete(DiagnosisRow).where(
            DiagnosisRow.search_id == search_id, ~DiagnosisRow.kind.startswith(CHECK_KIND)
        )
    )
    return len(failed)

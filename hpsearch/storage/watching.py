"""Questions that a dashboard asks again and again: trials as they are, their values by epoch.

Called by ``hpsearch.integrations``, which gives Optuna's objects; ``queries`` has those of frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    select,
)

from hpsearch.storage.curves import lineage, listed
from hpsearch.storage.queries import trials_query
from hpsearch.storage.tables import MetricRow, SearchRow, TrialRow
from hpsearch.storage.types import LARGEST_INTEGER
from workers.metrics import column_of


def history(connection: Connection, search_id: int) -> Sequence[Row[Any]]:
    """All of a search by number, each value as what it is: times with a zone, NaN a float."""
    query = trials_query(TrialRow.search_id == search_id, _typed)
    return connection.execute(query.order_by(TrialRow.number)).all()


def _typed(column: Any, kind: object) -> Any:
    return column


def objectives(
    connection: Connection, trial_ids: Sequence[int], metric: str
) -> dict[int, dict[int, float]]:
    """The objective ``metric`` of these trials by epoch, those of a continued one's parent too.

    NaN where it was that; an epoch without it, and a trial without any, is not there.
    """
    column = getattr(MetricRow, column_of(metric))
    found: defaultdict[int, dict[int, float]] = defaultdict(dict)
    of = lineage(TrialRow.id.in_(listed(connection, trial_ids))).c
    is_of_it = and_(
        MetricRow.trial_id == of.source, MetricRow.epoch > of.after, MetricRow.epoch <= of.up_to
    )
    rows = connection.execute(
        select(of.trial, MetricRow.epoch, column)
        .where(is_of_it, column.is_not(None))
        .order_by(of.trial, MetricRow.epoch)
    )
    for trial_id, epoch, value in rows:
        found[trial_id][epoch] = value
    return dict(found)


def search_of(connection: Connection, trial_id: int) -> int | None:
    """The id of the search that a trial is of; None if there is no such trial."""
    if not 0 <= trial_id <= LARGEST_INTEGER:
        return None
    return connection.scalar(select(TrialRow.search_id).where(TrialRow.id == trial_id))


def search_states(connection: Connection) -> dict[int, str]:
    """The state of each search, by id, oldest first."""
    rows = connection.execute(select(SearchRow.id, SearchRow.state).order_by(SearchRow.id))
    return {id: state for id, state in rows}

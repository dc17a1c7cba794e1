"""Questions that a dashboard asks again and again: trials as they are, their values by epoch.

Called by ``hpsearch.integrations``, which gives Optuna's objects; ``queries`` has those of frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Row,
    and_,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import aliased

from hpsearch.storage.queries import trials_query
from hpsearch.storage.tables import MetricRow, SearchRow, TrialRow
from hpsearch.storage.types import LARGEST_INTEGER
from workers.metrics import column_of

_BATCH = 500  # ids in one statement; both databases take so many


def history(connection: Connection, search_id: int) -> Sequence[Row[Any]]:
    """All of a search by number, each value as what it is: times with a zone, NaN a float."""
    query = trials_query(TrialRow.search_id == search_id, lambda column, _: column)
    return connection.execute(query.order_by(TrialRow.number)).all()


def objectives(
    connection: Connection, trial_ids: Sequence[int], metric: str
) -> dict[int, dict[int, float]]:
    """The objective ``metric`` of these trials by epoch, those of a continued one's parent too.

    NaN where it was that; an epoch without it, and a trial without any, is not there.
    """
    column = getattr(MetricRow, column_of(metric))
    found: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for start in range(0, len(trial_ids), _BATCH):
        lineage = _lineage(TrialRow.id.in_(trial_ids[start : start + _BATCH]))
        rows = connection.execute(
            select(lineage.c.trial, MetricRow.epoch, column)
            .join_from(lineage, MetricRow, _is_within(lineage))
            .where(column.is_not(None))
            .order_by(lineage.c.trial, MetricRow.epoch)
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


def _is_within(lineage: CTE) -> ColumnElement[bool]:
    """Whether a row of metrics is part of the curve that a row of ``lineage`` tells of."""
    return and_(
        MetricRow.trial_id == lineage.c.source,
        MetricRow.epoch > lineage.c.after,
        or_(lineage.c.up_to.is_(None), MetricRow.epoch <= lineage.c.up_to),
    )


def _lineage(which: ColumnElement[bool]) -> CTE:
    """Which trial's epochs make up the curve of each trial: (trial, number, source, after, up_to].

    Of the trials that ``which`` admits.

    A trial is its own source for the epochs after its start; its parent is for those between the
    parent's start and its own, and so on up the chain.
    """
    own = (
        select(
            TrialRow.id.label("trial"),
            TrialRow.number,
            TrialRow.id.label("source"),
            TrialRow.start_epoch.label("after"),
            literal(None, Integer).label("up_to"),
        )
        .where(which)
        .cte("lineage", recursive=True)
    )
    child, parent = aliased(TrialRow), aliased(TrialRow)
    inherited = (
        select(own.c.trial, own.c.number, parent.id, parent.start_epoch, own.c.after)
        .join(child, child.id == own.c.source)
        .join(parent, parent.id == child.parent_id)
        .where(own.c.after > 0)
    )
    return own.union_all(inherited)

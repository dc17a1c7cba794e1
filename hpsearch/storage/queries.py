"""Questions that people ask, as SELECTs: the best trials, all trials, curves, findings, searches.

Called by ``hpsearch.analysis.frames``, whose columns are the labels of the rows, and by the storage
that Optuna's dashboard reads, again and again.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from hpsearch.storage.tables import (
    DiagnosisRow,
    MetricRow,
    SearchRow,
    SpeedRow,
    StageRow,
    TrialRow,
)
from hpsearch.storage.types import LARGEST_INTEGER
from workers.metrics import column_of

_BATCH = 500  # ids in one statement; both databases take so many

# NaN is not NULL in the tables of either database, and has no place in an order.
_RANKED = and_(
    TrialRow.state == "complete",
    TrialRow.value.is_not(None),
    TrialRow.value != math.nan,
)


def trials(
    connection: Connection, chosen: ColumnElement[bool], after: int = -1, most: int | None = None
) -> Sequence[Row[Any]]:
    """The trials that ``chosen`` is true of, by number: at most ``most`` beyond ``after``."""
    query = _trials(chosen, _as_read).where(TrialRow.number > after).order_by(TrialRow.number)
    return connection.execute(query.limit(most)).all()


def history(connection: Connection, search_id: int) -> Sequence[Row[Any]]:
    """Those of a whole search, each value as what it is: times with a zone, NaN a float."""
    query = _trials(TrialRow.search_id == search_id, lambda column, _: column)
    return connection.execute(query.order_by(TrialRow.number)).all()


def best(
    connection: Connection, chosen: ColumnElement[bool], mode: Literal["max", "min"], n: int
) -> Sequence[Row[Any]]:
    """The ``n`` best complete trials, ties by number, without those that another one continues.

    Walks the index over (search, value) from its good end, so it reads little more than
    ``n`` trials.
    """
    continuing = aliased(TrialRow)
    superseded = exists().where(continuing.parent_id == TrialRow.id, continuing.start_epoch > 0)
    order = TrialRow.value.desc() if mode == "max" else TrialRow.value.asc()
    query = _trials(chosen, _as_read).where(_RANKED, ~superseded).order_by(order, TrialRow.number)
    return connection.execute(query.limit(n)).all()


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


def diagnoses(connection: Connection, search_id: int) -> Sequence[Row[Any]]:
    """The findings about a search, in the order in which they were made."""
    return connection.execute(
        select(
            TrialRow.number,
            DiagnosisRow.kind,
            DiagnosisRow.message,
            DiagnosisRow.trial_id.label("trial"),
            StageRow.name.label("stage"),
            DiagnosisRow.evidence,
            DiagnosisRow.created_at,
        )
        .select_from(DiagnosisRow)
        .outerjoin(TrialRow, TrialRow.id == DiagnosisRow.trial_id)
        .outerjoin(StageRow, StageRow.id == DiagnosisRow.stage_id)
        .where(DiagnosisRow.search_id == search_id)
        .order_by(DiagnosisRow.id)
    ).all()


def searches(connection: Connection) -> Sequence[Row[Any]]:
    """All searches, oldest first, with the counts and the extreme values of their trials."""
    count = (
        select(
            TrialRow.search_id,
            func.count().label("trials"),
            func.count().filter(TrialRow.state == "complete").label("complete"),
            func.count().filter(TrialRow.state == "pruned").label("pruned"),
            func.count().filter(TrialRow.state == "failed").label("failed"),
            func.min(TrialRow.value).filter(_RANKED).label("lowest"),
            func.max(TrialRow.value).filter(_RANKED).label("highest"),
        )
        .group_by(TrialRow.search_id)
        .subquery()
    )
    query = select(SearchRow.__table__, count).outerjoin_from(
        SearchRow, count, count.c.search_id == SearchRow.id
    )
    return connection.execute(query.order_by(SearchRow.id)).all()


def status(
    connection: Connection, search_id: int, mode: Literal["max", "min"]
) -> Sequence[Row[Any]]:
    """One row a stage, in order: trials by state, epochs that were trained, and the best value."""
    extreme = func.max if mode == "max" else func.min
    states = ("waiting", "running", "complete", "pruned", "failed")
    counts = (func.count().filter(TrialRow.state == state).label(state) for state in states)
    query: Select[*tuple[Any, ...]] = (
        select(
            StageRow.name,
            StageRow.kind,
            StageRow.state,
            StageRow.epochs,
            func.count(TrialRow.id).label("trials"),
            *counts,
            func.coalesce(func.sum(TrialRow.epochs - TrialRow.start_epoch), 0).label("trained"),
            extreme(TrialRow.value).filter(_RANKED).label("best"),
        )
        .outerjoin(TrialRow, TrialRow.stage_id == StageRow.id)
        .where(StageRow.search_id == search_id)
        .group_by(StageRow.id)
        .order_by(StageRow.position)
    )
    return connection.execute(query).all()


def widths(connection: Connection) -> Sequence[Row[Any]]:
    """What was measured of each kind, device and width.

    The best takes the least time a row, the wider of equals: as the coordinator chooses. What found
    no memory has no time.
    """
    seconds_per_row = SpeedRow.seconds / SpeedRow.width
    fits = SpeedRow.seconds < sys.float_info.max
    place = func.row_number().over(
        partition_by=(SpeedRow.kind, SpeedRow.device),
        order_by=(seconds_per_row, SpeedRow.width.desc()),
    )
    query: Select[*tuple[Any, ...]] = select(
        SpeedRow.kind,
        SpeedRow.device,
        SpeedRow.width,
        case((fits, SpeedRow.seconds)).label("seconds"),
        case((fits, seconds_per_row)).label("seconds_per_row"),
        SpeedRow.bytes,
        ((place == 1) & fits).label("best"),
        SpeedRow.measured_at,
    )
    order = (SpeedRow.kind, SpeedRow.device, SpeedRow.width)
    return connection.execute(query.order_by(*order)).all()


def _as_read(column: Any, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """As the driver has it: whole columns are converted in one go."""
    return type_coerce(column, kind).label(column.key)


def _trials(
    chosen: ColumnElement[bool], read: Callable[[Any, TypeEngine[Any]], Any]
) -> Select[*tuple[Any, ...]]:
    return (
        select(
            TrialRow.number,
            TrialRow.id.label("trial"),
            StageRow.name.label("stage"),
            TrialRow.branch,
            TrialRow.state,
            read(TrialRow.value, Double()),
            read(TrialRow.spread, Double()),
            TrialRow.best_epoch,
            TrialRow.epochs,
            TrialRow.seed,
            TrialRow.replicate,
            read(TrialRow.seconds, Double()),
            TrialRow.failure_kind,
            TrialRow.failure_message,
            TrialRow.parent_id.label("parent"),
            read(TrialRow.created_at, Text()),
            read(TrialRow.finished_at, Text()),
            TrialRow.worker,
            cast(TrialRow.params, Text).label("params"),  # for codec.decode_all
            TrialRow.started_at,
        )
        .join(StageRow, StageRow.id == TrialRow.stage_id)
        .where(chosen)
    )


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

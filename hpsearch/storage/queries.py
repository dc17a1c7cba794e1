"""Questions that people ask, as SELECTs: the best trials, all trials, findings, searches.

Called by ``hpsearch.analysis.frames``, whose columns are the labels of the rows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Double,
    Row,
    ScalarSelect,
    Select,
    Text,
    UnaryExpression,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    select,
    true,
    type_coerce,
)
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from hpsearch.storage.curves import listed
from hpsearch.storage.records import DATA_READ
from hpsearch.storage.tables import (
    DiagnosisRow,
    EventRow,
    SearchRow,
    SpeedRow,
    StageRow,
    TrialRow,
)


def _ranked(trial: Any) -> tuple[ColumnElement[bool], ...]:
    """Complete with a value. NaN is not NULL in the tables, and has no place in an order."""
    return trial.state == "complete", trial.value.is_not(None), trial.value != math.nan


_RANKED = and_(*_ranked(TrialRow))

# Of what does not change from one call to the next SQLAlchemy makes statements once: it takes
# longer at them than the database does at the best of a million trials.
_OTHER = aliased(TrialRow)
_OF_IT = _OTHER.parent_id == TrialRow.id
_SUPERSEDED = exists().where(_OF_IT, _OTHER.start_epoch > 0)
_REPEATED = exists().where(_OF_IT, _OTHER.replicate > 0, *_ranked(_OTHER))
_SINGLE = and_(TrialRow.replicate == 0, _RANKED, ~_SUPERSEDED, ~_REPEATED)


def has_value(connection: Connection, search_id: int) -> bool:
    """Whether a trial came to an end with a value, or there is none that could."""
    of_search = TrialRow.search_id == search_id
    some, ranked = exists().where(of_search), exists().where(of_search, _RANKED)
    return bool(connection.scalar(select(ranked | ~some)))


def trials(
    connection: Connection, chosen: ColumnElement[bool], after: int = -1, most: int | None = None
) -> Sequence[Row[Any]]:
    """The trials that ``chosen`` is true of, by number: at most ``most`` beyond ``after``."""
    query = trials_query(chosen, as_read).where(TrialRow.number > after).order_by(TrialRow.number)
    return connection.execute(query.limit(most)).all()


def best(
    connection: Connection, chosen: ColumnElement[bool], mode: Literal["max", "min"], n: int
) -> Sequence[Row[Any]]:
    """The ``n`` best complete trials that were not repeated, best first, ties by number.

    Neither those that another one continues, nor repeats. Walks the index over (search, value) from
    its good end, so it reads little more than ``n`` trials.
    """
    order = TrialRow.value.desc() if mode == "max" else TrialRow.value.asc()
    query = trials_query(chosen, as_read).where(_SINGLE).order_by(order, TrialRow.number)
    return connection.execute(query.limit(n)).all()


def confirmed(
    connection: Connection, search_id: int, chosen: ColumnElement[bool]
) -> list[tuple[Row[Any], Row[Any]]]:
    """Trials that were repeated, by number, each with what its repeats have: mean, variance, n.

    The variance, of a sample, is NULL where n is 1. Reads confirm stages and these trials alone.
    """
    found = connection.execute(_repeats(), {"search": search_id})
    of_trial = {row.parent_id: row for row in found}
    if not of_trial:
        return []
    repeated = TrialRow.id.in_(listed(connection, list(of_trial)))
    query = trials_query(and_(chosen, repeated), as_read).order_by(TrialRow.number)
    rows = connection.execute(query).all()
    return [(row, of_trial[row.trial]) for row in rows]


@cache
def _repeats() -> Select[*tuple[Any, ...]]:
    """Of ``search``: what each trial that was repeated came to."""
    of = _repeats_of(StageRow.search_id == bindparam("search")).c
    mean = _means(of)
    away = of.value - mean.c.mean
    variance = func.sum(away * away) / func.nullif(func.count() - 1, 0)
    return (
        select(of.parent_id, mean.c.mean, variance.label("variance"), func.count().label("n"))
        .join(mean, mean.c.parent_id == of.parent_id)
        .group_by(of.parent_id, mean.c.mean)
    )


def _repeats_of(searches: ColumnElement[bool]) -> CTE:
    """The repeats with a value in the confirm stages of ``searches``: search, parent, value."""
    stages = select(StageRow.id).where(searches, StageRow.kind == "confirm")
    return (
        select(TrialRow.search_id, TrialRow.parent_id, TrialRow.value)
        .where(TrialRow.stage_id.in_(stages), TrialRow.replicate > 0, *_ranked(TrialRow))
        .cte("repeats")
    )


def _means(repeats: Any) -> CTE:
    """The mean of each trial that was repeated."""
    average = func.avg(repeats.value).label("mean")
    by_trial = repeats.search_id, repeats.parent_id
    return select(*by_trial, average).group_by(*by_trial).cte("means")


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


def events(connection: Connection, search_id: int) -> Sequence[Row[Any]]:
    """The log of a search, oldest first."""
    return connection.execute(
        select(EventRow.id.label("event"), EventRow.kind, EventRow.data, EventRow.created_at)
        .where(EventRow.search_id == search_id)
        .order_by(EventRow.id)
    ).all()


def data_read(connection: Connection, search_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What is noted of the data that each search began with; nothing of those that read none."""
    rows = connection.execute(
        select(EventRow.search_id, EventRow.data)
        .where(EventRow.search_id.in_(search_ids), EventRow.kind == DATA_READ)
        .order_by(EventRow.id.desc())
    )
    return {search_id: data for search_id, data in rows}


def spent(connection: Connection, search_ids: Sequence[int]) -> Sequence[Row[Any]]:
    """What each search spent: its trials, how they ended, the epochs and seconds they trained."""
    states = ("complete", "pruned", "failed")
    query: Select[*tuple[Any, ...]] = (
        select(
            SearchRow.id.label("search"),
            func.count(TrialRow.id).label("trials"),
            *(func.count().filter(TrialRow.state == state).label(state) for state in states),
            func.coalesce(func.sum(TrialRow.epochs - TrialRow.start_epoch), 0).label("trained"),
            func.coalesce(func.sum(TrialRow.seconds), 0.0).label("seconds"),
        )
        .outerjoin(TrialRow, TrialRow.search_id == SearchRow.id)
        .where(SearchRow.id.in_(search_ids))
        .group_by(SearchRow.id)
    )
    return connection.execute(query).all()


def drawn(connection: Connection, chosen: ColumnElement[bool]) -> Sequence[float | None]:
    """The values of the trials that were drawn anew and have ended; None of those that failed."""
    ended = TrialRow.state.in_(("complete", "pruned", "failed"))
    is_new = and_(TrialRow.start_epoch == 0, TrialRow.replicate == 0)
    value = case((TrialRow.state != "failed", TrialRow.value))
    return connection.scalars(select(value).where(chosen, ended, is_new)).all()


def searches(connection: Connection) -> Sequence[Row[Any]]:
    """All searches, oldest first, with the counts of their trials and the values that rank.

    ``lowest`` and ``highest`` are the ends of what :func:`confirmed` gives, or, where nothing was
    repeated, of what :func:`best` does, each found through its index.
    """
    return connection.execute(_searches()).all()


@cache
def _searches() -> Select[*tuple[Any, ...]]:
    states = ("complete", "pruned", "failed")
    count = (
        select(
            TrialRow.search_id,
            func.count().label("trials"),
            *(func.count().filter(TrialRow.state == state).label(state) for state in states),
        )
        .group_by(TrialRow.search_id)
        .subquery()
    )
    mean = _means(_repeats_of(true()).c).c
    ends = func.min(mean.mean).label("lowest"), func.max(mean.mean).label("highest")
    over_seeds = select(mean.search_id, *ends).group_by(mean.search_id).subquery()
    lowest, highest = _first_single(TrialRow.value.asc()), _first_single(TrialRow.value.desc())
    return (
        select(
            SearchRow.__table__,
            count,
            func.coalesce(over_seeds.c.lowest, lowest).label("lowest"),
            func.coalesce(over_seeds.c.highest, highest).label("highest"),
        )
        .outerjoin_from(SearchRow, count, count.c.search_id == SearchRow.id)
        .outerjoin(over_seeds, over_seeds.c.search_id == SearchRow.id)
        .order_by(SearchRow.id)
    )


def _first_single(order: UnaryExpression[Any]) -> ScalarSelect[Any]:
    """The value of the first of a search's trials that :func:`best` gives."""
    of_search = TrialRow.search_id == SearchRow.id
    query = select(TrialRow.value).where(of_search, _SINGLE).order_by(order).limit(1)
    return query.correlate(SearchRow).scalar_subquery()


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


def as_read(column: Any, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """As the driver has it: whole columns are converted in one go."""
    return type_coerce(column, kind).label(column.key)


def trials_query(
    chosen: ColumnElement[bool], read: Callable[[Any, TypeEngine[Any]], Any]
) -> Select[*tuple[Any, ...]]:
    """The trials that ``chosen`` is true of; ``read`` makes of a column what is selected."""
    return _columns(read).where(chosen)


@cache
def _columns(read: Callable[[Any, TypeEngine[Any]], Any]) -> Select[*tuple[Any, ...]]:
    return select(
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
        read(TrialRow.started_at, Text()),
    ).join(StageRow, StageRow.id == TrialRow.stage_id)

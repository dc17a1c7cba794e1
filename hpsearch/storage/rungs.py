"""What pruners decide on, the curves of trials, and what they decided, as rows.

Called by ``hpsearch.storage.repository`` inside its transactions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select
from sqlalchemy.orm import InstrumentedAttribute

from hpsearch.storage.events import add_event
from hpsearch.storage.records import RungCommit
from hpsearch.storage.tables import MetricRow, TrialRow
from hpsearch.storage.trials import update_trials
from workers.metrics import column_of


def decide_rung(
    connection: Connection, search_id: int, decision: RungCommit, now: datetime
) -> None:
    """End the pruned trials; give the kept ones their group and the epoch of their next rung."""
    kept = decision.kept
    goes_on: dict[str, Sequence[Any]] = {
        "state": ["waiting"] * len(kept),
        "group": [group for group, _ in kept.values()],
        "until_epoch": [epoch for _, epoch in kept.values()],
    }
    end_trials(connection, search_id, decision.pruned, "pruned", now)
    update_trials(connection, search_id, list(kept), goes_on)
    add_event(connection, search_id, "rung", decision.data, now)


def end_trials(
    connection: Connection,
    search_id: int,
    trial_ids: Sequence[int],
    state: Literal["pruned", "complete"],
    now: datetime,
) -> None:
    """End trials before their last epoch: pruned, or complete with what they have."""
    ends: dict[str, Sequence[Any]] = {
        "state": [state] * len(trial_ids),
        "finished_at": [now] * len(trial_ids),
        "stopped_early": [state == "complete"] * len(trial_ids),
    }
    update_trials(connection, search_id, trial_ids, ends)


def curves(connection: Connection, search_id: int, metric: str) -> dict[int, dict[int, float]]:
    """The objective ``metric`` of each trial after each of its own epochs that has it."""
    return _by_trial(connection, search_id, getattr(MetricRow, column_of(metric)))


def fold_curves(connection: Connection, search_id: int) -> dict[int, dict[int, tuple[float, ...]]]:
    """The objective in each fold, of each trial after each of its own epochs that has it."""
    return _by_trial(connection, search_id, MetricRow.by_fold)


def _by_trial(
    connection: Connection, search_id: int, column: InstrumentedAttribute[Any]
) -> dict[int, dict[int, Any]]:
    rows = connection.execute(
        select(MetricRow.trial_id, MetricRow.epoch, column)
        .join(TrialRow, TrialRow.id == MetricRow.trial_id)
        .where(TrialRow.search_id == search_id, column.is_not(None))
        .order_by(MetricRow.trial_id, MetricRow.epoch)
    )
    found: defaultdict[int, dict[int, Any]] = defaultdict(dict)
    for trial_id, epoch, value in rows:
        found[trial_id][epoch] = value
    return dict(found)

"""Frames: what is stored of searches, as pandas DataFrames.

``hpsearch.connect`` gives one to notebooks; the CLI prints the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from hpsearch.analysis.collection import no_collection
from hpsearch.analysis.columns import dtype_of, to_frame, to_lists, to_series
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice, Definition, Space
from hpsearch.storage import codec, queries, trials
from hpsearch.storage.records import StageRecord
from hpsearch.storage.reports import METRIC_COLUMNS, OTHERS
from hpsearch.storage.repository import Repository
from workers.metrics import PER_FOLD, PER_LAYER, VALUE

TIME = "datetime64[us, UTC]"
LISTS = (*PER_LAYER, *PER_FOLD)
TRIALS = {
    "number": "Int64",
    "trial": "Int64",
    "stage": "category",
    "branch": "category",
    "state": "category",
    "value": "float64",
    "spread": "float64",
    "best_epoch": "Int64",
    "epochs": "Int64",
    "seed": "Int64",
    "replicate": "Int64",
    "seconds": "float64",
    "failure_kind": "category",
    "failure_message": "string",
    "parent": "Int64",
    "created_at": TIME,
    "finished_at": TIME,
    "worker": "string",
}
CURVES = {
    "number": "Int64",
    "trial": "Int64",
    "epoch": "Int64",
    **dict.fromkeys((name for name in METRIC_COLUMNS if name != OTHERS), "float64"),
    **dict.fromkeys(LISTS, "object"),
}
STAGES = {
    "stage": "category",
    "kind": "category",
    "branch": "category",
    "parameter": "string",
    "low": "float64",
    "high": "float64",
    "choices": "object",
    "action": "string",
    "reason": "string",
    "trials": "Int64",
    "epochs": "Int64",
    "sampler": "category",
    "pruner": "category",
}
DIAGNOSES = {
    "number": "Int64",
    "kind": "category",
    "message": "string",
    "trial": "Int64",
    "stage": "category",
    "evidence": "object",
    "created_at": TIME,
}
SEARCHES = {
    "search": "Int64",
    "name": "string",
    "state": "category",
    "metric": "string",
    "mode": "category",
    "best": "float64",
    "trials": "Int64",
    "complete": "Int64",
    "pruned": "Int64",
    "failed": "Int64",
    "seed": "Int64",
    "hpsearch_version": "string",
    "git_commit": "string",
    "host": "string",
    "user": "string",
    "created_at": TIME,
    "finished_at": TIME,
    "message": "string",
}
STATUS = {
    "stage": "string",
    "kind": "category",
    "state": "category",
    "epochs": "Int64",
    "trials": "Int64",
    "waiting": "Int64",
    "running": "Int64",
    "complete": "Int64",
    "pruned": "Int64",
    "failed": "Int64",
    "trained": "Int64",
    "best": "float64",
}
WIDTHS = {
    "kind": "category",
    "device": "category",
    "width": "Int64",
    "seconds": "float64",
    "seconds_per_row": "float64",
    "bytes": "Int64",
    "best": "boolean",
    "measured_at": TIME,
}
SearchRef = str | int  # a name or an id, as in Repository.find_search


class Frames:
    """The tables of a database. A search is given by its id, or by name: the newest of that name.

    The columns and dtypes of a frame do not depend on how many rows it has. StorageError is raised
    for a search that does not exist and for a database that cannot be read.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def best(self, search: SearchRef, n: int = 10) -> pd.DataFrame:
        """The ``n`` best complete trials, best first, ties by number; columns as in :meth:`trials`.

        A trial that another one continues is left out, and so is one whose value is NaN.
        """
        if n < 0:
            raise ValueError(f"n must be >= 0, but got {n}")
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            rows = queries.best(connection, record.id, record.spec.objective.mode, n)
        return _trials_frame(record.spec.space, rows)

    def trials(self, search: SearchRef) -> pd.DataFrame:
        """One row a trial, by number, with a column for each parameter by its own name."""
        record = self.repository.find_search(search)
        with no_collection(), self.repository.database.read() as connection:
            rows = queries.trials(connection, record.id)
            return _trials_frame(record.spec.space, rows)

    def curves(self, search: SearchRef) -> pd.DataFrame:
        """One row per trial and epoch: the metrics, the user's own last, and the epoch's seconds.

        What training did not report is NaN; what it reports of each layer or fold is a list, or
        None. A trial that continues another one has the epochs of that one too, under its own id.
        """
        record = self.repository.find_search(search)
        with no_collection(), self.repository.database.read() as connection:
            rows = queries.curves(connection, record.id)
            frame = to_frame(rows, CURVES)
            lists = {name: to_lists(frame[name]) for name in LISTS}
            return frame.assign(**lists, **_own_metrics(record.spec, frame, rows))

    def stages(self, search: SearchRef) -> pd.DataFrame:
        """One row per stage, branch and parameter: its range, and why it is so.

        What was decided about a branch as a whole has a row without parameter. ``pruner`` is the
        name of the stage's, NA where it has none.
        """
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            opened = trials.stages(connection, record.id)
        rows = [
            (*row, None if pruner is None else pruner.name)
            for stage in opened
            for pruner in [record.spec.stages[stage.planned].pruner]
            for row in _stage_rows(stage)
        ]
        return to_frame(rows, STAGES)

    def status(self, search: SearchRef) -> pd.DataFrame:
        """One row a stage that was opened: its trials by state, and its best value.

        ``epochs`` is what each trial is to be trained, ``trained`` what all were so far.
        A stage that has not ended is stopped while nobody carries the search out.
        """
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            rows = queries.status(connection, record.id, record.spec.objective.mode)
        frame = to_frame(rows, STATUS)
        if record.state == "running":
            return frame
        return frame.assign(state=frame["state"].cat.rename_categories({"running": "stopped"}))

    def diagnoses(self, search: SearchRef) -> pd.DataFrame:
        """One row a finding, with the number of the trial that it is about, and its id.

        Both are NA where it is about a stage, and the stage too where it is about the search.
        """
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            rows = queries.diagnoses(connection, record.id)
        return to_frame(rows, DIAGNOSES)

    def searches(self) -> pd.DataFrame:
        """One row a search, oldest first; ``best`` is the best value of its complete trials."""
        with self.repository.database.read() as connection:
            rows = queries.searches(connection)
        return to_frame([_search_row(row) for row in rows], SEARCHES)

    def sql(self, query: str) -> pd.DataFrame:
        """What a SELECT of your own gives; docs/analysis.md has the views and tables.

        Nothing can be changed by it. Raises StorageError for one that the database refuses.
        """
        names, rows = self.repository.database.query(query)
        return pd.DataFrame(rows, columns=names)

    def widths(self) -> pd.DataFrame:
        """One row per kind of group, device and width that was measured, in any search.

        ``seconds`` is what a step of ``width`` rows together took, ``bytes`` the memory beyond the
        rows' own; the ``best`` width of a kind on a device has the least ``seconds_per_row``. Where
        a group of so many rows found no memory, there are no seconds.
        """
        with self.repository.database.read() as connection:
            return to_frame(queries.widths(connection), WIDTHS)


def _own_metrics(
    spec: Search, frame: pd.DataFrame, rows: Sequence[Any]
) -> dict[str, pd.Series[float]]:
    """Those of the user's own by name: the objective is among the ``value`` of ``frame``."""
    if not spec.metrics:
        return {}
    others = [one or {} for one in codec.decode_all(row.others for row in rows)]
    return {
        name: frame[VALUE]
        if name == spec.objective.metric
        else to_series([one.get(name) for one in others], "float64")
        for name in spec.metrics
    }


def _trials_frame(space: Space, rows: Sequence[Any]) -> pd.DataFrame:
    frame = to_frame(rows, TRIALS)
    params: Sequence[Mapping[str, Any]] = codec.decode_all(row.params for row in rows)
    columns = {
        name: to_series([values.get(name) for values in params], dtype_of(parameter))
        for name, parameter in space.parameters.items()
    }
    return pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis="columns")


def _stage_rows(stage: StageRecord) -> Iterator[tuple[Any, ...]]:
    reasons: dict[tuple[str, str | None], tuple[str | None, str | None]] = {}
    for reason in stage.reasons:  # a parameter may have several, e.g. narrowed and extended
        action, text = reasons.get((reason.branch, reason.parameter), (None, None))
        joined = (_join(", ", action, reason.action), _join("; ", text, reason.text))
        reasons[reason.branch, reason.parameter] = joined
    for branch in stage.branches:
        for name, parameter in branch.parameters.items():
            why = reasons.pop((branch.key, name), (None, None))
            yield _stage_row(stage, branch.key, name, _range(parameter), why, branch.trials)
        if not branch.parameters or (branch.key, None) in reasons:
            why = reasons.pop((branch.key, None), (None, None))
            yield _stage_row(stage, branch.key, None, _NO_RANGE, why, branch.trials)
    for (key, parameter_name), why in reasons.items():  # of dropped branches
        yield _stage_row(stage, key, parameter_name, _NO_RANGE, why, 0)
    if not stage.branches and not stage.reasons:
        yield _stage_row(stage, None, None, _NO_RANGE, (None, None), 0)


_NO_RANGE = (None, None, None)


def _stage_row(
    stage: StageRecord,
    branch: str | None,
    parameter: str | None,
    limits: tuple[Any, Any, Any],
    why: tuple[str | None, str | None],
    num_trials: int,
) -> tuple[Any, ...]:
    place = (stage.name, stage.kind, branch, parameter)
    sampler = None if stage.kind == "check" else stage.sampler  # it trains and samples nothing
    return (*place, *limits, *why, num_trials, stage.epochs, sampler)


def _range(parameter: Definition) -> tuple[Any, Any, Any]:
    if isinstance(parameter, Choice):
        return None, None, parameter.choices
    return parameter.low, parameter.high, None


def _join(separator: str, *texts: str | None) -> str:
    return separator.join(text for text in texts if text)


def _search_row(row: Any) -> tuple[Any, ...]:
    objective = row.spec["objective"]
    best = row.highest if objective["mode"] == "max" else row.lowest
    counts = (row.trials or 0, row.complete or 0, row.pruned or 0, row.failed or 0)
    made = (row.hpsearch_version, row.git_commit, row.host, row.user)
    end = (row.created_at, row.finished_at, row.message)
    about = (row.id, row.name, row.state, objective["metric"], objective["mode"], best)
    return (*about, *counts, row.seed, *made, *end)

"""Reading: all that a report shows of a search, read once; what its sections are made from.

Nothing here is drawn; trials are sampled where there are more than a plot can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hpsearch.analysis.diagnosis import tables
from hpsearch.report.panel import OTHERS, PALETTE, Axis
from hpsearch.report.values import value_axis
from hpsearch.spec.space import Range
from workers.metrics import column_of

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef
    from hpsearch.storage.records import SearchRecord

KEPT_BEST = 300  # of a sample, those of the best trials, and as many that failed
OTHER_BRANCHES = "other branches"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A search as its tables have it.

    ``trials`` are those of ``Frames.trials`` with ``own_epochs``, which leaves out what a trial
    took over from the one that it continues, ``is_infeasible`` (it failed, or its value is no
    number) and ``ranks`` (it has a value, and is no repeat with another seed).
    """

    frames: Frames
    record: SearchRecord
    trials: pd.DataFrame
    curves: pd.DataFrame
    stages: pd.DataFrame
    status: pd.DataFrame
    findings: pd.DataFrame

    @property
    def metric(self) -> str:
        return self.record.spec.objective.metric

    @property
    def is_max(self) -> bool:
        return self.record.spec.objective.mode == "max"

    @property
    def column(self) -> str:
        """The column of the curves that holds the objective."""
        own = self.metric in self.curves.columns
        return self.metric if own else column_of(self.metric)

    @property
    def ranked(self) -> pd.DataFrame:
        """The trials that have a value, best first; no repeats."""
        found = self.trials[self.trials["ranks"]]
        return found.sort_values(["value", "number"], ascending=[not self.is_max, True])

    @property
    def infeasible(self) -> pd.DataFrame:
        """The trials that came to no value."""
        return self.trials[self.trials["is_infeasible"]]

    def ranges(self) -> dict[str, bool]:
        """The numeric parameters, and whether each is searched on a log scale."""
        return {
            name: found.is_log
            for name, parameter in self.record.spec.space.parameters.items()
            for found in parameter.definitions[:1]
            if isinstance(found, Range)
        }

    def colors(self) -> dict[str, str]:
        """The branches by their best trial, and the colour of each; the many share one."""
        order = self.ranked["branch"].astype(str).unique()
        names = [*order, *sorted(set(self.trials["branch"].astype(str)) - set(order))]
        return dict(zip(names, [*PALETTE, *[OTHERS] * len(names)], strict=False))

    def value_axis(self, values: Sequence[float]) -> Axis:
        """The objective's axis for these values."""
        return value_axis(self.metric, values, is_max=self.is_max)

    def by_color(self, trials: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
        """(name, colour, trials) of each branch that has a colour of its own, and of the others."""
        colors = self.colors()
        branches = trials["branch"].astype(str)
        parts = [(n, c, trials[branches == n]) for n, c in colors.items() if c != OTHERS]
        others = trials[branches.map(colors) == OTHERS]
        parts = [(short(name), color, own) for name, color, own in parts]
        return [part for part in (*parts, (OTHER_BRANCHES, OTHERS, others)) if len(part[2])]


def read(frames: Frames, search: SearchRef) -> Reading:
    """All of ``search``. Raises StorageError if there is no such search."""
    record = frames.repository.find_search(search)
    return Reading(
        frames=frames,
        record=record,
        trials=_trials(frames, record),
        curves=frames.curves(record.id),
        stages=frames.stages(record.id),
        status=frames.status(record.id),
        findings=tables.findings(frames, record.id),
    )


def _trials(frames: Frames, record: SearchRecord) -> pd.DataFrame:
    trials = frames.trials(record.id)
    starts = {t.number: t.start_epoch for t in frames.repository.load(record.id)[1]}
    has_value = np.isfinite(trials["value"].to_numpy())
    state = trials["state"].astype(str)
    is_infeasible = (state == "failed") | ((state == "complete") & ~has_value)
    return trials.assign(
        own_epochs=trials["epochs"] - trials["number"].map(starts),
        is_infeasible=is_infeasible,
        ranks=state.isin(["complete", "pruned"]) & has_value & (trials["replicate"] == 0),
    )


def short(branch: str) -> str:
    """The values alone of a branch of one choice: adam for optimizer=adam."""
    return branch.partition("=")[2] if branch.count("=") == 1 else branch


def sampled(trials: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most ``most`` of the trials, the first ``KEPT_BEST`` among them; always the same."""
    if len(trials) <= most:
        return trials
    best = trials.iloc[: min(KEPT_BEST, most)]
    rest = trials.iloc[len(best) :]
    chosen = np.random.default_rng(0).choice(len(rest), most - len(best), replace=False)
    return pd.concat([best, rest.iloc[np.sort(chosen)]])

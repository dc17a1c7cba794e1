"""Reading: all that a report shows of a search, read once; what its sections are made from.

Nothing here is drawn; trials are sampled where there are more than a plot can show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpsearch.analysis.diagnosis import tables
from hpsearch.report.curves import chosen, drawn
from hpsearch.report.panel import OTHERS, PALETTE, Axis
from hpsearch.report.values import plain, value_axis
from hpsearch.spec.space import Range
from workers.metrics import column_of

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef
    from hpsearch.storage.records import SearchRecord, StageRecord, TrialRecord

MOST_BEST = 10  # that are shown
KEPT_BEST = 300  # of a sample, those of the best trials, and as many that failed
OTHER_BRANCHES = "other branches"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A search as its tables have it.

    ``best`` are the MOST_BEST of ``Frames.best``, the first of which is the one to take.
    ``trials`` are those of ``Frames.trials`` with ``own_epochs``, which leaves out what a trial
    took over from the one that it continues, ``is_infeasible`` (it failed, or its value is no
    number) and ``ranks`` (it ended with a value, or has one while none ended, and is no repeat with
    another seed). ``ranked`` are those
    that rank, best first, and ``infeasible`` those that are. ``colors`` are of the branches, the
    one with the best trial first; the many share one. Of the parameters ``varied`` are those that
    vary among the trials that ended, and ``constant`` the values of those that do not; one that no
    such trial has is in neither. ``curves`` are of the trials whose
    curves are drawn. ``stored`` is what all of it is made of.
    """

    frames: Frames
    record: SearchRecord
    trials: pd.DataFrame
    best: pd.DataFrame
    curves: pd.DataFrame
    stages: pd.DataFrame
    status: pd.DataFrame
    findings: pd.DataFrame
    ranked: pd.DataFrame
    infeasible: pd.DataFrame
    colors: dict[str, str]
    varied: list[str]
    constant: dict[str, Any]
    stored: tuple[list[StageRecord], list[TrialRecord]]

    @property
    def metric(self) -> str:
        return self.record.spec.objective.metric

    @property
    def is_max(self) -> bool:
        return self.record.spec.objective.mode == "max"

    @property
    def column(self) -> str:
        """The column of the curves that holds the objective."""
        return column_of(self.metric)

    def ranges(self) -> dict[str, bool]:
        """The numeric parameters, and whether each is searched on a log scale."""
        return {
            name: found.is_log
            for name, parameter in self.record.spec.space.parameters.items()
            for found in parameter.definitions[:1]
            if isinstance(found, Range)
        }

    def axis(self, name: str, limits: tuple[float, float] | None = None) -> Axis:
        """That of a numeric parameter."""
        first = self.record.spec.space.parameters[name].definitions[0]
        is_int = isinstance(first, Range) and first.is_int
        return Axis(title=name, is_log=self.ranges()[name], is_int=is_int, limits=limits)

    def value_axis(self, values: Sequence[float]) -> Axis:
        """The objective's axis for these values."""
        return value_axis(self.metric, values, is_max=self.is_max)

    def by_color(self, trials: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
        """(name, colour, trials) of each branch that has a colour of its own, and of the others."""
        branches = trials["branch"].astype(str)
        parts = [(n, c, trials[branches == n]) for n, c in self.colors.items() if c != OTHERS]
        others = trials[branches.map(self.colors) == OTHERS]
        parts = [(short(name), color, own) for name, color, own in parts]
        return [part for part in (*parts, (OTHER_BRANCHES, OTHERS, others)) if len(part[2])]


def read(frames: Frames, search: SearchRef) -> Reading:
    """All of ``search``. Raises StorageError if there is no such search."""
    record = frames.repository.find_search(search)
    stored = frames.repository.load(record.id)
    trials = _trials(frames.trials(record.id), stored[1])
    is_max = record.spec.objective.mode == "max"
    ranked = trials[trials["ranks"]].sort_values(["value", "number"], ascending=[not is_max, True])
    varied, constant = _parted(trials, record.spec.space.parameters)
    return Reading(
        frames=frames,
        record=record,
        trials=trials,
        best=frames.best(record.id, n=MOST_BEST),
        curves=_curves(frames, record, ranked, trials),
        stages=frames.stages(record.id),
        status=frames.status(record.id),
        findings=tables.findings(frames, record.id),
        ranked=ranked,
        infeasible=trials[trials["is_infeasible"]],
        colors=_colors(ranked, trials),
        varied=varied,
        constant=constant,
        stored=stored,
    )


def _curves(
    frames: Frames, record: SearchRecord, ranked: pd.DataFrame, trials: pd.DataFrame
) -> pd.DataFrame:
    """The curves that are drawn, and of these what is."""
    numbers = [number for some in chosen(ranked, trials) for number in some]
    wanted = f"number IN ({', '.join(map(str, numbers)) or -1})"
    columns = drawn(column_of(record.spec.objective.metric))
    return frames.curves(record.id, columns=columns, where=wanted)


def _trials(trials: pd.DataFrame, stored: Sequence[TrialRecord]) -> pd.DataFrame:
    starts = {trial.number: trial.start_epoch for trial in stored}
    has_value = np.isfinite(trials["value"].to_numpy())
    state = trials["state"].astype(str)
    is_infeasible = (state == "failed") | ((state == "complete") & ~has_value)
    return trials.assign(
        own_epochs=trials["epochs"] - trials["number"].map(starts),
        is_infeasible=is_infeasible,
        ranks=_ranks(state) & has_value & (trials["replicate"] == 0),
    )


def _ranks(state: pd.Series[str]) -> pd.Series[bool]:
    """Trials that ended; while none has, those that were begun, by what they have come to."""
    ended = state.isin(["complete", "pruned"])
    return ended if ended.any() else state.isin(["running", "waiting"])


def _parted(trials: pd.DataFrame, names: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    ended = trials[trials["ranks"] | trials["is_infeasible"]]
    varied: list[str] = []
    constant: dict[str, Any] = {}
    for name in names:
        values = plain(ended[name].dropna())
        if values and len({(isinstance(value, bool), value) for value in values}) == 1:
            constant[name] = values[0]
        elif values:
            varied.append(name)
    return varied, constant


def _colors(ranked: pd.DataFrame, trials: pd.DataFrame) -> dict[str, str]:
    order = ranked["branch"].astype(str).unique()
    names = [*order, *sorted(set(trials["branch"].astype(str)) - set(order))]
    return dict(zip(names, [*PALETTE, *[OTHERS] * len(names)], strict=False))


def short(branch: str) -> str:
    """The word alone of a branch of one choice: adam for optimizer=adam, but batch_size=32."""
    word = branch.partition("=")[2]
    is_word = word.isidentifier() and word.lower() not in ("true", "false", "none")
    return word if branch.count("=") == 1 and is_word else branch


def sampled(trials: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most ``most`` of the trials, the first ``KEPT_BEST`` among them; always the same."""
    if len(trials) <= most:
        return trials
    best = trials.iloc[: min(KEPT_BEST, most)]
    rest = trials.iloc[len(best) :]
    chosen = np.random.default_rng(0).choice(len(rest), most - len(best), replace=False)
    return pd.concat([best, rest.iloc[np.sort(chosen)]])

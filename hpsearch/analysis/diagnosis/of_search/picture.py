"""``Picture``: a whole search, read once, as every rule of this package looks at it.

Made by ``hpsearch.analysis.diagnosis.searching``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hpsearch.analysis.diagnosis.curve import BEHIND, LEAST_BEHIND, Curve
from hpsearch.analysis.diagnosis.finding import Finding
from hpsearch.analysis.observing import explored, new_ones
from hpsearch.spec.search import Search
from hpsearch.spec.space import Branch
from hpsearch.storage.records import NewDiagnosis, SearchRecord, StageRecord, TrialRecord
from workers.metrics import OBJECTIVES

BEST = 10  # trials that stand for "the best" where their curves are looked at
GAP = 0.2  # of the way from the best to the median, where nobody knows how good a value can be


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """The stages by position and the trials by number, with the curve and the findings of each.

    ``curves`` and ``findings`` are by trial id; a trial without an epoch has none.
    """

    search: SearchRecord
    stages: Sequence[StageRecord]
    trials: Sequence[TrialRecord]
    curves: Mapping[int, Curve] = field(default_factory=dict)
    findings: Mapping[int, Sequence[Finding]] = field(default_factory=dict)

    @property
    def spec(self) -> Search:
        return self.search.spec

    @property
    def planned(self) -> list[int]:
        """The spec's stages that looked for something and were opened, in order."""
        return sorted({stage.planned for stage in self.stages if stage.kind == "search"})

    def stages_of(self, planned: int) -> list[StageRecord]:
        """The stage that carries out the spec's stage ``planned``, and its expand stages."""
        return [stage for stage in self.stages if stage.planned == planned]

    def of(self, planned: int) -> list[TrialRecord]:
        """The trials of a stage and its expand stages, by number."""
        ids = {stage.id for stage in self.stages_of(planned)}
        return [trial for trial in self.trials if trial.stage_id in ids]

    def tried(self, planned: int) -> list[TrialRecord]:
        """Those of them that tried something new."""
        of = {trial.id for trial in self.of(planned)}
        return [trial for trial in new_ones(self.stages, self.trials) if trial.id in of]

    def explored(self, planned: int) -> tuple[Branch, ...]:
        """The ranges that a stage has covered, its expand stages included."""
        return explored(self.stages_of(planned))

    def last(self) -> Sequence[TrialRecord]:
        """The complete trials of the last stage that looked for something, best first."""
        return self.ranked(self.of(self.planned[-1])) if self.planned else []

    def ranked(self, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
        """The complete ones with a value that ranks, best first, ties by number."""
        sign = -1.0 if self.spec.objective.mode == "max" else 1.0
        known = [(sign * v, t.number, t) for t in trials if (v := _value(t)) is not None]
        return [trial for *_, trial in sorted(known, key=lambda one: one[:2])]

    def gain(self, before: float, after: float) -> float:
        """How much better the objective is after than before."""
        return after - before if self.spec.objective.mode == "max" else before - after

    def is_good(self, ranked: Sequence[TrialRecord]) -> Callable[[TrialRecord], bool]:
        """Whether a trial comes near the best of ``ranked``: it has less than twice its error.

        The error is 1 - value for scores, the value itself for losses. Of an objective that is none
        of ours nobody knows how good it can be: then, by a fifth of the way to the median.
        """
        values = [trial.value or 0.0 for trial in ranked]
        best = values[0]
        if self.spec.objective.metric not in OBJECTIVES:
            margin = GAP * abs(statistics.median(values) - best)
        elif self.spec.objective.mode == "max":
            margin = max((BEHIND - 1) * (1 - best), LEAST_BEHIND)
        else:
            margin = (BEHIND - 1) * abs(best)
        return lambda trial: self.gain(trial.value or 0.0, best) <= margin

    def name(self, planned: int) -> str:
        """What the spec calls the stage."""
        return self.spec.stages[planned].name


Rule = Callable[[Picture], Iterator[NewDiagnosis]]


def _value(trial: TrialRecord) -> float | None:
    """The value of a complete trial, if it is a number."""
    is_number = trial.state == "complete" and trial.value is not None and trial.value == trial.value
    return trial.value if is_number else None

"""Which branches earned to go on, and how promising each is.

Called by the refiner, which drops and allocates by it, and by the border check, which extends no
branch that would be dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.sampling.encoding import holds
from hpsearch.sampling.observations import Mode, Observation, elite_of, ranked
from hpsearch.sampling.ranking import LEAST_JUDGED
from hpsearch.sampling.statistics import absence_p
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Branch

_ELITE_SHARE = 0.1
_ELITE_LEAST = 5
_HOPE = 0.25  # a branch with one trial in this best part is never dropped
DROP_P = 0.01  # what is dropped is dropped for good, so the evidence must be strong


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a branch's ``trials`` rank among the ``total`` of all branches.

    ``among_best`` of them are among the best ``elite``; ``better`` trials of other branches are
    better than its best one.
    """

    trials: int
    among_best: int
    better: int
    elite: int
    total: int

    @property
    def p(self) -> float:
        """The chance that as many are better than its best, were it as good as the others."""
        return absence_p(self.total, self.better, self.trials)

    @property
    def earned(self) -> bool:
        """Whether the branch goes on; one that was judged on too few trials always does."""
        near = self.better < _HOPE * self.total
        return near or self.trials < LEAST_JUDGED or self.p > DROP_P

    @property
    def promise(self) -> float:
        """The share of its trials among the best, drawn by one trial towards the overall share."""
        if not self.elite:
            return 1.0
        return (self.among_best + 1) / (self.trials + self.total / self.elite)


def standings(
    branches: Sequence[Branch], observations: Sequence[Observation], mode: Mode
) -> dict[str, Standing]:
    """The standing of each branch by its key, over all trials within the branches' ranges."""
    by_key = {branch.key: branch for branch in branches}
    inside = [
        one
        for one in ranked(observations, mode)
        if one.branch in by_key and holds(by_key[one.branch], one.params)
    ]
    elite = elite_of(inside, mode, share=_ELITE_SHARE, least=_ELITE_LEAST)
    return {key: _standing(key, inside, len(elite), mode) for key in by_key}


def _standing(key: str, ordered: Sequence[Observation], elite: int, mode: Mode) -> Standing:
    own = [one.score(mode) for one in ordered if one.branch == key]
    return Standing(
        trials=len(own),
        among_best=sum(one.branch == key for one in ordered[:elite]),
        better=sum(one.score(mode) > own[0] for one in ordered) if own else 0,
        elite=elite,
        total=len(ordered),
    )


def dropped_reason(branch: Branch, standing: Standing) -> Reason:
    """Why a branch that has not earned it does not go on."""
    return Reason(
        branch=branch.key,
        parameter=None,
        action="dropped",
        old=branch.trials,
        new=0,
        text=(
            f"{branch.key}: {standing.better} of {standing.total} trials are better than the best "
            f"of its {standing.trials} (p = {standing.p:.2g}): dropped"
        ),
        evidence=evidence_of(standing),
    )


def allocated_reason(branch: Branch, standing: Standing, trials: int) -> Reason:
    """Why a branch that goes on gets as many trials as it does."""
    return Reason(
        branch=branch.key,
        parameter=None,
        action="allocated",
        old=branch.trials,
        new=trials,
        text=(
            f"{branch.key}: {standing.among_best} of the best {standing.elite} of "
            f"{standing.total} trials are among its {standing.trials}: {trials} new trials"
        ),
        evidence=evidence_of(standing),
    )


def evidence_of(standing: Standing) -> dict[str, float]:
    """The numbers of a standing, for a reason."""
    return {
        "trials": standing.trials,
        "among_best": standing.among_best,
        "better": standing.better,
        "best": standing.elite,
        "total": standing.total,
        "p": standing.p,
    }

"""Ranking: one branch's trials, best first, with their places along each parameter.

Built by the refiner and the border check from observations; what their statistics are taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.sampling.encoding import holds
from hpsearch.sampling.observations import Mode, Observation, elite_of, ranked
from hpsearch.spec.space import Branch, Range

LEAST_JUDGED = 10  # trials below which neither a range nor a branch is judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The judged trials within a branch's ranges, best first; the first ``elite`` are the best."""

    branch: Branch
    trials: tuple[Observation, ...]
    elite: int

    def places(self, name: str) -> list[float]:
        """Where each trial lies along a numeric parameter, on the parameter's own scale."""
        parameter = self.branch.parameters[name]
        assert isinstance(parameter, Range)
        return [parameter.scale(trial.params[name]) for trial in self.trials]

    @property
    def diverged(self) -> list[bool]:
        """Of each trial, whether it diverged."""
        return [trial.diverged for trial in self.trials]


def rank_branch(
    branch: Branch, observations: Sequence[Observation], mode: Mode, *, share: float, least: int
) -> Ranking:
    """Rank the branch's own trials that lie within its ranges; see ``elite_of`` for the elite."""
    own = [one for one in observations if one.branch == branch.key and holds(branch, one.params)]
    ordered = ranked(own, mode)
    elite = elite_of(ordered, mode, share=share, least=least)
    return Ranking(branch=branch, trials=tuple(ordered), elite=len(elite))

"""The refiner: from the finished trials of a stage to the branches of the next, with reasons.

Called by the coordinator between stages; a pure function of stored trials and the search's seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpsearch.sampling.allocation import allocate
from hpsearch.sampling.narrowing import narrow_choice, narrow_range
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.ranges import clipped
from hpsearch.sampling.ranking import LEAST_JUDGED, Ranking, rank_branch
from hpsearch.sampling.standing import Standing, allocated_reason, dropped_reason, standings
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Branch, Choice, Definition
from workers.config.domain import Domain

_ELITE_SHARE = 0.15
_ELITE_LEAST = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Refinement:
    """The branches of the next stage, their new trials allocated, and why they are as they are."""

    branches: tuple[Branch, ...]
    reasons: tuple[Reason, ...]


def refine(
    branches: Sequence[Branch],
    observations: Sequence[Observation],
    *,
    mode: Mode,
    total_trials: int,
    seed: int,
    limits: Mapping[str, Domain],
) -> Refinement:
    """Keep the branches that earned it, share ``total_trials`` among them, and narrow each.

    ``branches`` have the ranges that were explored; only observations within them count, and no
    new range leaves them (or the ``limits``). Numeric ranges close in on the best 15 % of their
    branch's trials, at least 5, on the parameter's own scale; parameters along which those are
    spread as by chance stay as they are. Raises ValueError for no branches.
    """
    if not branches:
        raise ValueError("a stage must have at least one branch to refine, but got none")
    standing = standings(branches, observations, mode)
    kept = [branch for branch in branches if standing[branch.key].earned]
    shares = allocate(
        {branch.key: standing[branch.key].promise for branch in kept}, total_trials, LEAST_JUDGED
    )
    reasons = [_branch_reason(one, standing[one.key], shares) for one in branches]
    if len(branches) == 1:
        reasons = []  # the one branch gets everything: nothing was decided
    refined = []
    for branch in kept:
        inside = _clipped(branch, limits)
        ranking = rank_branch(inside, observations, mode, share=_ELITE_SHARE, least=_ELITE_LEAST)
        parameters, why = _narrow(ranking, seed)
        refined.append(
            inside.model_copy(update={"parameters": parameters, "trials": shares[branch.key]})
        )
        reasons += why
    return Refinement(branches=tuple(refined), reasons=tuple(reasons))


def _narrow(ranking: Ranking, seed: int) -> tuple[dict[str, Definition], list[Reason]]:
    parameters: dict[str, Definition] = {}
    reasons: list[Reason] = []
    for name, old in ranking.branch.parameters.items():
        if isinstance(old, Choice):
            parameters[name], why = narrow_choice(ranking, name, old)
        else:
            parameters[name], why = narrow_range(ranking, name, old, seed)
        reasons += why
    return parameters, reasons


def _branch_reason(branch: Branch, standing: Standing, shares: Mapping[str, int]) -> Reason:
    if branch.key in shares:
        return allocated_reason(branch, standing, shares[branch.key])
    return dropped_reason(branch, standing)


def _clipped(branch: Branch, limits: Mapping[str, Domain]) -> Branch:
    parameters = {
        name: p if isinstance(p, Choice) else clipped(p, limits.get(name))
        for name, p in branch.parameters.items()
    }
    return branch.model_copy(update={"parameters": parameters})

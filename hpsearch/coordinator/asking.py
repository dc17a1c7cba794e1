"""Asking: the next generation of trials within a stage.

Random, quasi-random and grid samplers are asked for all trials at once; tpe, gp and cmaes for a
batch at a time, when all results of the last one are stored. So what is asked does not depend on
which worker was faster, and a restarted coordinator asks the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.analysis.observing import observe
from hpsearch.coordinator.drafts import fresh, numbered
from hpsearch.coordinator.view import SearchView
from hpsearch.sampling.allocation import allocate
from hpsearch.sampling.evolution import population
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.spec.space import Branch
from hpsearch.storage.records import FINISHED, NewTrial, StageRecord, TrialRecord
from workers.keys import key

LEARNING = ("tpe", "gp", "cmaes")
INHERITED = 0  # the generation of continued trials and repeats; asked ones count from 1


class Asker:
    """Computes generations from a view; keeps samplers only to spare rebuilding them."""

    def __init__(self, view: SearchView) -> None:
        self._view = view
        self._samplers: dict[tuple[int, str], tuple[BranchSampler, int]] = {}

    def next_generation(self, stage: StageRecord) -> list[NewTrial]:
        """The stage's next trials; none if it has all, or if a generation is still out.

        Called again with the same stored trials, it gives the same trials.
        """
        trials = self._view.of_stage(stage)
        last = max((trial.generation for trial in trials), default=INHERITED)
        learns = stage.sampler in LEARNING
        if stage.kind == "confirm" or (last > INHERITED and not learns):
            return []
        if learns and any(trial.state not in FINISHED for trial in trials):
            return []
        shares = _shares(self._view, stage, trials)
        drafts = [
            draft
            for branch in stage.branches
            if shares.get(branch.key)
            for draft in self._ask(stage, branch, trials, last + 1, shares[branch.key])
        ]
        return numbered(self._view, drafts, stage)

    def _ask(
        self,
        stage: StageRecord,
        branch: Branch,
        trials: Sequence[TrialRecord],
        generation: int,
        count: int,
    ) -> list[NewTrial]:
        mine = [trial for trial in trials if trial.branch == branch.key]
        sampler = self._sampler(stage, branch, mine, generation)
        asked = sampler.ask(count)
        return fresh(
            branch.key, asked, generation=generation, epochs=stage.epochs, stage_id=stage.id
        )

    def _sampler(
        self, stage: StageRecord, branch: Branch, mine: list[TrialRecord], generation: int
    ) -> BranchSampler:
        """The branch's sampler, told all generations before ``generation``."""
        place = (stage.id, branch.key)
        if place not in self._samplers:
            inherited = [trial for trial in mine if trial.generation == INHERITED]
            self._samplers[place] = (self._new_sampler(stage, branch, inherited), INHERITED)
        sampler, told = self._samplers[place]
        for number in range(told + 1, generation):
            asked = observe([trial for trial in mine if trial.generation == number])
            if asked:  # a small batch does not reach every branch
                sampler.tell(asked)
        self._samplers[place] = (sampler, generation - 1)
        return sampler

    def _new_sampler(
        self, stage: StageRecord, branch: Branch, inherited: list[TrialRecord]
    ) -> BranchSampler:
        spec = self._view.search.spec
        earlier = self._view.prior if stage.position == 0 else ()
        return BranchSampler(
            stage.sampler,
            branch,
            seed=key(spec.seed, "sampler", stage.position),
            mode=spec.objective.mode,
            prior=[*(one for one in earlier if one.branch == branch.key), *observe(inherited)],
        )


def _shares(view: SearchView, stage: StageRecord, trials: Sequence[TrialRecord]) -> dict[str, int]:
    """How many trials each branch is asked for now."""
    asked = {branch.key: 0 for branch in stage.branches}
    for trial in trials:
        if trial.generation > INHERITED:
            asked[trial.branch] += 1
    left = {branch.key: branch.trials - asked[branch.key] for branch in stage.branches}
    remaining = sum(left.values())
    batch = _batch(view, stage)
    if remaining <= 0 or batch is None or batch >= remaining:
        return left
    shares = allocate({name: float(max(0, n)) for name, n in left.items()}, batch, 0)
    return {name: min(share, left[name]) for name, share in shares.items()}


def _batch(view: SearchView, stage: StageRecord) -> int | None:
    """How many trials a generation has; None for all at once."""
    if stage.sampler not in LEARNING:
        return None
    given = view.search.spec.stages[stage.planned].batch
    return given or sum(population(len(branch.parameters)) for branch in stage.branches)

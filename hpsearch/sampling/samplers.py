"""BranchSampler: the next trials of one branch, as a function of the stored generations.

Called by the coordinator, which keeps one for each branch of a stage and can rebuild it any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.sampling.evolution import Evolution
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.sequences import grid_trials, sobol_trials
from hpsearch.sampling.studies import study_trials
from hpsearch.spec.search import SAMPLERS, SamplerName
from hpsearch.spec.space import Branch, Params


class BranchSampler:
    """Asks for trials within one branch, a generation at a time.

    A generation is what one ``ask`` returned; ``tell`` takes it back whole, when all of it has
    finished. What is asked next depends on the arguments and on the generations told, on nothing
    else: not on the order in which results arrived, the process, or a global generator. So a
    sampler that is made anew and told the stored generations goes on bit for bit as the one that
    died, and asking twice without telling gives the same trials twice.

    ``prior`` holds trials from before the stage (the continued ones, say): gp and cmaes start from
    them, tpe counts them as seen, the others have no use for them. Only those within the branch's
    ranges are used.
    """

    def __init__(
        self,
        kind: SamplerName,
        branch: Branch,
        *,
        seed: int,
        mode: Mode,
        prior: Sequence[Observation] = (),
    ) -> None:
        if kind not in SAMPLERS:
            raise ValueError(f"the sampler must be one of {', '.join(SAMPLERS)}, but got {kind!r}")
        self._kind = kind
        self._branch = branch
        self._seed = seed
        self._mode: Mode = mode
        self._prior = _in_order(prior)
        self._generations: list[list[Observation]] = []
        self._evolution = (
            Evolution(branch, seed=seed, mode=mode, prior=self._prior) if kind == "cmaes" else None
        )

    def ask(self, count: int) -> list[Params]:
        """The next generation: ``count`` trials' params, structural values included.

        Values are int, float, str, bool or tuple, within the branch's ranges. A grid ends: then
        fewer are returned, at last none. Raises ValueError for a negative count.
        """
        if count < 0:
            raise ValueError(f"the count must be 0 or more, but got {count}")
        start = sum(len(generation) for generation in self._generations)
        if self._evolution:
            return self._evolution.ask(count)
        if self._kind == "qmc":
            return sobol_trials(self._branch, seed=self._seed, start=start, count=count)
        if self._kind == "grid":
            return grid_trials(self._branch, seed=self._seed, start=start, count=count)
        return study_trials(
            self._kind,
            self._branch,
            seed=self._seed,
            mode=self._mode,
            prior=self._prior,
            generations=self._generations,
            count=count,
        )

    def tell(self, generation: Sequence[Observation]) -> None:
        """Take back a whole generation, all of it finished, in any order.

        Raises ValueError if one observation is of another branch, and, for cmaes alone, if the
        generation is not the one that was asked for.
        """
        for one in generation:
            if one.branch != self._branch.key:
                raise ValueError(
                    f"a generation must be of branch {self._branch.key!r}, but trial {one.number} "
                    f"is of {one.branch!r}: tell it to that branch's sampler"
                )
        ordered = _in_order(generation)
        if self._evolution:
            self._evolution.tell(ordered)
        self._generations.append(ordered)


def _in_order(observations: Sequence[Observation]) -> list[Observation]:
    return sorted(observations, key=lambda one: one.number)

"""CMA-ES through Optuna, replayed from the stored generations.

Called by ``BranchSampler``. Optuna keeps the evolving optimizer as a pickle in its study; nothing
of it is stored here: asking and telling again from the first generation brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpsearch.sampling.keyed import keyed_seed
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.sampling.studies import (
    decoded,
    finished_trials,
    new_study,
    numeric_only,
    quiet,
    space_of,
    told_values,
)
from hpsearch.spec.space import Branch, Params

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial


_LEAST_SOURCE = 10


def population(num_parameters: int) -> int:
    """CMA-ES's default population, 4 + floor(3 ln d) for d parameters (Hansen 2016)."""
    return 4 + math.floor(3 * math.log(max(1, num_parameters)))


class Evolution:
    """One branch's CMA-ES (Hansen, arXiv:1604.00772); choices are drawn at random.

    A prior makes it a warm start (Nomura et al., AAAI 2021): the first distribution is fitted to
    the best tenth of the prior. Without one, the first generation is random.
    """

    def __init__(
        self, branch: Branch, *, seed: int, mode: Mode, prior: Sequence[Observation]
    ) -> None:
        self._branch = branch
        self._seed = seed
        self._mode: Mode = mode
        self._seen = list(prior)
        self._study: Study | None = None
        self._pending: list[Trial] = []
        self._space = space_of(branch)

    def ask(self, count: int) -> list[Params]:
        """The next ``count`` trials; asking again before telling gives the same ones."""
        with quiet():
            self._study = self._study or self._begin(count)
            while len(self._pending) < count:
                self._pending.append(self._study.ask(self._space))
        return [decoded(self._branch, trial.params) for trial in self._pending[:count]]

    def _begin(self, count: int) -> Study:
        """The study before the first generation, whose size becomes the population's."""
        from optuna.samplers import CmaEsSampler

        known = finished_trials(self._branch, self._seen, self._mode)
        source = [numeric_only(trial) for trial in known]
        if source:
            # The warm start takes the best tenth and refuses fewer than ten.
            source *= math.ceil(_LEAST_SOURCE / len(source))
        sampler = CmaEsSampler(
            seed=keyed_seed(self._seed, self._branch.key, "cmaes"),
            popsize=max(count, population(len(self._space))),  # a smaller one loses its way
            source_trials=source or None,
            warn_independent_sampling=False,
        )
        study = new_study(sampler, self._mode)
        study.add_trials(known)
        return study

    def tell(self, generation: Sequence[Observation]) -> None:
        """Let the distribution move by a finished generation; asks for it first if it is replayed.

        Raises ValueError if the generation is not what this sampler asks for at this point.
        """
        asked = self.ask(len(generation))
        given = [one.params for one in generation]
        if len(self._pending) != len(generation) or asked != given:
            raise ValueError(
                f"a cmaes generation must hold the trials that were asked for, in order, but the "
                f"one of branch {self._branch.key!r} does not: continue with the versions of "
                f"optuna and cmaes that began the search, or with another sampler"
            )
        self._seen += generation
        for trial, value in zip(self._pending, self._values(generation), strict=True):
            self._tell_one(trial, value)
        self._pending = []

    def _values(self, generation: Sequence[Observation]) -> list[float | None]:
        """What to tell for each; None for a trial that says nothing about its params."""
        judged = [one for one in self._seen if one.judged]
        values = iter(told_values(judged, self._mode)[-sum(one.judged for one in generation) :])
        return [next(values) if one.judged else None for one in generation]

    def _tell_one(self, trial: Trial, value: float | None) -> None:
        from optuna.trial import TrialState

        assert self._study is not None
        with quiet():
            if value is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, value)

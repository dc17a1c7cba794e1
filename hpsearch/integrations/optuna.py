"""CoarseToFineSampler: our refining as a sampler for anybody's ``study.optimize``.

Imported by programs that use Optuna; ``hpsearch.integrations.ray_tune`` stands on it too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite
from random import Random, SystemRandom
from threading import Lock
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpsearch.integrations.spaces import Found, found_space, part_of
from hpsearch.integrations.stages import Segment, borders, segments
from hpsearch.sampling.border import still_on_border
from hpsearch.sampling.encoding import admits, branch_key
from hpsearch.sampling.keyed import keyed_seed
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.spec.space import Branch, Choice, Definition, Params

if TYPE_CHECKING:
    from optuna.study import Study

STAGES = (40, 30, 30)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """The space as the trials before some number have shown it, and its segments until there."""

    found: Found
    segments: tuple[Segment, ...]


class CoarseToFineSampler(BaseSampler):
    """Searches wide first, then closer and closer around the best trials, as ``hpsearch run`` does.

    The trials of the first stage are drawn at random, evenly on each parameter's own scale. Before
    each later stage every numeric range closes in on the best 15 % of the trials within it, unless
    these lie as spread as chance would have them; choices that never appear among the best are
    dropped; and beyond values with which all trials diverge nothing is drawn any more. Ranges that
    were narrowed too far are extended again where the best trials crowd a border: the first third
    of the stage looks past it.

    A study refuses suggestions outside of the distribution that the objective asks for. So ranges
    are never extended past that: where ``reasons`` tells of a crowded border there, widen it.

    Parameters that depend on a categorical (``momentum``, suggested for one optimizer alone) have
    ranges for each of its values, and so have all others then: a branch for each value. So have
    the values of a parameter called ``optimizer`` and of those named in ``branch_by``. A branch
    with less than 10 trials is not judged: give it as many.

    The space is found in the trials that are complete. A parameter whose distribution changes, or
    of which no categorical tells when it is suggested, is drawn from all that the objective asks.

    Trials that return an infinity, or report a value that is not finite, count as diverged; of the
    others Optuna does not say why they failed, and they count for nothing. A pruned trial counts
    with the best value that it reported.

    What is drawn is a function of the seed, the trial's number and the finished trials of earlier
    stages. With ``n_jobs=1`` a study can be repeated; with more it depends on which trials were
    done when a stage began, as with each of Optuna's own.

    Args:
        stages: How many trials each stage has, by their numbers in the study. Those after the last
            are drawn from its ranges.
        seed: Of all that is drawn; a random one if it is None.
        branch_by: Names of categorical parameters each value of which has ranges of its own.

    Raises ValueError for stages that are not positive whole numbers, and, when it is asked, for a
    study of several objectives.
    """

    def __init__(
        self,
        stages: Sequence[int] = STAGES,
        *,
        seed: int | None = None,
        branch_by: Collection[str] = (),
    ) -> None:
        if not stages or any(not isinstance(n, int) or n < 1 for n in stages):
            raise ValueError(
                f"stages must be positive whole numbers, the trials of each, but got {stages!r}: "
                "give for example (40, 30, 30)"
            )
        self._stages = tuple(stages)
        self._seed = SystemRandom().getrandbits(32) if seed is None else int(seed)
        self._branch_by = tuple(branch_by)
        self._borders = borders(self._stages)
        self._kept: tuple[Any, _Plan] | None = None
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which cannot be copied, and the plan, which is found again."""
        return {**self.__dict__, "_lock": None, "_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes an equal sampler, the seed that was chosen included."""
        return {
            "stages": list(self._stages),
            "seed": self._seed,
            "branch_by": list(self._branch_by),
        }

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that all complete trials have."""
        _check_single(study)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        space = intersection_search_space(trials)
        return {name: one for name, one in space.items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for each parameter of ``search_space``, all of one branch."""
        # What was enqueued for the trial is not among its params before the objective asks for it.
        known = {**trial.params, **trial.system_attrs.get("fixed_params", {})}
        for name, distribution in search_space.items():
            known[name] = self._drawn(study, trial, name, distribution, known)
        return {name: known[name] for name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value from the range of the trial's branch, or from all of the distribution."""
        return self._drawn(study, trial, param_name, param_distribution, trial.params)

    def reasons(self, study: Study) -> list[str]:
        """Why the ranges of each stage that has begun are as they are, a sentence each.

        The last ones tell where the best trials crowd an end of what the objective asks for.
        """
        number = len(study.get_trials(deepcopy=False))
        if number < self._stages[0]:
            return []
        plan, mode = self._plan(study, number), mode_of(study)
        branches = plan.found.space.branches()
        crowded = still_on_border(
            branches,
            _observations(study.get_trials(deepcopy=False, states=FINISHED), branches, mode),
            mode=mode,
            seed=self._seed,
            limits=plan.found.limits,
            expand=0,
        )
        told = [reason for segment in plan.segments for reason in segment.reasons]
        return [reason.text for reason in (*told, *crowded)]

    def _drawn(
        self,
        study: Study,
        trial: FrozenTrial,
        name: str,
        distribution: BaseDistribution,
        known: Params,
    ) -> Any:
        _check_single(study)
        parameter = self._narrowed(study, trial.number, name, distribution, known)
        seed = keyed_seed(self._seed, trial.number, name)
        if isinstance(distribution, CategoricalDistribution):
            choices = distribution.choices
            kept = [one for one in choices if parameter is None or admits(parameter, one)]
            return kept[Random(seed).randrange(len(kept))]
        part = distribution if parameter is None else part_of(distribution, parameter)
        return RandomSampler(seed=seed).sample_independent(study, trial, name, part)

    def _narrowed(
        self, study: Study, number: int, name: str, distribution: BaseDistribution, known: Params
    ) -> Definition | None:
        """What the trial's stage and branch leave of a parameter; None: all of it."""
        if number < self._stages[0]:
            return None
        plan = self._plan(study, number)
        segment = next((one for one in plan.segments if one.has(number)), None)
        branch = None if segment is None else segment.branch_of(number, self._seed, known)
        if branch is None or plan.found.distributions.get(name) != distribution:
            return None
        if name in branch.fixed:
            return Choice(choices=(branch.fixed[name],))
        return branch.parameters.get(name)

    def _plan(self, study: Study, number: int) -> _Plan:
        """The plan of the stage of trial ``number``, made anew when another trial has finished."""
        until = max(border for border in self._borders if border <= number)
        ended = study.get_trials(deepcopy=False, states=FINISHED)
        seen = [trial for trial in ended if trial.number < until]
        key = (until, [(trial.number, trial.values, trial.datetime_complete) for trial in seen])
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = (key, self._planned(seen, until, mode_of(study)))
            return self._kept[1]

    def _planned(self, seen: Sequence[FrozenTrial], until: int, mode: Mode) -> _Plan:
        complete = [trial for trial in seen if trial.state == TrialState.COMPLETE]
        found = found_space(complete, self._branch_by)
        branches = found.space.branches()
        every = segments(
            branches,
            _observations(seen, branches, mode),
            stages=self._stages,
            mode=mode,
            seed=self._seed,
            limits=found.limits,
        )
        begun = []
        for segment in every:  # no further: what follows is decided when its trials are there
            begun.append(segment)
            if segment.has(until):
                break
        return _Plan(found=found, segments=tuple(begun))


def _check_single(study: Study) -> None:
    if len(study.directions) != 1:
        raise ValueError(
            f"CoarseToFineSampler needs a study of one objective, but this one has "
            f"{len(study.directions)}: take one of Optuna's samplers for several, NSGAIISampler say"
        )


def mode_of(study: Study) -> Mode:
    """Which values are good."""
    return "max" if study.direction == StudyDirection.MAXIMIZE else "min"


def _observations(
    trials: Sequence[FrozenTrial], branches: Sequence[Branch], mode: Mode
) -> list[Observation]:
    keyed = ((trial, branch_key(branches, trial.params)) for trial in trials)
    return [observed(trial, key, mode) for trial, key in keyed if key is not None]


def observed(trial: FrozenTrial, branch: str, mode: Mode) -> Observation:
    """A finished trial as the refiner sees it; see :class:`CoarseToFineSampler`."""
    reported = trial.intermediate_values.values()
    best = max if mode == "max" else min
    if trial.state == TrialState.COMPLETE:
        value = trial.value
    else:
        value = best(filter(isfinite, reported), default=None)
    diverged = not all(map(isfinite, reported))
    failed = trial.state == TrialState.FAIL or (value is None and not diverged)
    return Observation(
        branch=branch,
        params=trial.params,
        value=value,
        state="failed" if failed else "complete",
        failure_kind=("diverged" if diverged else "worker_lost") if failed else None,
        number=trial.number,
    )

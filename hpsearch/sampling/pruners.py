"""Which trials end at a rung, by Optuna's pruners, for all that stand there at once.

Called by the coordinator with stored curves; pure functions of their arguments. A trial is compared
with every one that reached the epoch, not only with those that happened to come first, so the order
in which results arrive decides nothing.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from hpsearch.sampling.observations import Mode
from hpsearch.sampling.statistics import signed_rank_p
from hpsearch.sampling.studies import bounded, new_study, quiet
from hpsearch.spec.pruning import HALVING, filled, innermost, rungs
from hpsearch.spec.search import Pruner

if TYPE_CHECKING:
    from optuna.pruners import BasePruner, HyperbandPruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Curve", "bracket", "decide", "rungs"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What is stored of a trial up to a rung.

    ``number`` is the trial's within the search, ``values`` the objective after epochs 1, 2, …, NaN
    and infinities among them, ``by_fold`` its value in each fold after the rung's epoch.
    """

    number: int
    values: tuple[float, ...]
    by_fold: tuple[float, ...] = ()


def bracket(pruner: Pruner, epochs: int, study_name: str, number: int) -> int:
    """Hyperband's bracket of trial ``number``, by Optuna's own rule; 0 for any other pruner.

    A bracket s begins to halve at ``min_resource * reduction_factor ** s`` epochs (Li et al., JMLR
    18, 2018). Which trials are in it is a function of the study's name and the trial's number.
    """
    hyperband = _hyperband_of(pruner, epochs)
    if hyperband is None:
        return 0
    # It reads these two attributes and no other.
    study = cast("Study", SimpleNamespace(study_name=study_name))
    return hyperband._get_bracket_id(study, cast("FrozenTrial", SimpleNamespace(number=number)))


def num_brackets(pruner: Pruner, epochs: int) -> int:
    """How many brackets Hyperband has in a stage of ``epochs``; 1 of any other pruner."""
    hyperband = _hyperband_of(pruner, epochs)
    return 1 if hyperband is None else len(hyperband._pruners)


def _hyperband_of(pruner: Pruner, epochs: int) -> HyperbandPruner | None:
    comparing = filled(innermost(pruner), epochs)
    if comparing.name != "hyperband":
        return None
    options = comparing.options
    keys = ("min_resource", "max_resource", "reduction_factor")
    return _hyperband(*(int(options[key]) for key in keys))


@lru_cache
def _hyperband(min_resource: int, max_resource: int, reduction_factor: int) -> HyperbandPruner:
    """Optuna's Hyperband with its brackets made, which it puts off until a trial is judged."""
    from optuna.pruners import HyperbandPruner

    pruner = HyperbandPruner(min_resource, max_resource, reduction_factor)
    with quiet():
        pruner._try_initialization(_study("max", ()))
    return pruner


def decide(
    pruner: Pruner,
    mode: Mode,
    rung: int,
    epochs: int,
    curves: Sequence[Curve],
    judged: Collection[int],
    study_name: str,
) -> frozenset[int]:
    """The numbers among ``judged`` that end at epoch ``rung`` of a stage of ``epochs``.

    ``curves`` are those of all trials that reached the rung, in any order; of what came after it
    nothing enters, nor do trials in another bracket of Hyperband's. A trial whose value at the rung
    is not finite ends, whatever the pruner, and is compared with no other. Raises ValueError for a
    judged trial without a curve up to the rung.
    """
    reached = {one.number: _until(one, rung) for one in curves if len(one.values) >= rung}
    lacking = sorted(set(judged) - reached.keys())
    if lacking:
        raise ValueError(
            f"every judged trial must have a value at epoch {rung}, but {lacking} have none"
        )
    pruner, ended = filled(pruner, epochs), set[int]()
    for members in _brackets(pruner, epochs, study_name, reached.values()):
        sound = [one for one in members if math.isfinite(one.values[-1])]
        ended.update(one.number for one in members if not math.isfinite(one.values[-1]))
        asked = [one for one in sound if one.number in judged]
        with quiet():
            ended |= _ended(pruner, mode, sound, asked)
    return frozenset(ended.intersection(judged))


def _until(curve: Curve, rung: int) -> Curve:
    """The curve up to the rung, with no number so large that a difference would overflow."""
    return replace(
        curve,
        values=tuple(bounded(v) if math.isfinite(v) else math.nan for v in curve.values[:rung]),
    )


def _brackets(
    pruner: Pruner, epochs: int, study_name: str, curves: Iterable[Curve]
) -> list[list[Curve]]:
    """The curves by bracket, and by number within it: ties are broken by nothing else."""
    found: dict[int, list[Curve]] = {}
    for curve in sorted(curves, key=lambda one: one.number):
        place = bracket(pruner, epochs, study_name, curve.number)
        found.setdefault(place, []).append(curve)
    return list(found.values())


def _ended(pruner: Pruner, mode: Mode, sound: Sequence[Curve], asked: Sequence[Curve]) -> set[int]:
    """The numbers among ``asked``, which are among ``sound``: curves with a value to compare."""
    if not asked:
        return set()
    if pruner.name == "patient":
        return _ended_patient(pruner, mode, sound, asked)
    if pruner.name == "wilcoxon":
        return _ended_wilcoxon(pruner, mode, sound, asked)
    if pruner.name in HALVING:
        return _ended_halving(pruner, mode, sound, asked)
    if pruner.name == "threshold":
        return _each(_optunas(pruner), _study(mode, ()), asked)
    return _ended_percentile(pruner, mode, sound, asked)


def _ended_percentile(
    pruner: Pruner, mode: Mode, sound: Sequence[Curve], asked: Sequence[Curve]
) -> set[int]:
    """Those whose best value so far is worse than the percentile of all values at the rung."""
    rung = len(asked[0].values)
    study = _study(mode, [_trial(one, {rung: one.values[-1]}, complete=True) for one in sound])
    optunas = _optunas(pruner)
    best = max if mode == "max" else min

    def ends(curve: Curve) -> bool:
        return optunas.prune(study, _trial(curve, _steps(curve)))

    return _from_the_first(
        ends, asked, lambda curve: best(v for v in curve.values if not math.isnan(v)), mode
    )


def _ended_halving(
    pruner: Pruner, mode: Mode, sound: Sequence[Curve], asked: Sequence[Curve]
) -> set[int]:
    """All but the best 1 / reduction_factor, at least one of them; equals go on together.

    Optuna's rule (Li et al., arXiv:1810.05934), with all competitors there: each is asked about as
    if it were the last to come. A rung knows of no other, so it may be asked as the first one.
    """
    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.pruners._successive_halving import _completed_rung_key

    rung = len(asked[0].values)
    halving = SuccessiveHalvingPruner(
        min_resource=rung, reduction_factor=int(pruner.options["reduction_factor"])
    )
    key = _completed_rung_key(0)
    rivals = {one.number: _trial(one, {}, attrs={key: one.values[-1]}) for one in sound}

    def ends(curve: Curve) -> bool:
        others = [trial for number, trial in rivals.items() if number != curve.number]
        study = _study(mode, [*others, _trial(curve, {rung: curve.values[-1]})])
        return halving.prune(study, study.get_trials(deepcopy=False)[-1])

    return _from_the_first(ends, asked, lambda curve: curve.values[-1], mode)


def _from_the_first(
    ends: Callable[[Curve], bool],
    asked: Sequence[Curve],
    merit: Callable[[Curve], float],
    mode: Mode,
) -> set[int]:
    """The numbers of those that end, by a rule that ends whatever is worse than one that ends.

    Optuna looks at all trials whenever it is asked, so it is asked by bisection.
    """
    from_best = sorted(asked, key=merit, reverse=mode == "max")
    first = bisect.bisect_left(from_best, True, key=ends)
    return {curve.number for curve in from_best[first:]}


def _ended_patient(
    pruner: Pruner, mode: Mode, sound: Sequence[Curve], asked: Sequence[Curve]
) -> set[int]:
    """Those that have not improved for ``patience`` epochs, if the wrapped pruner ends them."""
    stalled = _each(_optunas(pruner), _study(mode, ()), asked)
    if pruner.wrapped is None:
        return stalled
    return _ended(pruner.wrapped, mode, sound, [one for one in asked if one.number in stalled])


def _ended_wilcoxon(
    pruner: Pruner, mode: Mode, sound: Sequence[Curve], asked: Sequence[Curve]
) -> set[int]:
    """Those that are surely worse over the folds than the best at the rung, and so on average.

    Optuna's rule in our own words: where differences are tied, as accuracies are, its p-value takes
    up to 70 ms a trial, the same exact one takes 0.1 ms here.
    """
    sign = 1.0 if mode == "max" else -1.0
    compared = [one for one in sound if one.by_fold and all(map(math.isfinite, one.by_fold))]
    if not compared:
        return set()
    best = max(compared, key=lambda one: sign * one.values[-1])
    least = max(2, pruner.options["n_startup_steps"])

    def ends(curve: Curve) -> bool:
        lead = [sign * (b - v) for b, v in zip(best.by_fold, curve.by_fold, strict=True)]
        is_behind = sign * (math.fsum(best.by_fold) - math.fsum(curve.by_fold)) > 0
        return (
            is_behind and len(lead) >= least and signed_rank_p(lead) < pruner.options["p_threshold"]
        )

    numbers = {one.number for one in asked}
    return {one.number for one in compared if one.number in numbers and ends(one)}


def _each(optunas: BasePruner, study: Study, asked: Iterable[Curve]) -> set[int]:
    """The numbers that a pruner ends which looks at nothing but the trial itself."""
    return {one.number for one in asked if optunas.prune(study, _trial(one, _steps(one)))}


def _optunas(pruner: Pruner) -> BasePruner:
    """Optuna's pruner of that name, one that compares within a trial or by percentile."""
    from optuna import pruners

    options: dict[str, Any] = dict(pruner.options)
    if pruner.name == "patient":
        options.pop("interval_steps", None)
        return pruners.PatientPruner(None, **options)
    kinds: dict[str, Callable[..., BasePruner]] = {
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "threshold": pruners.ThresholdPruner,
    }
    return kinds[pruner.name](**options)


def _study(mode: Mode, trials: Sequence[FrozenTrial]) -> Study:
    from optuna.samplers import RandomSampler

    study = new_study(RandomSampler(), mode)
    study.add_trials(trials)
    return study


def _steps(curve: Curve) -> dict[int, float]:
    """Its values by epoch, from 1."""
    return dict(enumerate(curve.values, start=1))


def _trial(
    curve: Curve,
    steps: dict[int, float],
    *,
    complete: bool = False,
    attrs: dict[str, float] | None = None,
) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.RUNNING,
        value=curve.values[-1] if complete else None,
        intermediate_values=steps,
        system_attrs=attrs,
    )

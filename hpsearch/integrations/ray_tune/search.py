"""CoarseToFineSearch: our refining as a search algorithm of Ray Tune.

Imported by programs that use Ray Tune.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState, create_trial
from ray.tune.search import Searcher

from hpsearch.errors import HpsearchError
from hpsearch.integrations.optuna import STAGES, CoarseToFineSampler
from hpsearch.integrations.ray_tune.domains import distributions, nested, without_grids
from hpsearch.integrations.recording import flat
from hpsearch.sampling.studies import new_study, quiet

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study


class CoarseToFineSearch(Searcher):
    """Searches wide first, then closer and closer around the best trials.

    It stands on :class:`hpsearch.integrations.optuna.CoarseToFineSampler`, which says how ranges
    are narrowed; they are never extended past what the space says. A trial counts with its last
    result, also if a scheduler ended it; one that reported a value that is not finite as diverged;
    one that raised for nothing.

    Args:
        space: As a Tuner's ``param_space``, which it is if this is None. ``tune.uniform``,
            ``loguniform``, ``randint``, ``lograndint``, their quantized forms but for logarithmic
            ones, and ``choice``, also nested; what else is in it is passed on as it is.
        metric, mode: What ranks trials, and "min" or "max"; the Tuner's if these are None.
        stages: How many trials each stage has. Give the Tuner their sum as ``num_samples``.
        seed: Of all that is drawn; a random one if it is None.
        branch_by: Names of choices each value of which has ranges of its own, as ``optimizer`` has.

    Raises HpsearchError for a space or a mode that cannot be, ValueError for such stages.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        *,
        metric: str | None = None,
        mode: str | None = None,
        stages: Sequence[int] = STAGES,
        seed: int | None = None,
        branch_by: Collection[str] = (),
    ) -> None:
        if mode not in (None, "min", "max"):
            raise HpsearchError(f"the mode must be min or max, but got {mode!r}")
        super().__init__(metric=metric, mode=mode)
        self._sampler = CoarseToFineSampler(stages, seed=seed, branch_by=branch_by)
        self._fixed: dict[str, Any] = {}
        self._space: dict[str, BaseDistribution] = {}
        self._study: Study | None = None
        self._numbers: dict[str, int] = {}
        self._diverged: set[str] = set()
        if space is not None:
            self._set_space(space)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take what the Tuner says and was not given; False if both gave a space."""
        self._metric, self._mode = self._metric or metric, self._mode or mode
        if config and self._space:
            return False
        if config:
            self._set_space(config)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The config of the next trial; the same again for a trial that has been asked for."""
        study = self._ready()
        if trial_id not in self._numbers:
            self._numbers[trial_id] = study.ask(self._space).number
        drawn = study.get_trials(deepcopy=False)[self._numbers[trial_id]].params
        return nested({**self._fixed, **drawn})

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note whether it diverged."""
        value = result.get(self._metric or "")
        if isinstance(value, int | float) and not math.isfinite(value):
            self._diverged.add(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn from the last result of a trial."""
        self.on_trial_result(trial_id, result or {})
        value = None if error or result is None else result.get(self._metric or "")
        if trial_id in self._diverged:
            value = math.inf if self._mode == "min" else -math.inf
        study, number = self._ready(), self._numbers[trial_id]
        with quiet():
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            study.tell(number, value, state, skip_if_finished=True)

    def save(self, checkpoint_path: str) -> None:
        """Write all that was asked and told, as JSON."""
        trials = self._study.get_trials(deepcopy=False) if self._study else []
        told = [
            {"state": one.state.name, "value": _text(one.value), "params": self._coded(one.params)}
            for one in trials
        ]
        state = {
            "metric": self._metric,
            "mode": self._mode,
            "space": {name: _json(one) for name, one in self._space.items()},
            "sampler": self._sampler.arguments,
            "numbers": self._numbers,
            "diverged": sorted(self._diverged),
            "trials": told,
        }
        Path(checkpoint_path).write_text(json.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what was saved.

        A space that the Tuner gave is among it, but for choices that JSON has no word for: with
        such ones give the space to this class.
        """
        state = json.loads(Path(checkpoint_path).read_text())
        self._metric, self._mode = state["metric"], state["mode"]
        if not self._space and None not in state["space"].values():
            with quiet():
                given = state["space"].items()
                self._space = {name: json_to_distribution(text) for name, text in given}
        self._sampler = CoarseToFineSampler(**state["sampler"])
        self._numbers, self._diverged = state["numbers"], set(state["diverged"])
        self._study = None
        if state["trials"]:
            study = self._ready()
            with quiet():
                study.add_trials([self._trial(one) for one in state["trials"]])

    def reasons(self) -> list[str]:
        """Why the ranges of each stage that has begun are as they are, a sentence each."""
        return self._sampler.reasons(self._ready())

    def _set_space(self, space: Mapping[str, Any]) -> None:
        self._space = distributions(without_grids(space))
        self._fixed = {n: value for n, value in flat(space).items() if n not in self._space}

    def _ready(self) -> Study:
        """The study, made when it is first needed: by then the Tuner has said what it knows."""
        if not (self._space and self._metric and self._mode):
            raise HpsearchError(
                "CoarseToFineSearch needs a space, a metric and a mode, but got "
                f"metric={self._metric!r}, mode={self._mode!r} and {len(self._space)} parameters: "
                "give them to it, or to the Tuner (param_space and TuneConfig)"
            )
        if self._study is None:
            with quiet():
                self._study = new_study(self._sampler, "max" if self._mode == "max" else "min")
        return self._study

    def _coded(self, params: Mapping[str, Any]) -> dict[str, float]:
        return {name: self._space[name].to_internal_repr(value) for name, value in params.items()}

    def _trial(self, saved: Mapping[str, Any]) -> Any:
        params = saved["params"].items()
        return create_trial(
            state=TrialState[saved["state"]],
            value=None if saved["value"] is None else float(saved["value"]),
            params={name: self._space[name].to_external_repr(one) for name, one in params},
            distributions={name: self._space[name] for name, _ in params},
        )


def _json(distribution: BaseDistribution) -> str | None:
    """As JSON; None if it has choices that JSON does not hold."""
    try:
        return distribution_to_json(distribution)
    except TypeError:
        return None


def _text(value: float | None) -> str | None:
    """As text, which holds the infinities that JSON has no word for; exactly."""
    return None if value is None else repr(float(value))

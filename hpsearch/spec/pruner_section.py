"""The ``pruner:`` key, of a spec and of a search stage: a name, or a name with Optuna's options.

Called by ``hpsearch.spec.loading`` and ``hpsearch.spec.stages_section``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpsearch.spec.problem import Problems
from hpsearch.spec.pruning import first_rung, innermost, least_folds, least_trials
from hpsearch.spec.rules import (
    COUNT,
    NUMBER,
    POSITIVE,
    OrAuto,
    Rule,
    join,
    obeys,
    read_fields,
)
from hpsearch.spec.search import PRUNERS, Data, Pruner, Stage
from workers.config.domain import Domain

NONE = "none"  # switches a pruner off: null is as good as no entry, which means the spec's pruner
WRAPPABLE = tuple(name for name in PRUNERS if name != "patient")


class PrunerRule:
    """A pruner's name, a mapping with a name and options, or none; their rules come after."""

    def rule(self) -> str:
        return f"the name of a pruner, a mapping with its name and options, or {NONE}"

    def admits(self, value: object) -> bool:
        return isinstance(value, str | Mapping)


_RUNGS: dict[str, Rule] = {"n_warmup_steps": COUNT, "interval_steps": POSITIVE}
_AMONG: dict[str, Rule] = {"n_startup_trials": COUNT, **_RUNGS, "n_min_trials": POSITIVE}
_FACTOR = Domain(low=2, integer=True)
OPTIONS: dict[str, dict[str, Rule]] = {
    "median": _AMONG,
    "percentile": {"percentile": Domain(low=0, high=100), **_AMONG},
    "successive_halving": {
        "min_resource": OrAuto(POSITIVE),
        "reduction_factor": _FACTOR,
        "min_early_stopping_rate": Domain(low=0, high=60, integer=True),  # 2^60 epochs are no stage
    },
    "hyperband": {
        "min_resource": POSITIVE,
        "max_resource": OrAuto(POSITIVE),
        "reduction_factor": _FACTOR,
    },
    "patient": {
        "wrapped": PrunerRule(),
        "patience": COUNT,
        "min_delta": Domain(low=0),
        "interval_steps": POSITIVE,
    },
    "threshold": {"lower": NUMBER, "upper": NUMBER, **_RUNGS},
    "wilcoxon": {
        "p_threshold": Domain(low=0, high=1, low_open=True),
        "n_startup_steps": COUNT,
        **_RUNGS,
    },
}
REQUIRED = {"percentile": ("percentile",), "patient": ("patience",)}
# What a user lowers so that the first rung comes earlier.
_FIRST = {"successive_halving": "min_resource", "hyperband": "min_resource", "patient": "patience"}


def read_pruner(
    value: str | Mapping[Any, Any], path: str, problems: Problems, names: Sequence[str] = PRUNERS
) -> Pruner | None:
    """The pruner with the options that were given; None for none, and where there is a problem."""
    if value == NONE:
        return None
    if isinstance(value, str):
        known = obeys(value, Domain(names=(*names, NONE)), path, problems)
        return _read_options({"name": value}, path, problems) if known else None
    place, rule = join(path, "name"), Domain(names=tuple(names))
    if value.get("name") is None:
        problems.add(place, f"is required: {rule.rule()}")
    elif obeys(value["name"], rule, place, problems):
        return _read_options(value, path, problems)
    return None


def _read_options(item: Mapping[Any, Any], path: str, problems: Problems) -> Pruner | None:
    num_before, name = len(problems.found), item["name"]
    item = _without_bootstrap(item, path, problems)
    table = {"name": Domain(names=PRUNERS), **OPTIONS[name]}
    what, required = f"an option of the pruner {name}", REQUIRED.get(name, ())
    options = read_fields(item, path, table, problems, what=what, required=required)
    given = options.pop("wrapped", NONE)
    wrapped = read_pruner(given, join(path, "wrapped"), problems, WRAPPABLE)
    _check_options(options, given, path, problems)
    if len(problems.found) > num_before:
        return None
    if name == "threshold" and options.keys().isdisjoint(("lower", "upper")):
        problems.add(path, "must have lower, upper or both, the values that end a trial")
        return None
    numbers = {key: value for key, value in options.items() if key != "name" and value != "auto"}
    return Pruner(name=name, options=numbers, wrapped=wrapped)


def _without_bootstrap(item: Mapping[Any, Any], path: str, problems: Problems) -> Mapping[Any, Any]:
    """``item`` without the one option of Optuna's that has no meaning here, which is told."""
    key = "bootstrap_count"
    if key not in item:
        return item
    rule = "has no use here, where a rung decides when all its trials have come; leave it out"
    problems.add(join(path, key), rule)
    return {name: value for name, value in item.items() if name != key}


def _check_options(
    options: Mapping[str, Any], wrapped: object, path: str, problems: Problems
) -> None:
    """What a pruner's options ask of one another."""
    lower, upper = options.get("lower"), options.get("upper")
    if lower is not None and upper is not None and lower > upper:
        problems.add(path, "must have lower <= upper", f"{lower:g} and {upper:g}")
    low, high = options.get("min_resource"), options.get("max_resource")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        problems.add(path, "must have min_resource <= max_resource", f"{low} and {high}")
    if "interval_steps" in options and wrapped != NONE:
        rule = "is for patient alone; give it to the wrapped pruner, which says when to decide"
        problems.add(join(path, "interval_steps"), rule)


def check_pruner(
    stage: Stage, path: str, data: Data | None, start: int, problems: Problems
) -> None:
    """What the pruner of a stage asks of it, and of the data; ``path`` is the pruner's.

    ``start`` is an epoch that all trials of the stage begin at or after. A pruner that can never
    decide is refused: its user would wait for what does not come.
    """
    if stage.pruner is None:
        return
    _check_rungs(stage, stage.pruner, path, start, problems)
    comparing, least = innermost(stage.pruner), least_trials(stage.pruner)
    if stage.trials < least:
        what = "lower n_startup_trials and n_min_trials, " if least > 2 else ""
        rule = f"needs {least} trials at a rung to decide; {what}ask for more trials"
        problems.add(path, f"{rule} or say pruner: {NONE}", f"{stage.trials} trials")
    if comparing.name == "wilcoxon" and data is not None:
        _check_folds(comparing, path, data, problems)


def _check_rungs(stage: Stage, pruner: Pruner, path: str, start: int, problems: Problems) -> None:
    first = first_rung(pruner, stage.epochs, start)
    if first < stage.epochs:
        return
    since = f" past epoch {start}, where its trials begin," if start else ""
    option = _FIRST.get(pruner.name, "n_warmup_steps")
    lower = f"lower {option}, " if first > 1 and not start else ""
    rule = (
        f"can never decide: its first rung{since} is after epoch {first}, and must be before the "
        f"last of {stage.epochs}; {lower}train longer, or say pruner: {NONE}"
    )
    problems.add(path, rule, pruner.name)


def _check_folds(pruner: Pruner, path: str, data: Data, problems: Problems) -> None:
    least = least_folds(pruner)
    if (data.folds or 0) < least:
        threshold = pruner.options.get("p_threshold", 0.1)
        rule = (
            f"compares trials fold by fold and needs data.validation {{folds: {least}}} or more to "
            f"be sure at a p_threshold of {threshold:g}"
        )
        problems.add(path, rule, f"{data.folds} folds" if data.folds else "no folds")

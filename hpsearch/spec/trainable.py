"""The ``trainable:`` and ``tune:`` keys: a training of the user's own, run by Ray Tune.

Called by ``hpsearch.spec.training``; what a spec with them may not have is told here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.errors import closest
from hpsearch.spec.own_model import ANYTHING, AnyName, ModelKeys
from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.rules import COUNT, EPOCHS, POSITIVE, OrAuto, PythonName, Rule, read_fields
from hpsearch.spec.search import POPULATIONS, SCHEDULERS, Scheduler, Stage, Tune
from hpsearch.spec.space import Choice, Range, Space
from workers.config.domain import Domain
from workers.config.own import OwnError, imported

TRAINABLE: Rule = PythonName("a function of config that reports to Ray Tune, or a tune.Trainable")
NO_CONSTANTS = ("seed", "trainable")
_SHARE = Domain(low=0, high=1)
_FACTOR = Domain(low=1, low_open=True)
OPTIONS: dict[str, dict[str, Rule]] = {
    "asha": {"grace_period": POSITIVE, "reduction_factor": _FACTOR, "brackets": POSITIVE},
    "hyperband": {"reduction_factor": _FACTOR},
    "median_stopping": {"grace_period": POSITIVE, "min_samples_required": POSITIVE},
    "pbt": {
        "perturbation_interval": POSITIVE,
        "quantile_fraction": Domain(low=0, high=0.5),
        "resample_probability": _SHARE,
    },
}


class SchedulerRule:
    """A scheduler's name, or a mapping with its name and options; their rules come after."""

    def rule(self) -> str:
        return f"one of {', '.join(SCHEDULERS)}, or a mapping with such a name and options"

    def admits(self, value: object) -> bool:
        return isinstance(value, str | Mapping)


TUNE: dict[str, Rule] = {
    "scheduler": SchedulerRule(),
    "max_failures": COUNT,
    "reuse_actors": OrAuto(Domain(boolean=True)),
    "cpus_per_trial": Domain(low=0, low_open=True, high=1e6),
}


class _Names(AnyName):
    """Those of a trainable's own: all but that of the key beside which they stand."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) and name != "trainable"


def read_trainable(name: str | None, problems: Problems) -> ModelKeys:
    """The keys that go with the trainable ``name``: any. None: what it is called is wrong."""
    rule = None if name is None else _refusal(name)
    if rule is not None:
        problems.add("trainable", rule, shown(name))
    return ModelKeys(domains=_Names())


def _refusal(name: str) -> str | None:
    """Why it cannot be trained, if it cannot."""
    try:
        one = imported(name)
    except OwnError as error:
        return str(error)
    if inspect.isclass(one):
        is_trainable = any(base.__module__.startswith("ray.tune.") for base in one.__mro__)
        return None if is_trainable else "must be a subclass of ray.tune.Trainable, or a function"
    try:
        inspect.signature(one).bind({})
    except (TypeError, ValueError):
        return "must be called with config alone, as in def fit(config)"
    return None


def read_constants(section: Mapping[Any, Any], problems: Problems) -> dict[str, Any]:
    """What is fixed under ``train``: any names, but that of the seed."""
    names = [name for name in section if isinstance(name, str) and name not in NO_CONSTANTS]
    table: dict[str, Rule] = dict.fromkeys(names, ANYTHING)
    what = "a constant: config has one of its own in each trial"
    return read_fields(section, "train", {**table, "epochs": EPOCHS}, problems, what=what)


def read_tune(section: Mapping[Any, Any], problems: Problems) -> Tune:
    """How Ray Tune runs the trials."""
    fields = read_fields(section, "tune", TUNE, problems, what="a key of tune")
    if "scheduler" in fields:
        fields["scheduler"] = _read_scheduler(fields["scheduler"], problems)
    return Tune(**fields)


def _read_scheduler(value: str | Mapping[Any, Any], problems: Problems) -> Scheduler | None:
    path = "tune.scheduler"
    given = {"name": value} if isinstance(value, str) else value
    name = given.get("name")
    if name not in SCHEDULERS:
        near = closest(name, SCHEDULERS) if isinstance(name, str) else None
        problems.add(path, f"must be one of {', '.join(SCHEDULERS)}", shown(name), near)
        return None
    options = {key: option for key, option in given.items() if key != "name"}
    what = f"an option of {name}"
    read = read_fields(options, path, OPTIONS[name], problems, what=what)
    return Scheduler(name=name, options=read)


def check_trainable(
    top: Mapping[str, Any], stages: tuple[Stage, ...], tune: Tune, space: Space | None
) -> Iterator[tuple[str, str]]:
    """(key, sentence) of what a spec with a trainable may not have."""
    for key in ("model", "data", "loss", "metrics"):
        if key in top:
            yield key, "must be left out: a trainable brings its own"
    for key in ("width", "devices_per_trial"):
        if top.get("resources", {}).get(key) is not None:
            yield f"resources.{key}", "must be left out: each trial is a process of Ray Tune's"
    if any(stage.kind == "check" for stage in stages):
        yield "stages", "must have no check stage: checks look into a training of ours"
    if any(stage.pruner is not None for stage in stages):
        yield "pruner", "must be none: trials of Ray Tune are ended by its tune.scheduler"
    if tune.scheduler is not None:
        yield from _check_scheduler(tune.scheduler, top, stages, space)


def _check_scheduler(
    scheduler: Scheduler, top: Mapping[str, Any], stages: tuple[Stage, ...], space: Space | None
) -> Iterator[tuple[str, str]]:
    name = scheduler.name
    if name in POPULATIONS and top.get("resources", {}).get("workers") is not None:
        rule = f"must be left out with {name}, which has all trials at once"
        yield "resources.workers", f"{rule}; the cluster's room decides how many run"
    if name == "pbt" and space is not None and not changeable(space):
        rule = "must have a parameter without a condition that parts no branches"
        yield "space", f"{rule}: those are what pbt changes in a trial"
    grace = scheduler.options.get("grace_period", 1)
    short = next((stage for stage in stages if 0 < stage.epochs < grace), None)
    if short is not None:
        rule = f"must be at most {short.epochs}, the epochs of stage {short.name}"
        yield "tune.scheduler.grace_period", rule


def changeable(space: Space) -> dict[str, Range | Choice]:
    """What population based training may change in a trial, within the space's own range.

    Those with conditions stay, and those that part branches: a trial does not change its branch.
    """
    plain = {n: one for n, one in space.parameters.items() if isinstance(one, Range | Choice)}
    structural = space.structural()
    return {n: one for n, one in plain.items() if one.when is None and n not in structural}

"""The ``stages:`` section: each stage with its defaults, then what stages ask of one another.

Called by ``hpsearch.spec.loading``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.pruner_section import PrunerRule, check_pruner, read_pruner
from hpsearch.spec.pruning import filled
from hpsearch.spec.rules import (
    BOOLEAN,
    COUNT,
    EPOCHS,
    TRIALS,
    Name,
    Rule,
    Section,
    obeys,
    read_fields,
)
from hpsearch.spec.search import SAMPLERS, Data, Pruner, Stage
from hpsearch.spec.space import Range, Space
from workers.config.domain import Domain

SEARCH_KEYS: dict[str, Rule] = {
    "name": Name(),
    "trials": TRIALS,
    "epochs": EPOCHS,
    "sampler": Domain(names=SAMPLERS),
    "continue": COUNT,
    "batch": TRIALS,
    "narrow": BOOLEAN,
    "expand": COUNT,
    "pruner": PrunerRule(),
}
CONFIRM_KEYS: dict[str, Rule] = {
    "name": Name(),
    "top": TRIALS,
    "seeds": TRIALS,
    "epochs": EPOCHS,
}
CHECK_KEYS: dict[str, Rule] = {"name": Name()}
CHECK = "check"  # the name that makes a stage one
BATCHES = {"tpe": 16, "gp": 4}  # what these two still learn from; the others need no batch
NEEDS_RANGE = ("gp", "cmaes")
CONFIRM_SEEDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class StageDefaults:
    """What the top of a spec says for all its stages."""

    sampler: str | None
    epochs: int | None
    pruner: Pruner | None = None


def read_stages(
    section: Sequence[Any], defaults: StageDefaults, problems: Problems
) -> tuple[Stage | None, ...]:
    """Each stage, None where a problem leaves none."""
    if not section:
        problems.add("stages", "must have at least one stage, or be auto")
    stages: list[Stage | None] = []
    for i, item in enumerate(section):
        earlier = [stage for stage in stages if stage is not None]
        stages.append(_read_stage(item, f"stages[{i}]", earlier, defaults, problems))
    return tuple(stages)


def _read_stage(
    item: object, path: str, earlier: list[Stage], defaults: StageDefaults, problems: Problems
) -> Stage | None:
    if not isinstance(item, Mapping):
        obeys(item, Section(), path, problems)
        return None
    num_before = len(problems.found)
    searched = [stage for stage in earlier if stage.kind == "search"]
    if item.get("name") == CHECK:
        read_fields(item, path, CHECK_KEYS, problems, what="a key of a check stage")
        stage: Stage | None = Stage(name=CHECK, kind="check")
    elif "top" in item or item.get("name") == "confirm":
        stage = _read_confirm_stage(item, path, searched, problems)
    else:
        stage = _read_search_stage(item, path, searched, defaults, problems)
    return stage if len(problems.found) == num_before else None


def _read_confirm_stage(
    item: Mapping[Any, Any], path: str, searched: list[Stage], problems: Problems
) -> Stage | None:
    what, required = "a key of a confirm stage", ("name", "top")
    fields = read_fields(item, path, CONFIRM_KEYS, problems, what=what, required=required)
    if not set(required) <= set(fields):
        return None
    # With no search stage before it the stage is refused, whatever its epochs.
    epochs = searched[-1].epochs if searched else 1
    return Stage(kind="confirm", **{"epochs": epochs, "seeds": CONFIRM_SEEDS, **fields})


def _read_search_stage(
    item: Mapping[Any, Any],
    path: str,
    searched: list[Stage],
    defaults: StageDefaults,
    problems: Problems,
) -> Stage | None:
    what = "a key of a search stage"
    required = ("name", "trials") if defaults.epochs else ("name", "trials", "epochs")
    fields = read_fields(item, path, SEARCH_KEYS, problems, what=what, required=required)
    pruner = defaults.pruner
    if "pruner" in fields:
        pruner = read_pruner(fields.pop("pruner"), f"{path}.pruner", problems)
    if not set(required) <= set(fields):
        return None
    sampler = fields.get("sampler") or defaults.sampler or "random"
    batch = fields.get("batch", BATCHES.get(sampler))
    fields = {"epochs": defaults.epochs, **fields, "sampler": sampler, "batch": batch}
    continued = fields.pop("continue", _default_continued(fields, searched))
    stage = Stage(continued=continued, **fields)
    return with_pruner(stage, pruner)


def with_pruner(stage: Stage, pruner: Pruner | None) -> Stage:
    """``stage`` with that pruner, the options of which are filled in for the stage's epochs."""
    return stage.model_copy(update={"pruner": pruner and filled(pruner, stage.epochs)})


def _default_continued(fields: Mapping[str, Any], searched: Sequence[Stage]) -> int:
    """A fifth of the stage, rounded up: continuing the best is what makes short runs pay.

    None in the first stage, nor where there are no more epochs to continue for.
    """
    if not searched or fields["epochs"] <= searched[-1].epochs:
        return 0
    fifth: int = -(-fields["trials"] // 5)
    return min(fifth, searched[-1].trials)


def check_order(stages: Sequence[Stage | None], problems: Problems) -> None:
    """What stages ask of those before them, up to the first that has problems of its own."""
    known = [stage for stage in takewhile(lambda stage: stage is not None, stages) if stage]
    for i, stage in enumerate(known):
        path, earlier = f"stages[{i}]", known[:i]
        if stage.kind == "check" and earlier:
            problems.add(path, "is a check stage and must come first")
            continue
        if any(other.name == stage.name for other in earlier):
            rule = "is the name of an earlier stage; stages have names of their own"
            problems.add(f"{path}.name", rule, shown(stage.name))
        searched = [other for other in earlier if other.kind == "search"]
        if stage.kind == "check":
            continue
        if stage.kind == "confirm":
            _check_confirm(stage, path, searched, problems)
            continue
        if any(other.kind == "confirm" for other in earlier):
            problems.add(path, "is a search stage and must come before every confirm stage")
        _check_continued(stage, path, searched, problems)


def _check_confirm(stage: Stage, path: str, searched: list[Stage], problems: Problems) -> None:
    num_trials = _num_distinct(searched)
    if not searched:
        problems.add(path, "is a confirm stage and needs a search stage before it")
    elif stage.top > num_trials:
        rule = f"must be at most {num_trials}, the trials of the stages before"
        problems.add(f"{path}.top", rule, shown(stage.top))
    if not TRIALS.admits(stage.top * stage.seeds):
        rule = f"times the {stage.top} of top are its trials, which must be {TRIALS.rule()}"
        problems.add(f"{path}.seeds", rule, shown(stage.seeds))


def _check_continued(stage: Stage, path: str, searched: list[Stage], problems: Problems) -> None:
    if stage.continued == 0:
        return
    key, got = f"{path}.continue", shown(stage.continued)
    if not searched:
        problems.add(key, "must be 0 in the first stage, which has no trials to continue", got)
        return
    if stage.continued > stage.trials:
        rule = f"must be at most {stage.trials}, the trials of the stage: they are among them"
        problems.add(key, rule, got)
    before = searched[-1]
    if stage.continued > before.trials:
        rule = f"must be at most {before.trials}, the trials of stage {before.name} before it"
        problems.add(key, rule, got)
    if stage.epochs <= before.epochs:
        rule = (
            f"must be more than {before.epochs}, to continue trials of stage {before.name} before "
            "it; or say continue: 0"
        )
        problems.add(f"{path}.epochs", rule, shown(stage.epochs))


def check_pruners(
    stages: Sequence[Stage],
    data: Data | None,
    place: Callable[[int, str], str],
    problems: Problems,
) -> None:
    """What the stages' pruners ask of them and of the data; ``place`` as in :func:`check_space`."""
    for i, stage in enumerate(stages):
        only_continued = stage.kind == "search" and 0 < stage.trials <= stage.continued
        start = stages[i - 1].epochs if only_continued and i > 0 else 0
        check_pruner(stage, place(i, "pruner"), data, start, problems)


def _num_distinct(stages: Sequence[Stage]) -> int:
    """Trials of the stages, the continued ones counted once."""
    return sum(max(0, stage.trials - stage.continued) for stage in stages)


def check_space(
    stages: Sequence[Stage], space: Space, place: Callable[[int, str], str], problems: Problems
) -> None:
    """What stages ask of the space; ``place`` gives the key path for a stage's index and key."""
    num_branches = sum(1 for _ in space.assignments())
    first = 1 if stages[0].kind == "check" else 0
    if first == len(stages):
        problems.add("stages", "must have a search stage after the check stage")
        return
    if stages[first].kind == "search" and stages[first].trials < num_branches:
        rule = f"must give each of the {num_branches} branches of the space a trial"
        problems.add(place(first, "trials"), rule, shown(stages[first].trials))
    definitions = (d for parameter in space.parameters.values() for d in parameter.definitions)
    if any(isinstance(definition, Range) for definition in definitions):
        return
    for i, stage in enumerate(stages):
        if stage.sampler in NEEDS_RANGE:
            rule = "needs a range in the space, which has only choices; use tpe or grid"
            problems.add(place(i, "sampler"), rule, stage.sampler)

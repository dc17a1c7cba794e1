"""``load``: a YAML file, a packaged search space or a mapping becomes a ``Search``, or is refused.

Called by the CLI and the Python API; reads no data and imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpsearch.spec.auto import auto_stages, full_epochs
from hpsearch.spec.data_section import read_data
from hpsearch.spec.devices import DEVICES, PARALLEL, check_devices
from hpsearch.spec.document import Source, read_document
from hpsearch.spec.override import apply_overrides
from hpsearch.spec.own_model import MODEL, ModelKeys
from hpsearch.spec.own_pairs import PAIR, check_loss, read_metrics
from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.pruner_section import NONE, PrunerRule, read_pruner
from hpsearch.spec.rules import (
    COUNT,
    POSITIVE,
    Duration,
    Name,
    OrAuto,
    Rule,
    SearchRef,
    Section,
    StageList,
    read_fields,
    seconds,
)
from hpsearch.spec.search import (
    MAX_FAILURES,
    SAMPLERS,
    Budget,
    Data,
    Search,
    Stage,
)
from hpsearch.spec.space import Space
from hpsearch.spec.space_section import read_space
from hpsearch.spec.stages_section import (
    StageDefaults,
    check_order,
    check_pruners,
    check_space,
    read_stages,
    with_pruner,
)
from hpsearch.spec.trainable import TRAINABLE
from hpsearch.spec.training import training_of
from workers.config.domain import Domain

SEED = Domain(low=0, integer=True)  # it has a wider column than all others
TOP: dict[str, Rule] = {
    "name": Name(),
    "objective": Section(),
    "data": Section(),
    "model": MODEL,
    "loss": PAIR,
    "metrics": Section(),
    "trainable": TRAINABLE,
    "tune": Section(),
    "train": Section(),
    "space": Section(),
    "sampler": Domain(names=SAMPLERS),
    "pruner": PrunerRule(),
    "stages": StageList(),
    "budget": Section(),
    "resources": Section(),
    "seed": SEED,
    "max_failures": POSITIVE,
    "prior": SearchRef(),
}
BUDGET: dict[str, Rule] = {
    "epochs": Domain(low=1, high=1e12, integer=True),
    "trials": Domain(low=1, high=1e9, integer=True),
    "wall_time": Duration(),
    "gpu_hours": Domain(low=0, low_open=True, high=1e9),
}
RESOURCES: dict[str, Rule] = {
    "workers": OrAuto(POSITIVE),
    "gpus_per_worker": OrAuto(Domain(low=0)),
    "width": OrAuto(Domain(low=1, high=1e6, integer=True)),
    "devices_per_trial": DEVICES,
    "parallel": PARALLEL,
    "checkpoint_every": POSITIVE,
    "keep_checkpoints": COUNT,
}


def load(source: Source, overrides: Sequence[str] = ()) -> Search:
    """The search that ``source`` asks for, with ``overrides`` (``key.path=value``) applied.

    ``source`` is the path of a YAML file, the bare name of a packaged search space (``digits``;
    a file of that name in the working folder goes first), or a mapping of the same shape.
    Raises SpecError with everything that is wrong.
    """
    document = read_document(source)
    problems = Problems(file=document.file)
    tree = apply_overrides(document.tree, overrides, problems)
    search = _Reader(tree, problems).read()
    problems.raise_if_any()
    assert search is not None  # for it has no problems
    return search


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the sections of ``tree`` one by one; what is wrong goes to ``problems``."""

    tree: Mapping[str, Any]
    problems: Problems

    def read(self) -> Search | None:
        training = training_of(self.tree, self.problems)
        required = ("name", *training.required, "space", "stages")
        top = self._fields(self.tree, "", TOP, "a key of a spec", required)
        data = read_data(top["data"], self.problems) if "data" in top else None
        metrics = read_metrics(top.get("metrics", {}), self.problems)
        objective = training.objective(top, data)
        keys, train = training.fields(top)
        self._check_loss(top)
        tune = training.tune(top)
        resources = self._fields(
            top.get("resources", {}), "resources", RESOURCES, "a key of resources"
        )
        check_devices(top, resources, self.problems)
        space = self._space(top, train, keys)
        defaults = StageDefaults(
            sampler=top.get("sampler"),
            epochs=train.pop("epochs", None),
            pruner=read_pruner(top.get("pruner", NONE), "pruner", self.problems),
        )
        budget = self._budget(top)
        stages = self._stages(top, defaults, space, data) if "stages" in top else ()
        for key, rule in training.check(top, stages, tune, space):
            self.problems.add(key, rule)
        if self.problems.found:
            return None
        train |= {key: top[key] for key in ("model", "loss", "trainable") if key in top}
        return training.search(
            data,
            resources,
            name=top["name"],
            objective=objective,
            train=train,
            space=space,
            stages=stages,
            seed=top.get("seed", 0),
            budget=budget,
            max_failures=top.get("max_failures", MAX_FAILURES),
            prior=str(top["prior"]) if "prior" in top else None,
            tune=tune,
            metrics=metrics,
        )

    def _check_loss(self, top: Mapping[str, Any]) -> None:
        if "loss" in top:
            given = [part for part in ("train", "space") if "loss" in top.get(part, {})]
            check_loss(top["loss"], given, self.problems)

    def _space(
        self, top: Mapping[str, Any], train: Mapping[str, Any], keys: ModelKeys
    ) -> Space | None:
        given = {*train, *top.get("space", {})}
        keys.check_given(given, self.problems)
        if "space" not in top:
            return None
        return read_space(top["space"], train.keys(), self.problems, keys.domains)

    def _fields(
        self,
        section: Mapping[Any, Any],
        path: str,
        table: Mapping[str, Rule],
        what: str,
        required: Sequence[str] = (),
    ) -> dict[str, Any]:
        return read_fields(section, path, table, self.problems, what=what, required=required)

    def _budget(self, top: Mapping[str, Any]) -> Budget:
        """The limits. The epochs of stages: auto are what those are made of, and end nothing."""
        fields = self._fields(top.get("budget", {}), "budget", BUDGET, "a key of budget")
        if top.get("stages") == "auto":
            fields.pop("epochs", None)
        if "wall_time" in fields:
            fields["wall_time"] = seconds(fields["wall_time"])
        return Budget(**fields)

    def _stages(
        self,
        top: Mapping[str, Any],
        defaults: StageDefaults,
        space: Space | None,
        data: Data | None,
    ) -> tuple[Stage, ...]:
        """The stages, or none if one of them has a problem."""
        is_auto = top["stages"] == "auto"
        stages = self._auto_stages(top, defaults) if is_auto else self._listed(top, defaults)
        place = _auto_place if is_auto else _place
        if stages and space is not None:
            check_space(stages, space, place, self.problems)
        check_pruners(stages, data, place, self.problems)
        return stages

    def _listed(self, top: Mapping[str, Any], defaults: StageDefaults) -> tuple[Stage, ...]:
        if defaults.epochs is None and "epochs" in (top.get("train") or {}):
            defaults = replace(defaults, epochs=1)  # it is there, and has its problem told already
        read = read_stages(top["stages"], defaults, self.problems)
        check_order(read, self.problems)
        stages = tuple(stage for stage in read if stage is not None)
        return stages if len(stages) == len(read) else ()

    def _auto_stages(self, top: Mapping[str, Any], defaults: StageDefaults) -> tuple[Stage, ...]:
        if "sampler" in top:
            self.problems.add("sampler", "is chosen by stages: auto; leave one of the two out")
        budget = top.get("budget", {}).get("epochs")
        rule = BUDGET["epochs"]
        if not rule.admits(budget):
            if budget is None:  # what is wrong otherwise is told already
                self.problems.add("budget.epochs", f"is required: {rule.rule()}")
            return ()
        budget = int(budget)
        try:
            stages = auto_stages(budget, defaults.epochs or full_epochs(budget))
        except ValueError as error:
            self.problems.add("budget.epochs", str(error), shown(budget))
            return ()
        return tuple(with_pruner(stage, defaults.pruner) for stage in stages)


def _place(index: int, key: str) -> str:
    return f"stages[{index}].{key}"


def _auto_place(_: int, key: str) -> str:
    """Where a user changes what ``stages: auto`` made of it."""
    return {"trials": "budget.epochs", "sampler": "stages", "pruner": "pruner"}[key]

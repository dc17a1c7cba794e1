"""The two kinds of training that a spec may ask for, and what each makes of its sections.

Chosen by ``hpsearch.spec.loading``: ours trains a network on data, a trainable of the user's own
is run by Ray Tune.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from hpsearch.spec.objective_section import read_our_objective, read_reported_objective
from hpsearch.spec.own_model import ModelKeys, read_model
from hpsearch.spec.own_pairs import named
from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.rules import read_fields
from hpsearch.spec.search import BY_TUNE, Data, Objective, Resources, Search, Stage, Tune
from hpsearch.spec.space import Space, varies
from hpsearch.spec.trainable import check_trainable, read_constants, read_trainable, read_tune
from hpsearch.spec.unread import unread
from hpsearch.spec.warm_start import RULE, parse_warm_start, warm_starts

# The metrics whose meaning some fields change: trials that differ in them cannot be ranked by it.
LOSS_FIELDS = ("loss", "hinge_margin", "huber_delta")
MEANINGS = {
    "val_loss": LOSS_FIELDS,
    "train_loss": (*LOSS_FIELDS, "label_smoothing", "mixup", "class_weights"),
}


class Training(Protocol):
    """A kind of training, as far as reading a spec goes; ``top`` has the spec's legal sections.

    ``required`` are the sections that this kind alone must have. What is wrong becomes a problem.
    """

    required: ClassVar[tuple[str, ...]]

    def objective(self, top: Mapping[str, Any], data: Data | None) -> Objective:
        """What ranks trials."""
        ...

    def fields(self, top: Mapping[str, Any]) -> tuple[ModelKeys, dict[str, Any]]:
        """What may be fixed and searched, and what is fixed."""
        ...

    def tune(self, top: Mapping[str, Any]) -> Tune | None:
        """How Ray Tune runs the trials, None where it does not."""
        ...

    def check(
        self,
        top: Mapping[str, Any],
        stages: tuple[Stage, ...],
        tune: Tune | None,
        space: Space | None,
    ) -> Iterable[tuple[str, str]]:
        """(key, sentence) of what does not go with this kind."""
        ...

    def search(self, data: Data | None, resources: Mapping[str, Any], **sections: Any) -> Search:
        """The search, of sections that have no problems so far; it may still have some."""
        ...


def training_of(tree: Mapping[str, Any], problems: Problems) -> Training:
    """The kind of a spec's training: a trainable once it names one, a legal one or not."""
    if tree.get("trainable") is None:
        return OurTraining(problems)
    return OwnTrainable(problems)


@dataclass(frozen=True, slots=True)
class OurTraining:
    """The training of ``workers``, of a network of ours or of the user's own, on data."""

    problems: Problems
    required: ClassVar[tuple[str, ...]] = ("data",)

    def objective(self, top: Mapping[str, Any], data: Data | None) -> Objective:
        task = None if data is None else data.task
        return read_our_objective(top.get("objective", {}), task, named(top), self.problems)

    def fields(self, top: Mapping[str, Any]) -> tuple[ModelKeys, dict[str, Any]]:
        section = top.get("train", {})
        model = read_model(top.get("model"), self.problems)
        what = "a parameter of the training"
        rules = model.rules(section)
        return model, read_fields(section, "train", rules, self.problems, what=what)

    def tune(self, top: Mapping[str, Any]) -> None:
        if "tune" in top:
            self.problems.add("tune", "goes with a trainable, which this spec does not name")

    def check(
        self,
        top: Mapping[str, Any],
        stages: tuple[Stage, ...],
        tune: Tune | None,
        space: Space | None,
    ) -> Iterable[tuple[str, str]]:
        return ()  # what fields ask of one another is told once there is a search

    def search(self, data: Data | None, resources: Mapping[str, Any], **sections: Any) -> Search:
        search = Search(data=data, resources=Resources(**resources), **sections)
        self._check_warm_starts(search)
        self._check_comparable(search)
        for key, rule in unread(search):
            self.problems.add(key, rule)
        return search

    def _check_warm_starts(self, search: Search) -> None:
        for key, text in warm_starts(search):
            if parse_warm_start(text) is None:
                self.problems.add(key, RULE, shown(text))

    def _check_comparable(self, search: Search) -> None:
        metric = search.objective.metric
        searched = search.space.parameters
        asked = [name for name in MEANINGS.get(metric, ()) if name in searched]
        changed = [name for name in asked if varies(searched[name])]
        if changed:
            rule = (
                f"cannot compare trials that differ in {' and '.join(changed)}, which change what "
                "it measures; fix that under train, or choose another metric"
            )
            self.problems.add("objective.metric", rule, shown(metric))


@dataclass(frozen=True, slots=True)
class OwnTrainable:
    """A trainable of the user's own: all names are its own, and so are its data."""

    problems: Problems
    required: ClassVar[tuple[str, ...]] = ()

    def objective(self, top: Mapping[str, Any], data: Data | None) -> Objective:
        return read_reported_objective(top.get("objective", {}), self.problems)

    def fields(self, top: Mapping[str, Any]) -> tuple[ModelKeys, dict[str, Any]]:
        keys = read_trainable(top.get("trainable"), self.problems)
        return keys, read_constants(top.get("train", {}), self.problems)

    def tune(self, top: Mapping[str, Any]) -> Tune:
        return read_tune(top.get("tune", {}), self.problems)

    def check(
        self,
        top: Mapping[str, Any],
        stages: tuple[Stage, ...],
        tune: Tune | None,
        space: Space | None,
    ) -> Iterable[tuple[str, str]]:
        assert tune is not None  # it is its own
        return check_trainable(top, stages, tune, space)

    def search(self, data: Data | None, resources: Mapping[str, Any], **sections: Any) -> Search:
        own = Resources(**{**resources, "width": 1})  # each trial is a process of Ray Tune's
        return Search(data=Data(source=BY_TUNE), resources=own, **sections)

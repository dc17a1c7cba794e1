"""Search and Stage: one request of a user, as frozen values.

Built by ``hpsearch.spec.load`` from YAML, stored as JSON with the search, read by the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from hpsearch.spec.space import Choice, Frozen, Space, Value
from workers.config.own import is_own
from workers.config.parallel import grid

SamplerName = Literal["random", "qmc", "grid", "tpe", "gp", "cmaes"]
PrunerName = Literal[
    "median",
    "percentile",
    "successive_halving",
    "hyperband",
    "patient",
    "threshold",
    "wilcoxon",
]
SchedulerName = Literal["asha", "hyperband", "median_stopping", "pbt"]
MAX_FAILURES = 20
ELSEWHERE = ("optuna", "ray_tune")  # what data.source says of searches that another program made
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
PRUNERS: tuple[PrunerName, ...] = get_args(PrunerName)
SCHEDULERS: tuple[SchedulerName, ...] = get_args(SchedulerName)
POPULATIONS = ("hyperband", "pbt")  # which have all trials of a stage at once, some of them paused
BY_TUNE = "trainable"  # what data.source says where a trainable brings its own


class Objective(Frozen):
    """The metric that ranks trials, and its good direction."""

    metric: str = "val_accuracy"
    mode: Literal["max", "min"] = "max"


class Pruner(Frozen):
    """A pruner of Optuna by name, with ``options`` in Optuna's words, their defaults filled in.

    ``wrapped`` is the one that ``patient`` asks once its patience is over; None prunes then.
    """

    name: PrunerName
    options: dict[str, float | int] = Field(default_factory=dict)
    wrapped: Pruner | None = None


class Stage(Frozen):
    """One part of a search.

    ``trials`` counts all trials of the stage, the continued ones among them. ``continued`` (YAML:
    ``continue``) is how many of the best trials of the stage before go on from their checkpoints;
    ``batch`` how many trials are asked at once from a sampler that learns; ``narrow`` whether the
    ranges are narrowed before this stage; ``expand`` how many times this stage may extend ranges
    whose border holds the best trials; ``pruner`` what ends trials at rungs. A confirm stage has
    ``top`` and ``seeds`` instead of trials. A check stage, which is the first if there is one, has
    none of all this.
    """

    name: str
    kind: Literal["check", "search", "confirm"] = "search"
    trials: int = 0
    epochs: int = 0
    sampler: SamplerName = "random"
    continued: int = 0
    batch: int | None = None
    narrow: bool = True
    expand: int = 2
    pruner: Pruner | None = None
    top: int = 0
    seeds: int = 0


class Resources(Frozen):
    """What a search may use: how many workers, and how many rows are trained at once.

    A trial is a row, or with k folds k rows. With ``width`` auto that is measured. The checkpoints
    of as many of the best trials as ``keep_checkpoints`` says are kept. A worker has
    ``devices_per_trial`` devices, which part the work on its trials as ``parallel`` says.
    """

    LATER: ClassVar[tuple[str, ...]] = ("devices_per_trial", "parallel")
    workers: int | Literal["auto"] = "auto"
    gpus_per_worker: float | Literal["auto"] = "auto"
    width: int | Literal["auto"] = "auto"
    devices_per_trial: int = 1
    parallel: Literal["data", "model", "hybrid"] = "data"
    checkpoint_every: int = 10
    keep_checkpoints: int = 10

    @property
    def num_minibatch_parts(self) -> int:
        """In how many parts the devices of a trial take each minibatch."""
        return grid(self.devices_per_trial, self.parallel)[0]


class Data(Frozen):
    """Where the examples come from; see ``workers.data``.

    With ``folds`` (YAML: ``validation: {folds: k}``) each trial is trained k times, and
    ``validation`` is unused.
    """

    LATER: ClassVar[tuple[str, ...]] = ("stream", "loader_workers")
    source: str
    path: str | None = None
    target: str | None = None
    validation: int | float = 0.2
    preprocess: tuple[str, ...] = ()
    limit: int | None = None
    task: Literal["classification", "regression"] = "classification"
    folds: int | None = None
    stream: bool | Literal["auto"] = "auto"
    loader_workers: int | Literal["auto"] = "auto"

    @property
    def rows_per_trial(self) -> int:
        """How many rows of a stack a trial takes."""
        return self.folds or 1


class Budget(Frozen):
    """What a search may spend; the first to be reached ends it, complete with what it has.

    ``epochs`` of single trials; ``trials`` that have ended; ``wall_time`` in seconds, while it is
    carried out; ``gpu_hours`` of its workers' training. None: no limit.
    """

    epochs: int | None = None
    trials: int | None = None
    wall_time: float | None = None
    gpu_hours: float | None = None


class Scheduler(Frozen):
    """What ends trials early, or has them take over from better ones: Ray Tune's, by name.

    ``options`` are in Ray Tune's words, periods in epochs.
    """

    name: SchedulerName
    options: dict[str, float | int] = Field(default_factory=dict)


class Tune(Frozen):
    """How Ray Tune runs the trials of a trainable.

    One that raised, or whose worker died, is tried ``max_failures`` times more, from its last
    checkpoint. ``reuse_actors`` auto: where the trainable allows.
    """

    scheduler: Scheduler | None = None
    max_failures: int = 0
    reuse_actors: bool | Literal["auto"] = "auto"
    cpus_per_trial: float | None = None


class Search(Frozen):
    """A whole request. ``train`` fixes fields of TrainConfig; ``stages`` is never empty.

    One of which ``max_failures`` trials failed, and none came to an end, has failed. ``prior`` is
    an earlier search, by name or id, from whose complete trials this one learns. With ``tune`` the
    training is a ``trainable`` of the user's own, and ``train`` holds constants of its config.
    ``metrics`` are those of the user's own, by name, each a MODULE:NAME.
    """

    LATER: ClassVar[tuple[str, ...]] = ("tune", "metrics")
    name: str
    objective: Objective = Objective()
    data: Data
    train: dict[str, Value] = Field(default_factory=dict)
    space: Space
    stages: tuple[Stage, ...]
    resources: Resources = Resources()
    seed: int = 0
    budget: Budget = Budget()
    max_failures: int = MAX_FAILURES
    prior: str | None = None
    tune: Tune | None = None
    metrics: dict[str, str] = Field(default={})  # a factory's would not be known as the default

    @property
    def trainable(self) -> str | None:
        """The MODULE:NAME of the trainable; None if the training is ours."""
        return None if self.tune is None else str(self.train["trainable"])

    @property
    def python_names(self) -> tuple[str, ...]:
        """Each MODULE:NAME in it, which whoever trains it imports."""
        if self.trainable is not None:
            return (self.trainable,)
        named = (self.train.get("model"), self.train.get("loss"), *self._searched("model", "loss"))
        all_named = (*named, self.data.source, *self.metrics.values())
        return tuple(str(name) for name in all_named if is_own(str(name)))

    def _searched(self, *fields: str) -> Iterator[Value]:
        """All choices of them in the space, under any condition."""
        for parameter in map(self.space.parameters.get, fields):
            for definition in parameter.definitions if parameter is not None else ():
                if isinstance(definition, Choice):
                    yield from definition.choices

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether another program trained it: its trials are stored here, and nothing else."""
        return self.data.source in ELSEWHERE

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold of it, which is all; order matters in it: branches follow it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Search:
        """The inverse of :meth:`to_json`, exactly: lists that were tuples come back as tuples."""
        return cls.model_validate(values)

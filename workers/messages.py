"""What crosses from coordinator to worker and back: a TrialGroup goes in, Reports come out.

Plain frozen values of the standard library, so that either side can be tested without the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from workers.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointSlice:
    """A trial's row in a group's checkpoint file; with k folds, its rows from k row on."""

    file: str
    row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One trial as a worker sees it. ``seed`` keys its initialization and its dropout.

    ``resume`` is where its own training stopped; ``warm_start`` where a new one takes weights from.
    """

    trial: int
    seed: int
    config: TrainConfig
    resume: CheckpointSlice | None = None
    warm_start: CheckpointSlice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialGroup:
    """Trials that are trained together as one stacked model, from ``start_epoch`` to ``end_epoch``.

    All members have the same ``TrainConfig.stacking_key()`` and see the same minibatches, whose
    order is keyed by ``order_seed``. ``own_metrics`` are the user's, (name, MODULE:NAME) each.
    ``budgets`` are the epochs to which the trials, and those that
    they continue, were to train, first to last; none stands for ``end_epoch``. ``metric`` and
    ``mode`` are the objective, for what waits on it (early stopping, plateau). A checkpoint is
    written after every epoch that is a multiple of ``checkpoint_every``, wherever the group starts,
    after one in which a trial stops early, and after the last one, to a file whose name begins with
    ``checkpoint_stem``; no stem, none.

    At most ``width`` rows are trained at once, in blocks, one block after the other; None stands
    for all of them. A group that ``measures`` tries several widths in its first steps, each on rows
    of its own, and goes on with ``width``, or, if that is None, with the best one. It reports what
    it goes on with: trained again with that width, it repeats what it did.
    """

    name: str
    members: tuple[Member, ...]
    order_seed: int
    start_epoch: int
    end_epoch: int
    budgets: tuple[int, ...] = ()
    metric: str = "val_loss"
    mode: Literal["max", "min"] = "min"
    own_metrics: tuple[tuple[str, str], ...] = ()
    checkpoint_stem: str | None = None
    checkpoint_every: int = 10
    width: int | None = None
    measures: bool = False
    stage: str = ""

    def total_epochs(self, epoch: int) -> int:
        """The T over which schedules were laid in ``epoch`` (from 0): the budget that it fell in.

        So a trial that is trained again from its start repeats the rates that it had.
        """
        return next((budget for budget in self.budgets if budget > epoch), self.end_epoch)

    def due_checkpoint(self, epoch: int, *, ends_early: bool = False) -> str | None:
        """The file to write after ``epoch`` (from 1), or None if none is due then.

        ``ends_early``: whether a trial stops here, whose last weights are to be kept.
        """
        is_due = ends_early or epoch == self.end_epoch or epoch % self.checkpoint_every == 0
        if self.checkpoint_stem is None or not is_due:
            return None
        return f"{self.checkpoint_stem}-{epoch}.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """Why a member stopped counting: the epoch (from 1), what was seen there, and its metrics."""

    trial: int
    epoch: int
    message: str
    metrics: dict[str, Metric]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A member that cannot be trained as it is configured, or measured, in one sentence."""

    trial: int
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What a step of ``width`` rows together takes: its seconds, and the bytes of memory at most.

    ``bytes`` are those beyond the rows' own weights and states; 0 where they cannot be measured.
    """

    width: int
    seconds: float
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The metrics of a group's living members after one epoch (epochs count from 1 here).

    ``metrics[name][i]`` belongs to ``trials[i]``; ``checkpoint`` names the file written after this
    epoch, if one was, in which ``trials[i]`` has row i. ``seconds`` is the wall time of the epoch.
    Trials in ``stopped`` are among ``trials`` for the last time: they ended early, in good health.
    So are those in ``pruned``, which a scheduler of Ray Tune ended. Either may also come after a
    trial's last epoch, without metrics, and not be among ``trials``. Members in ``diverged`` or
    ``refused`` are in none of these. ``speeds`` are what a group that measures
    found in this epoch, and ``width`` is what it goes on with. ``note`` is what a person should
    know of how the group is trained.
    """

    epoch: int
    trials: tuple[int, ...]
    metrics: dict[str, list[Metric]]
    seconds: float
    diverged: tuple[Divergence, ...] = ()
    refused: tuple[Refusal, ...] = ()
    stopped: tuple[int, ...] = ()
    pruned: tuple[int, ...] = ()
    checkpoint: str | None = None
    speeds: tuple[Speed, ...] = ()
    width: int | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A trained network on held-out examples: its metrics by name, under those of validation.

    ``confusion[i][j]`` is how many examples of class i it took for class j; None of a regression.
    """

    metrics: dict[str, float]
    confusion: list[list[int]] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One configuration that stands for many; ``rates`` is the range of its learning rate.

    ``decays`` is that of its weight_decay. They are None where the number is fixed; ``warm_start``
    where ``config`` has none, or where what it names was not found.
    """

    label: str
    config: TrainConfig
    rates: tuple[float, float] | None
    decays: tuple[float, float] | None = None
    warm_start: CheckpointSlice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckPlan:
    """What is to be checked before a search: its probes, and ``width`` trials trained together.

    ``stages`` are the names of those that train, with the epochs of a trial at their end.
    """

    probes: tuple[Probe, ...]
    seed: int
    order_seed: int
    width: int
    stages: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What a check found, in ``text`` with its numbers and, if it did not pass, what to do.

    ``probe`` is the label of the probe, None of what concerns the data. A check is skipped where
    there is nothing to check. ``evidence`` holds what JSON can: finite numbers, lists of them.
    """

    name: str
    probe: str | None
    verdict: Verdict
    text: str
    evidence: dict[str, Any]


Verdict = Literal["pass", "warn", "fail", "skip"]
Metric = float | list[float]  # a number, or one a layer

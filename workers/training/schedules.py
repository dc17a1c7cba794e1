"""Learning rates over time: a factor on the base rate by schedule, warm-up, and batch size.

Called by the loop once an epoch; a new schedule is one function and one line in ``SCHEDULES``. All
count from 0 as torch.optim.lr_scheduler does, which is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.config import TrainConfig

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """The moments of one epoch: ``t`` [S] in epochs since the trial began.

    ``num_steps`` is the number of steps of this epoch, ``total`` the trial's number of epochs.
    """

    t: Numbers
    num_steps: int
    total: int

    def span(self, config: TrainConfig) -> int:
        """T, the epochs that a schedule with an end is laid over."""
        return config.schedule_epochs or self.total


Factor = Callable[[TrainConfig, Clock], Numbers | float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A factor on the base rate, and the fields of TrainConfig that it reads.

    ``per_step`` ones change with every step; the others are shown whole epochs, t [1].
    """

    factor: Factor
    reads: tuple[str, ...] = ()
    per_step: bool = False


def constant(config: TrainConfig, clock: Clock) -> float:
    """1"""
    return 1.0


def step(config: TrainConfig, clock: Clock) -> Numbers:
    """lr_decay^floor(t / lr_step_size), or lr_decay^(number of milestones up to t).

    torch's StepLR and MultiStepLR."""
    milestones = np.atleast_1d(config.lr_milestones)
    passed = (milestones <= clock.t[:, None]).sum(1)
    return np.power(config.lr_decay, passed if len(milestones) else _steps(config, clock))


def halving(config: TrainConfig, clock: Clock) -> Numbers:
    """(1/2)^floor(t / lr_step_size)"""
    return np.power(0.5, _steps(config, clock))


def exponential(config: TrainConfig, clock: Clock) -> Numbers:
    """lr_decay^t (torch's ExponentialLR)"""
    return np.power(config.lr_decay, clock.t)


def natural_exponential(config: TrainConfig, clock: Clock) -> Numbers:
    """e^(-k t), k = lr_decay (Bengio 2012; cs231n notes)"""
    return np.exp(-config.lr_decay * clock.t)


def inverse_time(config: TrainConfig, clock: Clock) -> Numbers:
    """1 / (1 + k t), k = lr_decay (Robbins and Monro 1951; Darken and Moody 1990)"""
    return 1.0 / (1.0 + config.lr_decay * clock.t)


def power(config: TrainConfig, clock: Clock) -> Numbers:
    """1 / (t + 1)^lr_power (Robbins and Monro 1951; Senior et al. 2013)"""
    return np.power(1.0 + clock.t, -config.lr_power)


def polynomial(config: TrainConfig, clock: Clock) -> Numbers:
    """lr_min + (1 - lr_min) (1 - t/T)^lr_power, lr_min after T (torch's PolynomialLR)"""
    left = np.clip(1.0 - clock.t / clock.span(config), 0.0, 1.0)
    return config.lr_min + (1.0 - config.lr_min) * np.power(left, config.lr_power)


def cosine(config: TrainConfig, clock: Clock) -> Numbers:
    """lr_min + (1 - lr_min) (1 + cos(pi t/T)) / 2, lr_min after T; with lr_cycle_epochs it starts
    again after so many, and each cycle is lr_cycle_factor times as long as the last.

    Loshchilov and Hutter 2017; torch's CosineAnnealingLR and CosineAnnealingWarmRestarts."""
    if config.lr_cycle_epochs is None:
        done = np.minimum(clock.t / clock.span(config), 1.0)
    else:
        done = _share_of_cycle(clock.t, config.lr_cycle_epochs, config.lr_cycle_factor)
    return _annealed(1.0, config.lr_min, done)


def one_cycle(config: TrainConfig, clock: Clock) -> Numbers:
    """From 1/25 up to 1 in the first 30 % of T, then down to 1/250,000, along cosines.

    Smith and Topin 2018; torch's OneCycleLR with its defaults, but for the momentum. T has N steps
    from 0 to N - 1; the peak is at 0.3 N - 1."""
    num_steps = clock.num_steps * clock.span(config)
    s, last = clock.t * clock.num_steps, max(num_steps - 1, 1)
    peak = max(0.3 * num_steps - 1, 0.0)
    up = _annealed(1 / 25, 1.0, np.minimum(s / max(peak, 1e-9), 1.0))
    down = _annealed(1.0, 1 / 25e4, np.clip((s - peak) / (last - peak), 0.0, 1.0))
    return np.where(s < peak, up, down)


def cyclic(config: TrainConfig, clock: Clock) -> Numbers:
    """lr_min + (1 - lr_min) (1 - |2 u - 1|), u the share of a cycle that is over: a triangle.

    A cycle takes lr_cycle_epochs, or T. Smith 2017; torch's CyclicLR, triangular."""
    share = np.mod(clock.t / (config.lr_cycle_epochs or clock.span(config)), 1.0)
    return config.lr_min + (1.0 - config.lr_min) * (1.0 - np.abs(2.0 * share - 1.0))


def plateau(config: TrainConfig, clock: Clock) -> float:
    """1; ``stopping`` multiplies by lr_decay when the objective stalls (ReduceLROnPlateau)"""
    return 1.0


def grow_batch(config: TrainConfig, clock: Clock) -> float:
    """1; the batch grows by 1 / lr_decay every lr_step_size epochs (Smith et al. 2018)"""
    return 1.0


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(factor=constant),
    "step": Schedule(factor=step, reads=("lr_decay", "lr_step_size", "lr_milestones")),
    "halving": Schedule(factor=halving, reads=("lr_step_size",)),
    "exponential": Schedule(factor=exponential, reads=("lr_decay",)),
    "natural_exponential": Schedule(factor=natural_exponential, reads=("lr_decay",)),
    "inverse_time": Schedule(factor=inverse_time, reads=("lr_decay",)),
    "power": Schedule(factor=power, reads=("lr_power",)),
    "polynomial": Schedule(
        factor=polynomial, reads=("lr_power", "lr_min", "schedule_epochs"), per_step=True
    ),
    "cosine": Schedule(
        factor=cosine,
        reads=("lr_min", "lr_cycle_epochs", "lr_cycle_factor", "schedule_epochs"),
        per_step=True,
    ),
    "one_cycle": Schedule(factor=one_cycle, reads=("schedule_epochs",), per_step=True),
    "cyclic": Schedule(
        factor=cyclic, reads=("lr_min", "lr_cycle_epochs", "schedule_epochs"), per_step=True
    ),
    "plateau": Schedule(factor=plateau, reads=("lr_decay", "lr_patience", "lr_min", "min_delta")),
    "grow_batch": Schedule(factor=grow_batch, reads=("lr_decay", "lr_step_size")),
}


def rates(
    configs: Sequence[TrainConfig], epoch: int, num_steps: int, num_train: int, total_epochs: int
) -> Numbers:
    """Learning rates [S, M] of the steps of ``epoch`` (from 0), before what plateau takes off.

    S is ``num_steps``, or 1 where no row's rate changes within the epoch. learning_rate times
    ``batch_scaling``, the schedule and ``warm_up``. A rate beyond all numbers is infinite.
    """
    whole = Clock(t=np.array([float(epoch)]), num_steps=num_steps, total=total_epochs)
    steps = whole
    if any(_changes_within(config, epoch) for config in configs):
        t = epoch + np.arange(num_steps) / num_steps
        steps = Clock(t=t, num_steps=num_steps, total=total_epochs)
    rates_SM = np.empty((len(steps.t), len(configs)))
    with np.errstate(over="ignore"):  # that trial diverges; the others of its group train on
        for row, config in enumerate(configs):
            base = config.learning_rate * batch_scaling(config, num_train)
            rates_SM[:, row] = base * _factor(config, whole, steps)
    return rates_SM


def batch_scaling(config: TrainConfig, num_train: int) -> float:
    """B / reference_batch_size (Goyal et al. 2017), its root (Hoffer et al. 2017), or 1.

    B is the number of examples of an update. A batch that grows counts as it begins: growing it
    takes the place of a decay, which scaling would undo.
    """
    if config.lr_scaling == "none":
        return 1.0
    batch = min(num_train, config.minibatch_size(0, num_train) * config.accumulation_steps)
    ratio = batch / config.reference_batch_size
    return ratio if config.lr_scaling == "linear" else ratio**0.5


def warm_up(config: TrainConfig, clock: Clock) -> Numbers:
    """min(1, (s + 1) / W) at step s, W the steps of warmup_epochs (Goyal et al. 2017).

    It multiplies the schedule, whose time runs meanwhile; torch's LinearLR, chained."""
    return np.minimum((clock.t + 1.0 / clock.num_steps) / config.warmup_epochs, 1.0)


def _changes_within(config: TrainConfig, epoch: int) -> bool:
    return epoch < config.warmup_epochs or SCHEDULES[config.lr_schedule].per_step


def _factor(config: TrainConfig, whole: Clock, steps: Clock) -> Numbers | float:
    schedule = SCHEDULES[config.lr_schedule]
    factor = schedule.factor(config, steps if schedule.per_step else whole)
    return factor * warm_up(config, steps) if whole.t[0] < config.warmup_epochs else factor


def _steps(config: TrainConfig, clock: Clock) -> Numbers:
    return np.floor_divide(clock.t, config.lr_step_size)


def _annealed(start: float, end: float, done: Numbers) -> Numbers:
    """From ``start`` to ``end`` along half a cosine, ``done`` in [0, 1]."""
    return end + (start - end) / 2.0 * (1.0 + np.cos(np.pi * done))


def _share_of_cycle(t: Numbers, first: int, factor: int) -> Numbers:
    """How much of its cycle is over at each t, in [0, 1); cycles last first * factor^n epochs."""
    if factor == 1:
        return np.mod(t, first) / first
    # Cycles begin at whole epochs, so rounding can only matter there; the addend outweighs it.
    grown = np.log1p(np.floor(t) / first * (factor - 1)) / np.log(factor)
    ratio: Numbers = np.power(float(factor), np.floor(grown + 1e-9))
    return (t - first * (ratio - 1) / (factor - 1)) / (first * ratio)

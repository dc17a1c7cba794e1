"""Learning-rate schedules: the factor on the base rate at an epoch, one function each.

Epochs count from 0 here, as torch.optim.lr_scheduler's do, which is the oracle of the tests. Called
by the loop once an epoch; a new schedule is one function and one line in ``SCHEDULES``.
"""

from __future__ import annotations

from collections.abc import Callable

from workers.config import TrainConfig

Schedule = Callable[[TrainConfig, int], float]

SCHEDULES: dict[str, Schedule] = {
    "constant": lambda _, __: 1.0,
    "step": lambda config, epoch: config.lr_decay ** (epoch // config.lr_step_size),
    "exponential": lambda config, epoch: config.lr_decay**epoch,
    "inverse_time": lambda config, epoch: 1.0 / (1.0 + config.lr_decay * epoch),
}


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The learning rate of ``config`` during ``epoch`` (from 0)."""
    return config.learning_rate * SCHEDULES[config.lr_schedule](config, epoch)

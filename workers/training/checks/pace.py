"""The pace against the epochs of the stages: warm-up, milestones, schedule and average must fit.

Called by ``check`` for each probe; arithmetic alone, nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workers.config import TrainConfig
from workers.messages import CheckResult
from workers.training.checks.subject import Subject

ENDING = ("polynomial", "cosine", "one_cycle")  # schedules that stay where they end


def pace(subject: Subject) -> CheckResult:
    """Warns of what no trial will see, or all of a stage will see nothing else of.

    Trials of the shortest stage are compared at its end: by then they must be out of the warm-up,
    and their average out of its start. Milestones and schedules may fit the longest stage alone.
    """
    stages = sorted(subject.plan.stages, key=lambda stage: stage[1])
    if not stages:
        return subject.result("pace", "skip", "no stage that trains")
    (first, few), (last, many) = stages[0], stages[-1]
    of_shortest = [*_warmup(subject.config, first, few), *_average(subject, first, few)]
    of_longest = [*_milestones(subject.config, last, many), *_end(subject.config, last, many)]
    found = of_shortest + of_longest
    if found:
        return subject.result("pace", "warn", "; ".join(found), stages=dict(stages))
    epochs = f"{few}" if few == many else f"{few} to {many}"
    text = f"warm-up, schedule and average fit the {epochs} epochs of a trial"
    return subject.result("pace", "pass", text, stages=dict(stages))


def _warmup(config: TrainConfig, stage: str, epochs: int) -> Iterator[str]:
    if config.warmup_epochs > epochs:
        yield (
            f"warmup_epochs {config.warmup_epochs:g} is more than the {epochs} epochs of stage "
            f"{stage}, whose trials never reach their learning_rate"
        )


def _average(subject: Subject, stage: str, epochs: int) -> Iterator[str]:
    """1 / (1 - d), the updates that count in a <- d a + (1 - d) w."""
    config, num_train = subject.config, subject.data.num_train
    minibatches = -(-num_train // config.minibatch_size(0, num_train))
    updates = epochs * -(-minibatches // config.accumulation_steps)
    memory = 1 / (1 - config.ema_decay)
    if config.ema_decay and memory > updates:
        yield (
            f"ema_decay {config.ema_decay:g} averages over {memory:.0f} updates, more than the "
            f"{updates} of stage {stage}: validated are weights that are near the start"
        )


def _milestones(config: TrainConfig, stage: str, epochs: int) -> Iterator[str]:
    beyond = [m for m in np.atleast_1d(config.lr_milestones).tolist() if m >= epochs]
    if config.lr_schedule == "step" and beyond:
        shown = ", ".join(f"{m:g}" for m in beyond)
        yield f"lr_milestones {shown} come after all {epochs} epochs of stage {stage}"


def _end(config: TrainConfig, stage: str, epochs: int) -> Iterator[str]:
    restarts = config.lr_schedule == "cosine" and config.lr_cycle_epochs is not None
    if config.lr_schedule not in ENDING or restarts or config.schedule_epochs is None:
        return
    if config.schedule_epochs < epochs:
        yield (
            f"schedule_epochs {config.schedule_epochs} is less than the {epochs} epochs of stage "
            f"{stage}: {config.lr_schedule} stays at its end for the others"
        )

"""The fields of ``TrainConfig`` that set the pace: batch size, rate over time.

Read by ``workers.training.schedules``; T is the trial's number of epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.config.declare import count, listed, named, real

SCHEDULES = (
    "constant",
    "step",
    "halving",
    "exponential",
    "natural_exponential",
    "inverse_time",
    "power",
    "polynomial",
    "cosine",
    "one_cycle",
    "cyclic",
    "plateau",
    "grow_batch",
)
LR_SCALINGS = {
    "none": "1",
    "linear": "B / reference_batch_size (Goyal et al. 2017)",
    "sqrt": "the root of that (Hoffer et al. 2017)",
}


@dataclass(frozen=True, kw_only=True)
class PaceFields:
    """Batch size, and the learning rate over time."""

    batch_size: int = count(32, "examples in a minibatch", low=1, shapes=True)
    accumulation_steps: int = count(
        1,
        "minibatches whose gradients make one update, each counting by its examples",
        low=1,
        shapes=True,
    )
    lr_scaling: str = named(
        LR_SCALINGS,
        "what the rate is multiplied by, B the examples of an update: so that learning_rate means "
        "the same at all batch sizes",
    )
    reference_batch_size: int = count(256, "the batch size that learning_rate is meant for", low=1)
    lr_schedule: str = named(
        SCHEDULES, "what the rate is multiplied by, t epochs after the start of T"
    )
    lr_decay: float = real(
        0.9,
        "the factor of step, exponential and plateau; the k of natural_exponential and "
        "inverse_time; grow_batch divides by it",
        low=0,
    )
    lr_step_size: int = count(10, "epochs between the steps of step, halving and grow_batch", low=1)
    lr_milestones: int | tuple[int, ...] = listed(
        (),
        "step: epochs after which the rate drops, in the place of every lr_step_size",
        low=1,
        integer=True,
    )
    lr_power: float = real(1.0, "the exponent of power and polynomial", low=0)
    lr_min: float = real(
        0.0,
        "what polynomial, cosine, cyclic and plateau end at, as a share of the rate",
        low=0,
        high=1,
    )
    lr_cycle_epochs: int | None = count(
        None, "the length of a cycle of cosine (then it restarts) and cyclic; default: T", low=1
    )
    lr_cycle_factor: int = count(
        1, "cosine: each cycle is so many times as long as the last", low=1
    )
    lr_patience: int = count(
        3,
        "plateau: the rate drops after more than so many epochs without a better objective",
        low=1,
    )
    warmup_epochs: float = real(
        0.0,
        "linear warm-up: times min(1, s / (warmup_epochs S)) at the s-th minibatch, S an epoch, on "
        "top of any schedule (Goyal et al. 2017)",
        low=0,
    )
    schedule_epochs: int | None = count(
        None,
        "the T of polynomial, cosine, cyclic and one_cycle; default: the trial's epochs",
        low=1,
    )

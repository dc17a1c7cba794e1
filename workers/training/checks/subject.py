"""Subject: one probe on one data set, as the checks look at it; Network: rows of it, run by hand.

Made by ``check``; nothing here changes the data, and all that is drawn is keyed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.inputs import InputFields
from workers.config.learning import RegularizationFields
from workers.keys import key
from workers.messages import CheckPlan, CheckResult, Member, Probe, TrialGroup, Verdict
from workers.training.columns import Columns
from workers.training.criterion import criterion_of
from workers.training.dropout import drop_inputs, hidden_dropout
from workers.training.feed import Batch, DeviceData
from workers.training.feed.device_data import Part
from workers.training.feed.streamed_part import StreamedPart
from workers.training.keyed import generator
from workers.training.loss import Criterion
from workers.training.models import build_model
from workers.training.models.base import Pass
from workers.training.own_loss import own_loss
from workers.training.precision import autocast, dtype_of
from workers.training.stack import Stack
from workers.training.warm_start import warm_start

# Everything that disturbs, off: all of two sections, and what others have of the kind.
_OFF: dict[str, Any] = {
    **{field.name: field.default for field in fields(RegularizationFields)},
    **{field.name: field.default for field in fields(InputFields)},
    **{"label_smoothing": 0.0, "class_weights": "none", "gradient_noise": 0.0},
}


def undisturbed(config: TrainConfig) -> TrainConfig:
    """Without regularization and augmentation: nothing but the network and its loss."""
    return replace(config, **_OFF)


def steady(config: TrainConfig) -> TrainConfig:
    """Its rate is learning_rate at every update, and every minibatch makes one."""
    return replace(
        config,
        lr_schedule="constant",
        lr_scaling="none",
        warmup_epochs=0.0,
        accumulation_steps=1,
        patience=None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A probe, the data it is to learn, and the plan that both belong to."""

    probe: Probe
    plan: CheckPlan
    data: DeviceData

    @property
    def config(self) -> TrainConfig:
        return self.probe.config

    @property
    def has_start(self) -> bool:
        """Whether the weights that training starts from are at hand, as fresh ones always are."""
        return self.config.warm_start is None or self.probe.warm_start is not None

    @property
    def start(self) -> str:
        """The field that says what training starts from."""
        return "initialization" if self.config.warm_start is None else "warm_start"

    def seeds(self, count: int) -> list[int]:
        """Of ``count`` rows that differ in how they start."""
        return [key(self.plan.seed, "check", row) for row in range(count)]

    def order(self) -> Tensor:
        """The places of the first fold's training examples in a keyed random order, [N]."""
        keyed = generator(self.plan.order_seed, "check")
        return torch.randperm(self.data.num_train, generator=keyed)

    def batch(self, places_B: Tensor, dtype: torch.dtype) -> Batch:
        """The first fold's training examples at these places, preprocessed."""
        index_1B = places_B.to(self.data.device)[None]
        x_1BF, y_1B = self._preprocessed(self.data.train, index_1B, dtype)
        y_1B = y_1B.to(dtype) if y_1B.is_floating_point() else y_1B
        return Batch(x_mBF=x_1BF, y_mB=y_1B, index_mB=index_1B)

    def held_out(self, most: int, dtype: torch.dtype) -> Tensor:
        """Up to ``most`` of the first fold's validation examples [n, F], preprocessed."""
        size = self.data.num_validation
        places_n = torch.randperm(size, generator=generator(self.plan.order_seed, "held out"))
        index_1n = places_n[:most].to(self.data.device)[None]
        return self._preprocessed(self.data.held_out, index_1n, dtype)[0][0]

    def _preprocessed(
        self, part: Part | StreamedPart, index_1B: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Inputs [1, B, F] as the model sees them, and targets [1, B], of the first fold."""
        fold = self.data.all_folds_k[:1]
        x_1BF, y_1B = part.at(index_1B, fold)
        return self.data.preprocessed(self.data.scaled(x_1BF, dtype), fold), y_1B

    def group(self, configs: Sequence[TrainConfig], seeds: Sequence[int]) -> TrialGroup:
        """A group of new trials, for the training loop itself."""
        rows = enumerate(zip(configs, seeds, strict=True))
        return TrialGroup(
            name="check",
            members=tuple(self._member(i, config, seed) for i, (config, seed) in rows),
            order_seed=self.plan.order_seed,
            start_epoch=0,
            end_epoch=1,
        )

    def _member(self, number: int, config: TrainConfig, seed: int) -> Member:
        warm_start = None if config.warm_start is None else self.probe.warm_start
        return Member(trial=number, seed=seed, config=config, warm_start=warm_start)

    def result(self, name: str, verdict: Verdict, text: str, **evidence: Any) -> CheckResult:
        """What check ``name`` found of this probe."""
        return CheckResult(
            name=name, probe=self.probe.label, verdict=verdict, text=text, evidence=evidence
        )


class Network:
    """Rows of one configuration that start from ``seeds``, or from the probe's warm start.

    Rows that cannot take it over are ``refused``, and not in the stack.
    """

    def __init__(self, subject: Subject, config: TrainConfig, seeds: Sequence[int]) -> None:
        data = subject.data
        members = subject.group([config] * len(seeds), seeds).members
        model, dtype = build_model(config, data.shape), dtype_of(config.precision)
        self._config, self._data = config, data
        self._own_loss = own_loss(config, data, model)
        self.stack = Stack(model, members, data.device, dtype)
        self.stack.initialize()
        self.refused = warm_start(self.stack)

    def outputs(
        self,
        batch: Batch,
        *,
        weights: Mapping[str, Tensor] | None = None,
        columns: Columns | None = None,
        watch: Callable[[Tensor, int], Tensor] | None = None,
    ) -> Tensor:
        """Outputs [M, B, C] as in training; the stack's own weights and columns by default.

        ``watch(h, layer)`` stands in the way of each hidden layer's activations and gives them on.
        Running statistics stay as they are.
        """
        weights = self.stack.views("weights") if weights is None else weights
        num_rows = len(next(iter(weights.values())))
        buffers = {
            name: buffer[:1].repeat(num_rows, *[1] * (buffer.dim() - 1))
            for name, buffer in self.stack.buffers.items()
        }
        given = Pass(
            weights=weights,
            buffers=buffers,
            columns=columns or self.stack.columns,
            training=True,
            dropout=watch,
        )
        with autocast(self._config.precision, self.stack.device):
            return self.stack.model.forward(given, batch.x_mBF).to(self.stack.dtype)

    def criterion(self, columns: Columns | None = None) -> Criterion:
        """The probe's loss, of the stack's rows by default."""
        columns = columns or self.stack.columns
        return criterion_of(self._config, self._data, columns, self._own_loss)

    def learn(self, batch: Batch, step: int) -> Tensor:
        """One update on ``batch`` at the rates that are set; the losses [M] before it."""
        stack, columns = self.stack, self.stack.columns
        leaves = stack.leaves()
        batch = replace(batch, x_mBF=drop_inputs(batch.x_mBF, columns, 0, step))
        outputs_MBC = self.outputs(batch, weights=leaves, watch=hidden_dropout(columns, 0, step))
        loss_M = self.criterion().training(outputs_MBC, batch)
        stack.accumulate(
            torch.autograd.grad(loss_M.sum(), list(leaves.values()), materialize_grads=True),
            len(batch),
        )
        stack.update()
        return loss_M.detach()

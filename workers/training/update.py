"""Update: what one update does to the weights, from the gradient to the moving average, in order.

Made by ``stack`` whenever its rows change. A part that all rows have off is decided on the host and
costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from workers.training import monitoring
from workers.training.columns import Columns
from workers.training.keyed import normals
from workers.training.models.base import ParameterSpec
from workers.training.optimizers import VARIANTS, Hyper, Optimizer, State, variant
from workers.training.parallel import ALONE, Devices
from workers.training.shares import Shares

NOISE_DECAY = 0.55  # Neelakantan et al. 2015
NOISE = 2**30  # a counter that no layer has, so that the noise is nobody's dropout


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The slice of rows that one optimizer updates; tensors are views into the stack's."""

    optimizer: Optimizer
    weights: Tensor
    gradient: Tensor
    state: State
    hyper: Hyper


class Update:
    """Changes ``rows`` in place. ``rates_M1`` is the stack's own tensor of learning rates.

    ``shares`` says what of a row is here. ``devices`` have the same, and each a part of the
    gradients, which are added up before they are used.
    """

    def __init__(
        self,
        rows: dict[str, Tensor],
        columns: Columns,
        shares: Shares,
        rates_M1: Tensor,
        devices: Devices = ALONE,
    ) -> None:
        self._columns, self._rates_M1 = columns, rates_M1
        self._shares, self._devices = shares, devices
        self._weights_MP, self._average_MP = rows["weights"], rows.get("average")
        self._gradient_MP = torch.empty_like(self._weights_MP)
        self._num_examples = 0
        self._specs = list(zip(shares.parameters, shares.slices, strict=True))
        self._parts = [self._part(rows, name, part) for name, part in _runs(columns)]
        self._read_numbers()

    @torch.no_grad()
    def accumulate(self, gradients: Iterable[Tensor], num_examples: int) -> None:
        """Add the gradients of a minibatch's mean loss to those since the last update.

        Each counts by its examples, so that the sum is the gradient of all of them together; those
        are the whole minibatch's, also where a part of it is here.
        """
        flat = [gradient.flatten(1) for gradient in gradients]
        if not self._num_examples:
            torch.cat(flat, dim=1, out=self._gradient_MP)
        else:
            share = num_examples / (self._num_examples + num_examples)
            self._gradient_MP.lerp_(torch.cat(flat, dim=1), share)
        self._num_examples += num_examples

    @torch.no_grad()
    def apply(self, step: int, *, watched: bool) -> dict[str, Tensor]:
        """Update number ``step`` (from 1); what monitoring sees of it, if it is watched."""
        self._num_examples = 0
        self._devices.add_up(self._gradient_MP)
        self._freeze()
        seen = monitoring.gradient_norms(self._gradient_MP, self._shares) if watched else {}
        keeps = watched or self._multipliers_MP is not None
        before_MP = self._weights_MP.clone() if keeps else None
        self._clip()
        self._add_noise(step)
        self._regularize()
        for part in self._parts:
            part.optimizer.update(part.weights, part.gradient, part.state, part.hyper, step)
        if before_MP is not None and self._multipliers_MP is not None:
            torch.lerp(before_MP, self._weights_MP, self._multipliers_MP, out=self._weights_MP)
        self._limit_norms()
        if before_MP is not None and self._trained_MP is not None:
            torch.where(self._trained_MP, self._weights_MP, before_MP, out=self._weights_MP)
        self._average(step)
        if watched and before_MP is not None:
            seen["update_ratio"] = monitoring.update_ratio(
                before_MP, self._weights_MP, self._shares
            )
        return seen

    def _freeze(self) -> None:
        """A frozen layer has no gradient: it counts neither in norms nor in what optimizers see."""
        if self._trained_MP is not None:
            self._gradient_MP.masked_fill_(~self._trained_MP, 0)

    def _clip(self) -> None:
        """As clip_grad_value_ and then clip_grad_norm_ of torch.nn.utils, row by row."""
        if self._clip_value_M1 is not None:
            self._gradient_MP.clamp_(-self._clip_value_M1, self._clip_value_M1)
        if self._clip_norm_M1 is not None:
            norm_M1 = self._shares.norms(self._gradient_MP).unsqueeze(1)
            self._gradient_MP.mul_((self._clip_norm_M1 / (norm_M1 + 1e-6)).clamp(max=1))

    def _add_noise(self, step: int) -> None:
        """Gaussian noise of variance eta / (1 + t)^0.55 after t updates (Neelakantan et al. 2015).

        ``step`` is t + 1.
        """
        if self._noise_M1 is None:
            return
        all_MP = normals(self._columns.seeds_M, self._shares.num_columns, step, NOISE)
        noise_MP = self._shares.device_columns(all_MP)
        deviation_M1 = (self._noise_M1 / step**NOISE_DECAY).sqrt()
        self._gradient_MP.addcmul_(noise_MP.to(self._gradient_MP), deviation_M1)

    def _regularize(self) -> None:
        """L1 and L2 as terms of the gradient, or decoupled: w <- w (1 - lr wd)."""
        for place, (l1, l2, decoupled) in self._decays:
            weights, gradient = self._weights_MP[:, place], self._gradient_MP[:, place]
            if l1 is not None:
                gradient.addcmul_(weights.sign(), l1)
            if l2 is not None:
                gradient.addcmul_(weights, l2)
            if decoupled is not None:
                weights.mul_(1 - self._rates_M1 * decoupled)

    def _limit_norms(self) -> None:
        """Max-norm: weights into a unit are scaled down to this norm (Srivastava et al. 2014)."""
        if self._max_norm_M1 is None:
            return
        for spec, place in self._specs:
            if spec.kind == "weight":
                weights_MHF = torch.unflatten(self._weights_MP[:, place], 1, (spec.shape[0], -1))
                norm_MH1 = weights_MHF.norm(dim=2, keepdim=True)
                limit_M11 = self._max_norm_M1[:, None]
                # A norm within the limit stays to the last bit; the rest as torch.renorm.
                factor_MH1 = limit_M11 / (norm_MH1 + 1e-7)
                weights_MHF.mul_(factor_MH1.masked_fill_(~(norm_MH1 > limit_M11), 1))

    def _average(self, step: int) -> None:
        """a <- d a + (1 - d) w, the first time a <- w; rows without have d = 0, so a = w."""
        if self._average_MP is None:
            return
        if step == 1:
            self._average_MP.copy_(self._weights_MP)
        else:
            self._average_MP.lerp_(self._weights_MP, self._ema_rest_M1)

    def _read_numbers(self) -> None:
        columns = self._columns
        self._clip_value_M1 = _column(columns.active("gradient_clip_value", off=torch.inf))
        self._clip_norm_M1 = _column(columns.active("gradient_clip_norm", off=torch.inf))
        self._noise_M1 = _column(columns.active("gradient_noise"))
        self._max_norm_M1 = _column(columns.active("max_norm", off=torch.inf))
        decay_M1 = columns.number("ema_decay", dtype=torch.float64).unsqueeze(1)
        self._ema_rest_M1 = (1 - decay_M1).to(columns.dtype)  # in float32 it would lose its digits
        self._multipliers_MP = _multipliers(columns, self._specs)
        self._trained_MP = _trained(columns, self._multipliers_MP)
        self._decays = _decays(columns, self._specs)

    def _part(self, rows: dict[str, Tensor], name: str, part: slice) -> Part:
        optimizer = VARIANTS[name]
        state = {key: rows[f"slot.{i}"][part] for i, key in enumerate(optimizer.state)}
        state |= {key: rows[f"scalar.{i}"][part] for i, key in enumerate(optimizer.scalars)}
        return Part(
            optimizer=optimizer,
            weights=self._weights_MP[part],
            gradient=self._gradient_MP[part],
            state=state,
            hyper=Hyper.of(self._columns, part, optimizer, self._rates_M1, self._shares.sums),
        )


def _runs(columns: Columns) -> list[tuple[str, slice]]:
    """The optimizers of the rows, each with the slice of rows that it updates."""
    runs = groupby(range(len(columns)), key=lambda row: variant(columns.configs[row]))
    places = [(name, list(run)) for name, run in runs]
    return [(name, slice(run[0], run[-1] + 1)) for name, run in places]


Decays = tuple[Tensor | None, Tensor | None, Tensor | None]


def _decays(
    columns: Columns, specs: Sequence[tuple[ParameterSpec, slice]]
) -> list[tuple[slice, Decays]]:
    """The parameters that any row regularizes, and how; all at once if biases are as weights."""
    with_biases = [config.decay_biases for config in columns.configs]
    of_weights = _amounts(columns, [True] * len(columns))
    if all(amount is None for amount in of_weights):
        return []
    if all(with_biases):
        return [(slice(specs[0][1].start, specs[-1][1].stop), of_weights)]
    of_others = _amounts(columns, with_biases)
    return [(place, of_weights if s.kind == "weight" else of_others) for s, place in specs]


def _amounts(columns: Columns, included: Sequence[bool]) -> Decays:
    """Columns [M, 1] of L1, of L2 in the gradient, and of decoupled decay; None where all are 0."""
    decoupled = [VARIANTS[variant(config)].decoupled for config in columns.configs]
    rows = list(zip(columns.configs, included, decoupled, strict=True))

    def column(numbers: list[float]) -> Tensor | None:
        return _column(columns.vector(numbers)) if any(numbers) else None

    return (
        column([config.l1 * on for config, on, _ in rows]),
        column([config.weight_decay * (on and not apart) for config, on, apart in rows]),
        column([config.weight_decay * (on and apart) for config, on, apart in rows]),
    )


def _multipliers(columns: Columns, specs: Sequence[tuple[ParameterSpec, slice]]) -> Tensor | None:
    """The factor on the rate of each parameter, [M, P]; None if all are 1."""
    num_layers = 1 + max(spec.layer for spec, _ in specs)
    rates = [config.layer_rates(num_layers) for config in columns.configs]
    if all(rate == 1 for layers in rates for rate in layers):
        return None
    sizes = torch.tensor([place.stop - place.start for _, place in specs])
    by_tensor = torch.tensor(
        [[layers[spec.layer] for spec, _ in specs] for layers in rates], dtype=columns.dtype
    )
    return by_tensor.repeat_interleave(sizes, dim=1).to(columns.device)


def _trained(columns: Columns, multipliers_MP: Tensor | None) -> Tensor | None:
    """Boolean [M, P]: whether each parameter trains; None if no layer is frozen."""
    any_frozen = any(0 in c.layer_rates(c.frozen_layers + 1) for c in columns.configs)
    return multipliers_MP > 0 if any_frozen and multipliers_MP is not None else None


def _column(vector_M: Tensor | None) -> Tensor | None:
    return None if vector_M is None else vector_M.unsqueeze(1)

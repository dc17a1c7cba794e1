"""What is watched while a stack trains, beside losses: gradients, updates, units, by row.

Called by ``update`` in one step of an epoch and by the loop in its validation, so that it costs
next to nothing; all of it stays on the device until the epoch ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.training.models.activations import Activation
from workers.training.parallel import ALONE, Devices
from workers.training.shares import Shares

EXAMPLES = 256  # of the validation part: enough to tell a unit that none of them wakes


def watched_step(num_train: int, minibatch: int, accumulation: int) -> int:
    """The place (from 0) of the epoch's last minibatch that ends a full update."""
    full_updates = num_train // (minibatch * accumulation)
    num_steps = -(-num_train // minibatch)
    return full_updates * accumulation - 1 if full_updates else num_steps - 1


def gradient_norms(gradient_MP: Tensor, shares: Shares) -> dict[str, Tensor]:
    """The norm of the whole gradient [M], and of each layer's, first to last [M, L]."""
    num_layers = 1 + max(spec.layer for spec in shares.parameters)
    squares_ML = gradient_MP.new_zeros(len(gradient_MP), num_layers)
    for spec, place in shares.counted():
        squares_ML[:, spec.layer] += gradient_MP[:, place].square().sum(1)
    shares.add_up(squares_ML)
    return {
        "gradient_norm": squares_ML.sum(1).sqrt(),
        "layer_gradient_norms": squares_ML.sqrt(),
    }


def update_ratio(before_MP: Tensor, after_MP: Tensor, shares: Shares) -> Tensor:
    """|w' - w| / |w| of one update, [M]; NaN where all weights are 0. About 1e-3 is healthy."""
    size_M = shares.norms(before_MP)
    ratio_M = shares.norms(after_MP - before_MP) / size_M
    return torch.where(size_M > 0, ratio_M, torch.nan)


class UnitWatch:
    """Counts dead and saturated hidden units over the first EXAMPLES of a validation.

    Of several ``devices`` each validates every ``num``-th example, and sees those of the first.
    A unit is dead if no example wakes it (no gradient reaches its weights); a saturated value lies
    where the activation is nearly flat. Give ``observe`` to the forward passes while it
    ``is_open``: the examples are the same however a validation is cut into chunks.
    """

    def __init__(
        self,
        activation: Activation,
        num_rows: int,
        device: torch.device,
        devices: Devices = ALONE,
    ) -> None:
        self._activation, self._devices = activation, devices
        self._most = len(range(devices.rank, EXAMPLES, devices.num))
        self._awake: dict[int, Tensor] = {}  # by layer, [M, U]: units that some example woke
        self._num_seen: dict[int, int] = {}  # by layer
        self._saturated_M = torch.zeros(num_rows, device=device, dtype=torch.float64)
        self._num_values = 0

    @property
    def is_open(self) -> bool:
        """Whether there are examples still to be seen."""
        return not self._num_seen or min(self._num_seen.values()) < self._most

    def observe(self, h: Tensor, layer: int) -> None:
        """Take in one layer: [M, units, examples], or [M, examples, channels, height, width]."""
        left = self._most - self._num_seen.get(layer, 0)
        if h.dim() == 3:
            units_MUE, num_examples = h[:, :, :left], min(left, h.shape[2])
        else:
            units_MUE, num_examples = h[:, :left].transpose(1, 2).flatten(2), min(left, h.shape[1])
        self._num_seen[layer] = self._num_seen.get(layer, 0) + num_examples
        self._num_values += units_MUE[0].numel()
        if self._activation.dead is not None:
            # Of the largest output: reducing booleans takes many times as long on a CPU.
            awake_MU = ~self._activation.dead(units_MUE.amax(2))
            self._awake[layer] = self._awake.get(layer, awake_MU) | awake_MU
        if self._activation.saturated is not None:
            self._saturated_M += self._activation.saturated(units_MUE).sum((1, 2))

    def metrics(self) -> dict[str, Tensor]:
        """The fraction of dead units and of saturated values [M]; NaN for what cannot be."""
        unknown_M = torch.full_like(self._saturated_M, torch.nan)
        awake_MU, num_values = self._of_all_devices()
        has_values = self._activation.saturated is not None and num_values
        return {
            "dead_fraction": unknown_M if awake_MU is None else 1 - awake_MU.double().mean(1),
            "saturated_fraction": self._saturated_M / num_values if has_values else unknown_M,
        }

    def _of_all_devices(self) -> tuple[Tensor | None, int]:
        """Whether some example woke each unit, [M, U], and the number of values; sums become those
        of all devices."""
        awake_MU = torch.cat(list(self._awake.values()), dim=1) if self._awake else None
        if self._devices.num == 1:
            return awake_MU, self._num_values
        if awake_MU is not None:
            num_awake_MU = awake_MU.float()
            self._devices.add_up(num_awake_MU)
            awake_MU = num_awake_MU > 0
        told = torch.cat([self._saturated_M, self._saturated_M.new_full((1,), self._num_values)])
        self._devices.add_up(told)
        self._saturated_M = told[:-1]
        return awake_MU, int(told[-1])

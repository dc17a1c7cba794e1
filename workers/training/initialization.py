"""How weights start: a table of torch.nn.init's functions, drawn member by member from its own key.

Called by ``stack.Stack``; a new initialization is one line in ``INITIALIZATIONS`` and its name in
``workers.config``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workers.config import TrainConfig

Initialize = Callable[[Tensor, TrainConfig, torch.Generator], object]

INITIALIZATIONS: dict[str, Initialize] = {
    "kaiming_normal": lambda w, _, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g),
    "kaiming_uniform": lambda w, _, g: nn.init.kaiming_uniform_(
        w, nonlinearity="relu", generator=g
    ),
    "xavier_normal": lambda w, _, g: nn.init.xavier_normal_(w, generator=g),
    "xavier_uniform": lambda w, _, g: nn.init.xavier_uniform_(w, generator=g),
    "normal": lambda w, config, g: nn.init.normal_(w, std=config.init_scale, generator=g),
    "zeros": lambda w, _, __: nn.init.zeros_(w),
}


def initialize(weight: Tensor, config: TrainConfig, generator: torch.Generator) -> None:
    """Fill one member's weight matrix [out, in] in place; biases start at zero elsewhere."""
    INITIALIZATIONS[config.initialization](weight, config, generator)

"""How a row starts: its weights drawn by torch.nn.init's functions from the row's own key.

Called by ``stack``; a new initialization is one line in ``INITIALIZATIONS`` and its name in
``workers.config.model``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workers.config import TrainConfig
from workers.training.models.activations import PRELU_START
from workers.training.models.base import ParameterSpec

Initialize = Callable[[Tensor, TrainConfig, torch.Generator], object]

# Variances of a weight with n_in inputs and n_out outputs (times the kernel's pixels):
INITIALIZATIONS: dict[str, Initialize] = {
    # 2 / n_in (He et al. 2015)
    "kaiming_normal": lambda w, _, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g),
    "kaiming_uniform": lambda w, _, g: nn.init.kaiming_uniform_(
        w, nonlinearity="relu", generator=g
    ),
    # 2 / (n_in + n_out) (Glorot and Bengio 2010)
    "xavier_normal": lambda w, _, g: nn.init.xavier_normal_(w, generator=g),
    "xavier_uniform": lambda w, _, g: nn.init.xavier_uniform_(w, generator=g),
    # 1 / n_in (LeCun et al. 1998; the Xavier filler of Caffe)
    "xavier_fan_in_normal": lambda w, _, g: nn.init.kaiming_normal_(
        w, nonlinearity="linear", generator=g
    ),
    "xavier_fan_in_uniform": lambda w, _, g: nn.init.kaiming_uniform_(
        w, nonlinearity="linear", generator=g
    ),
    # s^2, and s^2 / 3 in (-s, s), s the init_scale
    "normal": lambda w, config, g: nn.init.normal_(w, std=config.init_scale, generator=g),
    "uniform": lambda w, config, g: nn.init.uniform_(
        w, -config.init_scale, config.init_scale, generator=g
    ),
    # Orthonormal rows, or columns if there are more rows (Saxe et al. 2014)
    "orthogonal": lambda w, _, g: nn.init.orthogonal_(w, generator=g),
    "constant": lambda w, config, _: nn.init.constant_(w, config.init_scale),
    "zeros": lambda w, _, __: nn.init.zeros_(w),
}


def initialize_row(
    parameters: Sequence[ParameterSpec],
    config: TrainConfig,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> list[Tensor]:
    """One row's parameters on the CPU, of their shapes and in their order.

    Weights are drawn one after the other from ``generator``; biases are ``bias_init``, a
    normalization's gain 1 and its shift 0. With weight normalization the gain is the norm of the
    weights into a unit, so that the network starts as without it.
    """
    drawn: dict[str, Tensor] = {}
    for spec in parameters:
        if spec.kind == "weight":
            weight = torch.empty(spec.shape, dtype=dtype)
            INITIALIZATIONS[config.initialization](weight, config, generator)
            drawn[spec.name] = weight
        elif spec.kind == "gain" and config.normalization == "weight":
            rows = drawn[f"{spec.layer}.weight"].flatten(1)
            drawn[spec.name] = torch.linalg.vector_norm(rows, dim=1)
        else:
            drawn[spec.name] = torch.full(spec.shape, _start(spec, config), dtype=dtype)
    return list(drawn.values())


def _start(spec: ParameterSpec, config: TrainConfig) -> float:
    return {"bias": config.bias_init, "gain": 1.0, "shift": 0.0, "slope": PRELU_START}[spec.kind]

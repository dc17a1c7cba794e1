"""The fields of ``TrainConfig`` that say what is trained: the network, how it starts, its numbers.

Most of them shape tensors, so they part groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.config.declare import count, flag, listed, named, real, text

MODELS = ("mlp", "cnn", "logistic_regression")
POOLINGS = ("max", "average", "none")
ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "prelu",
    "elu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "arctan",
    "identity",
    "step",
)
NORMALIZATIONS = ("none", "batch", "layer", "group", "instance", "weight")
INITIALIZATIONS = (
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "xavier_fan_in_normal",
    "xavier_fan_in_uniform",
    "normal",
    "uniform",
    "orthogonal",
    "constant",
    "zeros",
)
PRECISIONS = ("float32", "float64", "bfloat16", "tf32")
WARM_LAYERS = ("all", "all_but_head")


@dataclass(frozen=True, kw_only=True)
class ModelFields:
    """The network."""

    model: str = named(MODELS, "the kind of network", shapes=True)
    hidden_units: int | tuple[int, ...] = listed(
        (50,),
        "the widths of the hidden linear layers: a list, or one width repeated `depth` times",
        low=1,
        integer=True,
        shapes=True,
    )
    depth: int = count(1, "how often a single width is repeated", low=0, high=64, shapes=True)
    channels: int | tuple[int, ...] = listed(
        (16, 32),
        "cnn: the channels of each block; a block is convolutions, then pooling by 2",
        low=1,
        integer=True,
        shapes=True,
    )
    kernel_size: int = count(3, "cnn: the side of a square kernel; odd", low=1, shapes=True)
    convs_per_block: int = count(1, "cnn: convolutions in a block", low=1, high=16, shapes=True)
    pooling: str = named(POOLINGS, "cnn: how a block halves its images", shapes=True)
    global_average_pooling: bool = flag(
        "cnn: the head sees the mean of each channel instead of all pixels", shapes=True
    )
    activation: str = named(ACTIVATIONS, "after each hidden layer", shapes=True)
    negative_slope: float = real(0.01, "leaky_relu: the slope below 0")
    normalization: str = named(
        NORMALIZATIONS, "of each hidden layer, before its activation", shapes=True
    )
    norm_groups: int = count(2, "group: into how many groups units are parted", low=1, shapes=True)
    norm_momentum: float = real(
        0.1, "batch: the share of a minibatch in the running statistics", low=0, high=1
    )
    precision: str = named(PRECISIONS, "what numbers are computed in", shapes=True)


@dataclass(frozen=True, kw_only=True)
class StartFields:
    """Where the weights start."""

    initialization: str = named(INITIALIZATIONS, "of the weights")
    init_scale: float = real(
        0.01, "normal: the standard deviation; uniform: the bound; constant: the value", low=0
    )
    bias_init: float = real(0.0, "what biases start at")
    warm_start: str | None = text(
        "start from a checkpoint: SEARCH/NUMBER (a trial), or a file (FILE.safetensors, with #ROW "
        "for one of several)"
    )
    warm_start_layers: str = named(WARM_LAYERS, "which layers a warm start takes over")
    frozen_layers: int = count(0, "how many layers, from the first on, do not train", low=0)

"""The fields of ``TrainConfig`` that say what is trained: the network, how it starts, its numbers.

Most of them shape tensors, so they part groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.config.declare import count, flag, listed, named, real, text

# Names of choices with their formulas; h is what the layer computes.
MODELS = {
    "mlp": "linear layers with an activation after each but the last",
    "cnn": "blocks of convolutions and pooling, then linear layers (LeCun et al. 1998)",
    "logistic_regression": "one linear layer; with the hinge loss a linear support vector machine",
}
POOLINGS = {
    "max": "the largest of 2 x 2 pixels",
    "average": "the mean of 2 x 2 pixels",
    "none": "images keep their size",
}
ACTIVATIONS = {
    "relu": "max(h, 0) (Nair and Hinton 2010)",
    "leaky_relu": "max(h, 0) + negative_slope min(h, 0) (Maas et al. 2013)",
    "prelu": "the same with a slope a layer that is learned, 0.25 at first (He et al. 2015)",
    "elu": "h if h > 0, else e^h - 1 (Clevert et al. 2016)",
    "gelu": "h Phi(h), Phi the normal distribution (Hendrycks and Gimpel 2016)",
    "silu": "h / (1 + e^-h) (Elfwing et al. 2018)",
    "tanh": "(e^h - e^-h) / (e^h + e^-h)",
    "sigmoid": "1 / (1 + e^-h)",
    "arctan": "atan h",
    "identity": "h: the layers together are a linear map",
    "step": "1 if h > 0, else 0; the gradient is passed straight through where |h| <= 1 and is 0 "
    "elsewhere, for the true one is 0 everywhere (Bengio et al. 2013)",
}
NORMALIZATIONS = {
    "none": "h",
    "batch": "over the minibatch, by running statistics in validation (Ioffe and Szegedy 2015)",
    "layer": "over the units of an example (Ba et al. 2016)",
    "group": "over norm_groups groups of an example's units or channels (Wu and He 2018)",
    "instance": "over the pixels of each channel of an example; cnn alone (Ulyanov et al. 2016)",
    "weight": "of the weights instead, w = g v / |v| a unit; L1 and L2 act on v (Salimans and "
    "Kingma 2016)",
}
INITIALIZATIONS = {
    "kaiming_normal": "normal, variance 2 / n_in (He et al. 2015)",
    "kaiming_uniform": "uniform, variance 2 / n_in (He et al. 2015)",
    "xavier_normal": "normal, variance 2 / (n_in + n_out) (Glorot and Bengio 2010)",
    "xavier_uniform": "uniform, variance 2 / (n_in + n_out) (Glorot and Bengio 2010)",
    "xavier_fan_in_normal": "normal, variance 1 / n_in (LeCun et al. 1998)",
    "xavier_fan_in_uniform": "uniform, variance 1 / n_in (LeCun et al. 1998)",
    "normal": "normal, deviation init_scale: 0.01 and 1 are the classic bad ones",
    "uniform": "uniform in (-init_scale, init_scale)",
    "orthogonal": "orthonormal rows, or columns if there are fewer (Saxe et al. 2014)",
    "constant": "init_scale everywhere: units of a layer never differ",
    "zeros": "0 everywhere: a network with hidden layers never learns",
}
PRECISIONS = {
    "float32": "32-bit floats",
    "float64": "64-bit floats: for checks, slow on GPUs",
    "bfloat16": "PyTorch's autocast of the forward pass; weights and updates stay float32",
    "tf32": "float32 whose matrix products round to 10 bits, on GPUs from Ampere on",
}
WARM_LAYERS = {
    "all": "every layer",
    "all_but_head": "every layer but the last, which starts anew: for other classes",
}


WIDEST = 10**6  # units of a layer; a slip of the pen is refused before it takes all memory


@dataclass(frozen=True, kw_only=True)
class ModelFields:
    """The network."""

    model: str = named(MODELS, "the kind of network", shapes=True)
    hidden_units: int | tuple[int, ...] = listed(
        50,
        "the widths of the hidden linear layers: a list, or one width repeated `depth` times",
        low=1,
        high=WIDEST,
        integer=True,
        shapes=True,
    )
    depth: int = count(1, "how often a single width is repeated", low=0, high=64, shapes=True)
    channels: int | tuple[int, ...] = listed(
        (16, 32),
        "cnn: the channels of each block; a block is convolutions, then pooling by 2",
        low=1,
        high=WIDEST,
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
        NORMALIZATIONS,
        "of each hidden layer before its activation: gain (h - mean) / sqrt(variance + 1e-5) + "
        "shift, mean and variance taken",
        shapes=True,
    )
    norm_groups: int = count(2, "group: into how many groups units are parted", low=1, shapes=True)
    norm_momentum: float = real(
        0.1, "batch: the share of a minibatch in the running statistics", low=0, high=1
    )
    precision: str = named(PRECISIONS, "what numbers are computed in", shapes=True)


@dataclass(frozen=True, kw_only=True)
class StartFields:
    """Where the weights start."""

    initialization: str = named(
        INITIALIZATIONS,
        "of the weights; n_in and n_out count a unit's inputs and a layer's outputs",
    )
    init_scale: float = real(
        0.01, "normal: the standard deviation; uniform: the bound; constant: the value", low=0
    )
    bias_init: float = real(0.0, "what biases start at")
    warm_start: str | None = text(
        "start from a checkpoint: SEARCH/NUMBER (a trial), or a file (FILE.safetensors, with #ROW "
        "for one of several)"
    )
    warm_start_layers: str = named(WARM_LAYERS, "which layers a warm start takes over")
    frozen_layers: int = count(
        0,
        "how many layers, from the first on, do not train: their gradient and their rate are 0; "
        "running statistics go on",
        low=0,
    )

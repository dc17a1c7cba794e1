"""The loop that everybody writes: one network, torch.optim, a minibatch after the other.

What this project is measured against, in peers.py alone and within the other tools, and in gpu.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.data import DataConfig, Dataset, load

Params = Mapping[str, Any]  # learning_rate, weight_decay, batch_size, optimizer

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda weights, **given: torch.optim.SGD(weights, **given),
    "momentum": lambda weights, **given: torch.optim.SGD(weights, momentum=0.9, **given),
    "adam": lambda weights, **given: torch.optim.Adam(weights, **given),
    "rmsprop": lambda weights, **given: torch.optim.RMSprop(weights, **given),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Inputs [N, F] (or [N, channels, height, width]) and class codes [N] of both parts."""

    x: Tensor
    y: Tensor
    x_validation: Tensor
    y_validation: Tensor

    def to(self, device: torch.device) -> Examples:
        """The same on ``device``."""
        return Examples(**{name: getattr(self, name).to(device) for name in self.__slots__})


def read_examples(data: Mapping[str, Any], *, images: bool) -> Examples:
    """The split and the preprocessing of a search with the section ``data`` and seed 0."""
    given = {**data, "preprocess": tuple(data.get("preprocess", ()))}
    return examples_of(load(DataConfig(**given), seed=0), images=images)


def examples_of(dataset: Dataset, *, images: bool) -> Examples:
    """The arrays of ``dataset`` as tensors on the CPU, flat or as images."""
    shape = dataset.image if images and dataset.image else (-1,)
    x, x_validation = (
        torch.from_numpy(dataset.inputs(rows)).reshape(len(rows), *shape)
        for rows in (dataset.x_train, dataset.x_validation)
    )
    y, y_validation = torch.from_numpy(dataset.y_train), torch.from_numpy(dataset.y_validation)
    return Examples(x=x, y=y, x_validation=x_validation, y_validation=y_validation)


def network(example: Tensor, train: Mapping[str, Any], num_classes: int = 10) -> nn.Sequential:
    """The network that the section ``train`` of a spec describes, for inputs like ``example``.

    It starts as ours by default: weights from N(0, 2 / n_in) (He et al. 2015), biases 0; with
    PyTorch's own start the slow trials would end elsewhere, and results could not be compared.
    """
    layers: list[nn.Module] = []
    width = example.numel()
    if train.get("model") == "cnn":
        blocks, width = _convolutions(example.shape, train["channels"], train["kernel_size"])
        layers += [*blocks, nn.Flatten()]
    for units in train["hidden_units"]:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    net = nn.Sequential(*layers, nn.Linear(width, num_classes))
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


def _convolutions(
    image: torch.Size, channels: tuple[int, ...], kernel_size: int
) -> tuple[list[nn.Module], int]:
    """Blocks that halve the images, and the number of features that they end with."""
    layers: list[nn.Module] = []
    into, height, width = image
    for out in channels:
        convolution = nn.Conv2d(into, out, kernel_size, padding=kernel_size // 2)
        layers += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
        into, height, width = out, height // 2, width // 2
    return layers, into * height * width


def new_optimizer(net: nn.Module, params: Params) -> torch.optim.Optimizer:
    """The optimizer that ``params`` names, with its learning rate and weight decay (L2)."""
    made: torch.optim.Optimizer = OPTIMIZERS[params["optimizer"]](
        net.parameters(), lr=params["learning_rate"], weight_decay=params["weight_decay"]
    )
    return made


def epochs(params: Params, examples: Examples, train: Mapping[str, Any]) -> Iterator[float]:
    """Train a new network, and yield its validation accuracy after every epoch, without end.

    Minibatches are taken out of one tensor: many times faster than a DataLoader with its defaults.
    """
    net = network(examples.x[0], train).to(examples.x.device)
    optimizer = new_optimizer(net, params)
    while True:
        train_epoch(net, optimizer, examples, params["batch_size"])
        yield accuracy(net, examples)


def train_epoch(
    net: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples, batch_size: int
) -> None:
    """One pass over the training part in a new order."""
    for index in torch.randperm(len(examples.x), device=examples.x.device).split(batch_size):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(examples.x[index]), examples.y[index])
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(net: nn.Module, examples: Examples) -> float:
    """The share of right guesses in the validation part."""
    right = net(examples.x_validation).argmax(1) == examples.y_validation
    return float(right.double().mean())

"""What fields ask of one another and of the data: the rules that no single domain can show.

``hpsearch.spec`` holds a space against them before a search starts, and the training loop each
member of a group: a trial that breaks one fails alone, with its sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workers.config import TrainConfig
from workers.config.learning import CLASS_LOSSES
from workers.config.own import is_own

IMAGE_AUGMENTATIONS = ("translation", "rotation", "scaling", "flip", "cutout")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataShape:
    """What a model needs to know of the data.

    ``num_features`` numbers an example; ``image`` is (channels, height, width) if it is one;
    ``num_outputs`` C classes, or 1 for a regression; ``num_train`` training rows. ``feature_shape``
    is that of an example as it is stored, which a user's own model is given. Examples that are
    streamed are read in the one order that all trials see.
    """

    num_features: int
    image: tuple[int, int, int] | None
    num_outputs: int
    is_regression: bool
    num_train: int
    feature_shape: tuple[int, ...] = ()
    is_streamed: bool = False


class ConfigError(ValueError):
    """A configuration that cannot be trained: one sentence. ``key`` names the field at fault."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.key = key

    def __str__(self) -> str:
        return str(self.args[1])


Broken = Iterator[tuple[str, str]]  # (field at fault, what it breaks)
Rule = Callable[[TrainConfig, DataShape], Broken]


def check_combination(
    config: TrainConfig, data: DataShape, only: Sequence[Rule] | None = None
) -> None:
    """Raises ConfigError with the first rule that ``config`` breaks on ``data``.

    ``only`` are the rules to hold it against, all RULES if None.
    """
    for rule in RULES if only is None else only:
        for key, broken in rule(config, data):
            raise ConfigError(key, broken)


def loss_of(config: TrainConfig, data: DataShape) -> str:
    """The loss that ``config`` names, or the usual one for the data."""
    return config.loss or ("mse" if data.is_regression else "cross_entropy")


def _model(config: TrainConfig, data: DataShape) -> Broken:
    if config.model != "cnn":
        return
    if data.image is None:
        yield "model", "cnn needs images, but the examples are lists of numbers; use mlp"
        return
    if config.kernel_size % 2 == 0:
        yield (
            "kernel_size",
            f"must be odd, so that images keep their size, but got {config.kernel_size}",
        )
    side, halved = min(data.image[1:]), config.pooling != "none"
    for block in range(1, len(config.block_channels()) + 1):
        if config.kernel_size > side:
            yield (
                "kernel_size",
                f"must be at most {side}, the side of the images of block {block}, but got "
                f"{config.kernel_size}; lower it, or take blocks away",
            )
        if halved and side < 2:
            yield "channels", f"block {block} cannot pool images of side {side}; use fewer blocks"
        side = side // 2 if halved else side


def _depth(config: TrainConfig, data: DataShape) -> Broken:
    has_none = config.model == "logistic_regression" or is_own(config.model)
    if has_none or isinstance(config.hidden_units, int):
        return
    if config.depth != 1:
        yield (
            "depth",
            f"repeats one width, but got {config.depth} with the list {list(config.hidden_units)} "
            "for hidden_units; give one width, or leave depth out",
        )


def _normalization(config: TrainConfig, data: DataShape) -> Broken:
    name = "none" if is_own(config.model) else config.normalization
    if name == "instance" and config.model != "cnn":
        yield "normalization", "instance needs images: model cnn; use layer"
    if name == "batch" and config.minibatch_size(0, data.num_train) == 1:
        yield "batch_size", "must be at least 2 for batch normalization, but got 1"
    if name == "weight" and config.model != "logistic_regression" and config.max_norm is not None:
        yield (
            "max_norm",
            "would limit v of the weights g v / |v| that normalization weight makes, which changes "
            f"nothing, but got {config.max_norm:g}; leave it out, or normalize otherwise",
        )
    if name != "group":
        return
    for units in (*config.block_channels(), *config.layer_widths()):
        if units % config.norm_groups:
            yield (
                "norm_groups",
                f"must divide the units of every normalized layer, but {config.norm_groups} does "
                f"not divide {units}",
            )


def _layers(config: TrainConfig, data: DataShape) -> Broken:
    if not is_own(config.model):  # whose layers are known when it is built
        yield from of_layers(config, config.num_layers())


def of_layers(config: TrainConfig, num_layers: int) -> Broken:
    """What asks for another number of layers than ``num_layers``."""
    given = config.lr_multipliers
    if isinstance(given, tuple) and given and len(given) != num_layers:
        yield (
            "lr_multipliers",
            f"must have one number for each of the {num_layers} layers, but has {len(given)}",
        )
    if config.frozen_layers >= num_layers:
        yield (
            "frozen_layers",
            f"must leave one of the {num_layers} layers to train, but got {config.frozen_layers}",
        )


def _loss(config: TrainConfig, data: DataShape) -> Broken:
    loss = loss_of(config, data)
    if is_own(loss):
        yield from _own_loss(config)
        return
    if (loss in CLASS_LOSSES) == data.is_regression:
        needs, has = ("classes", "numbers") if data.is_regression else ("numbers", "classes")
        fitting = "mse or huber" if data.is_regression else "cross_entropy or hinge"
        yield "loss", f"{loss} needs {needs} for targets, but the data have {has}; use {fitting}"
    if config.class_weights != "none" and data.is_regression:
        yield "class_weights", "needs classes, but the targets are numbers; use none"


def _own_loss(config: TrainConfig) -> Broken:
    changed = {"class_weights": config.class_weights != "none"}
    changed["label_smoothing"] = config.label_smoothing > 0
    for name, is_on in changed.items():
        if is_on:
            yield name, "is no part of a loss of one's own; leave it out, or put it in there"


def _pace(config: TrainConfig, data: DataShape) -> Broken:
    if config.lr_schedule == "grow_batch" and not 0 < config.lr_decay <= 1:
        yield "lr_decay", f"must be in (0, 1] for grow_batch, but got {config.lr_decay:g}"
    if config.lr_schedule == "plateau" and config.lr_decay >= 1:
        yield "lr_decay", f"must be below 1 for plateau, but got {config.lr_decay:g}"


def _inputs(config: TrainConfig, data: DataShape) -> Broken:
    for name in IMAGE_AUGMENTATIONS:
        if getattr(config, name) and data.image is None:
            yield name, "needs images, but the examples are lists of numbers; set it to 0"
    if config.sampling in ("balanced", "interleaved") and data.is_regression:
        yield (
            "sampling",
            f"{config.sampling} needs classes, but the targets are numbers; use shuffled",
        )
    if config.sampling == "hard" and data.is_streamed:
        yield (
            "sampling",
            "hard shows each trial examples of its own, but they are streamed, in one order for "
            "all; use shuffled",
        )


RULES: tuple[Rule, ...] = (_pace, _model, _depth, _normalization, _layers, _loss, _inputs)

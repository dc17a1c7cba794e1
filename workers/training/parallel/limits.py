"""What several devices cannot train together; asked by the loop before it trains a member."""

from __future__ import annotations

from workers.config import TrainConfig
from workers.config.combination import ConfigError
from workers.training.feed import DeviceData
from workers.training.models import Model
from workers.training.models.own import OwnModel
from workers.training.parallel import Mesh
from workers.training.parallel.layers import is_parted
from workers.training.parallel.own_parts import refuses_parts


def check_parts(config: TrainConfig, model: Model, data: DeviceData, mesh: Mesh) -> None:
    """Raise ConfigError unless each device can take its part of all examples, and of the layers."""
    if mesh.data.num > 1:
        _check_examples(config, model, data, mesh.data.num)
    if mesh.model.num > 1:
        _check_layers(config, model, mesh)


def _check_examples(config: TrainConfig, model: Model, data: DeviceData, num_parts: int) -> None:
    if data.is_streamed:
        rule = f"examples must fit on each of the devices that part them in {num_parts}, but do not"
        remedy = "use one device, to which they are streamed, or part layers (parallel: model)"
        raise ConfigError("data.stream", f"{rule}; {remedy}")
    size = config.minibatch_size(0, data.num_train)
    if size < num_parts:
        rule = f"must have an example for each of the {num_parts} devices that part it"
        raise ConfigError("batch_size", f"{rule}, but got {size}; raise it, or use fewer devices")
    if data.num_validation < num_parts:
        rule = f"must have an example for each of the {num_parts} devices that part it"
        raise ConfigError("data.validation", f"{rule}, but has {data.num_validation}")
    broken = refuses_parts(model, data.shape.num_features) if isinstance(model, OwnModel) else None
    if broken is not None:
        rule = "must treat each example by itself, for several devices have a part of them each"
        remedy = "use nn.GroupNorm or nn.LayerNorm, or one device for a trial"
        raise ConfigError("model", f"{rule}, but {broken}; {remedy}")


def _check_layers(config: TrainConfig, model: Model, mesh: Mesh) -> None:
    units = [spec.shape[0] for spec in model.parameters if spec.by_unit]
    if any(is_parted(num, mesh.model) for num in units):
        _check_own_layers(model)
        return
    rule = f"must have a layer of {mesh.model.num} units or more, which so many devices part"
    if isinstance(model, OwnModel):
        rule = f"{rule}: a plain nn.Linear or convolution, that shares no weights and has no hooks"
    found = f"the widest such layer has {max(units)}" if units else "it has none"
    raise ConfigError("model", f"{rule}, but {found}; part minibatches instead (parallel: data)")


def _check_own_layers(model: Model) -> None:
    broken = model.refuses_split if isinstance(model, OwnModel) else None
    if broken is not None:
        rule = "must read the weights of a layer by its call alone, for devices part its units"
        raise ConfigError(
            "model", f"{rule}, but {broken}; part minibatches instead (parallel: data)"
        )

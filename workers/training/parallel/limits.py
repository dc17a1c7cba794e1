"""What several devices cannot train together; asked by the loop before it trains a member."""

from __future__ import annotations

from workers.config import TrainConfig
from workers.config.combination import ConfigError
from workers.training.feed import DeviceData
from workers.training.models import Model
from workers.training.models.own import OwnModel
from workers.training.parallel.own_parts import refuses_parts


def check_parts(config: TrainConfig, model: Model, data: DeviceData, num_devices: int) -> None:
    """Raise ConfigError unless each of the devices can take a part of all examples."""
    if num_devices == 1:
        return
    if data.is_streamed:
        rule = f"examples must fit on each of the {num_devices} devices of a trial, but do not"
        raise ConfigError("data.stream", f"{rule}; use one device, to which they are streamed")
    size = config.minibatch_size(0, data.num_train)
    if size < num_devices:
        rule = f"must have an example for each of the {num_devices} devices of a trial"
        raise ConfigError("batch_size", f"{rule}, but got {size}; raise it, or use fewer devices")
    if data.num_validation < num_devices:
        rule = f"must have an example for each of the {num_devices} devices of a trial"
        raise ConfigError("data.validation", f"{rule}, but has {data.num_validation}")
    broken = refuses_parts(model, data.shape.num_features) if isinstance(model, OwnModel) else None
    if broken is not None:
        rule = "must treat each example by itself, for several devices have a part of them each"
        remedy = "use nn.GroupNorm or nn.LayerNorm, or one device for a trial"
        raise ConfigError("model", f"{rule}, but {broken}; {remedy}")

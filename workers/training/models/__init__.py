"""Models: networks of M rows at once, by name.

``build_model`` is called by the loop; a new model is one class and one line in ``MODELS``.
"""

from __future__ import annotations

from collections.abc import Callable

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.training.models.base import Model
from workers.training.models.cnn import cnn
from workers.training.models.mlp import mlp
from workers.training.models.own import own_model

__all__ = ["MODELS", "Model", "build_model"]

MODELS: dict[str, Callable[[TrainConfig, DataShape], Model]] = {
    "mlp": mlp,
    "cnn": cnn,
    "logistic_regression": mlp,
}


def build_model(config: TrainConfig, data: DataShape) -> Model:
    """The model that ``config`` names, for ``data``; ``check_combination`` has admitted both.

    Raises ConfigError where it is a user's own that cannot be built for them.
    """
    return MODELS.get(config.model, own_model)(config, data)

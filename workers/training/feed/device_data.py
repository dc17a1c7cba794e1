"""DeviceData: a Dataset's arrays on the device once, handed out as model inputs.

Built once per actor and shared by all groups; uint8 images stay uint8 until a minibatch needs them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from workers.data.dataset import Dataset
from workers.training.keyed import generator


class DeviceData:
    """Training and validation examples as [N, F] tensors on ``device``."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self.num_classes = dataset.num_classes
        self._unit = dataset.unit
        self._shift = self._optional(dataset.shift)
        self._scale = self._optional(dataset.scale)
        self._x_train, self._y_train = self._rows(dataset.x_train), self._put(dataset.y_train)
        self._x_val = self._rows(dataset.x_validation)
        self._y_val = self._put(dataset.y_validation)

    @property
    def num_features(self) -> int:
        return self._x_train.shape[1]

    @property
    def num_train(self) -> int:
        return self._x_train.shape[0]

    @property
    def num_validation(self) -> int:
        return self._x_val.shape[0]

    def minibatches(
        self, order_seed: int, epoch: int, batch_size: int, dtype: torch.dtype
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [B, F] and classes [B] of one shuffled epoch, the last minibatch smaller.

        The order depends on ``(order_seed, epoch)`` alone, so all members see the same.
        """
        keyed = generator(order_seed, "order", epoch)
        order = torch.randperm(self.num_train, generator=keyed).to(self.device)
        for index in torch.split(order, batch_size):
            yield self._inputs(self._x_train[index], dtype), self._y_train[index]

    def validation(self, chunk: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and classes of the validation part in order, at most ``chunk`` examples each."""
        pairs = zip(torch.split(self._x_val, chunk), torch.split(self._y_val, chunk), strict=True)
        return ((self._inputs(x, dtype), y) for x, y in pairs)

    def _inputs(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        x = x.to(dtype)
        x = x * self._unit if self._unit != 1.0 else x
        x = x - self._shift.to(dtype) if self._shift is not None else x
        return x * self._scale.to(dtype) if self._scale is not None else x

    def _rows(self, x: np.ndarray) -> Tensor:
        return self._put(x.reshape(len(x), -1))

    def _put(self, array: np.ndarray) -> Tensor:
        with warnings.catch_warnings():
            # Arrays from Ray's object store are read-only and shared; nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _optional(self, array: np.ndarray | None) -> Tensor | None:
        return None if array is None else self._put(array)

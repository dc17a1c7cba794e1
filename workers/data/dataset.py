"""``Dataset``: examples after the split, with what turns them into a model's inputs.

Made by ``workers.data.loading``; the training loop puts its arrays on the device once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.data.examples import Array, Int64Array

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Examples of a search, the same for all its trials; there is no test part in it.

    ``x_train`` is [N, *feature_shape] in uint8 (images) or float32, ``y_train`` [N] class codes
    0..C-1, the validation part likewise. ``unit`` is one step of ``x`` on the model's scale: 1/255
    for images as in torchvision's ToTensor, 1/16 for digits, else 1. ``shift`` and ``scale`` are
    float32 [features] over the flattened features, or None where preprocessing asks for none.
    """

    x_train: Array
    y_train: Int64Array
    x_validation: Array
    y_validation: Int64Array
    class_names: tuple[str, ...]
    unit: float
    shift: Float32Array | None
    scale: Float32Array | None

    @property
    def num_classes(self) -> int:
        """C, the number of classes of the source, whether or not ``limit`` left rows of each."""
        return len(self.class_names)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x_train.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together: what the device has to hold."""
        arrays = (self.x_train, self.y_train, self.x_validation, self.y_validation)
        statistics = (array for array in (self.shift, self.scale) if array is not None)
        return sum(array.nbytes for array in (*arrays, *statistics))

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any value, label or shape."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x_train, self.y_train, self.x_validation, self.y_validation):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr(self.class_names).encode())
        return digest.hexdigest()

    def inputs(self, x: Array) -> Float32Array:
        """The model's inputs for rows ``x`` [n, *feature_shape]: float32 [n, features].

        ``(x * unit - shift) * scale``, the reference for what runs on a device.
        """
        out = x.reshape(len(x), -1).astype(np.float32) * np.float32(self.unit)
        if self.shift is not None:
            out -= self.shift
        if self.scale is not None:
            out *= self.scale
        return out

"""``Dataset``: examples after the split, with what turns them into a model's inputs and targets.

Made by ``workers.data.loading``; the training loop puts its arrays on the device once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from workers.config.combination import DataShape
from workers.data.examples import Array, Float32Array, Int64Array
from workers.data.streamed import Streamed, sampled

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Transform:
    """From flattened features to a model's inputs: ``((x * unit - shift) * scale) @ projection``.

    ``shift`` and ``scale`` are float32 [F], ``projection`` float32 [F, F], a column a component;
    None leaves its step out.
    """

    shift: Float32Array | None = None
    scale: Float32Array | None = None
    projection: Float32Array | None = None

    def arrays(self) -> tuple[Float32Array, ...]:
        """Those that are there."""
        return tuple(a for a in (self.shift, self.scale, self.projection) if a is not None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Examples of a search, the same for all its trials; there is no test part in it.

    ``x_train`` is [N, *feature_shape] in uint8 (images) or float32, ``y_train`` [N] int64 codes
    0..C-1 or, for a regression, float32 numbers as they were read; the validation part likewise.
    Inputs may be ``Streamed``: read when they are asked for, and not held here.
    ``class_names`` are C, or none for a regression. ``unit`` is one step of ``x`` on the model's
    scale: 1/255 for images as in torchvision's ToTensor, 1/16 for digits, else 1.

    With k folds the training part holds all rows and the validation part none. ``fold_rows``
    [k, n] are the rows that each fold validates on, ascending and disjoint; the fold trains on the
    other N - n. Whatever is measured on training rows is there once a fold, or once without folds:
    ``transforms``, and ``target_mean`` and ``target_scale`` [num_folds], with which a regression is
    trained on ``(y - mean) / scale`` (0 and 1 for classes). ``preprocess`` names what was asked.
    """

    x_train: Array | Streamed
    y_train: Array
    x_validation: Array | Streamed
    y_validation: Array
    class_names: tuple[str, ...]
    unit: float = 1.0
    preprocess: tuple[str, ...] = ()
    transforms: tuple[Transform, ...] = (Transform(),)
    target_mean: Float64Array = field(default_factory=lambda: np.zeros(1))
    target_scale: Float64Array = field(default_factory=lambda: np.ones(1))
    fold_rows: Int64Array | None = None

    @property
    def is_regression(self) -> bool:
        """Whether targets are numbers."""
        return not self.class_names

    @property
    def num_classes(self) -> int:
        """C, the number of classes of the source, whether or not ``limit`` left rows of each."""
        return len(self.class_names)

    @property
    def num_outputs(self) -> int:
        """What a model has to put out: C numbers, or 1 for a regression."""
        return 1 if self.is_regression else self.num_classes

    @property
    def num_folds(self) -> int:
        """k, or 1 without folds."""
        return 1 if self.fold_rows is None else len(self.fold_rows)

    @property
    def num_validation(self) -> int:
        """Examples that a trial, or each fold of it, validates on."""
        return len(self.x_validation) if self.fold_rows is None else self.fold_rows.shape[1]

    @property
    def num_train(self) -> int:
        """Rows that each fold trains on."""
        held_out = 0 if self.fold_rows is None else self.fold_rows.shape[1]
        return len(self.x_train) - held_out

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x_train.shape[1:])

    @property
    def image(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of an example; None for tables, and behind a projection."""
        if any(transform.projection is not None for transform in self.transforms):
            return None
        return image_shape(self.feature_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together, which the device has to hold; streamed inputs are none."""
        statistics = (array for transform in self.transforms for array in transform.arrays())
        return sum(array.nbytes for array in (*self._examples(), *statistics))

    def shape(self) -> DataShape:
        """What a model needs to know of the data."""
        return DataShape(
            num_features=int(np.prod(self.feature_shape)),
            image=self.image,
            num_outputs=self.num_outputs,
            is_regression=self.is_regression,
            num_train=self.num_train,
            feature_shape=self.feature_shape,
            is_streamed=self.is_streamed,
        )

    @property
    def is_streamed(self) -> bool:
        """Whether inputs are read when they are asked for."""
        return isinstance(self.x_train, Streamed)

    def fingerprint(self) -> str | None:
        """32 hexadecimal digits that change with any value, label, shape or fold.

        What follows from the rows by the spec, the preprocessing, is left out: the last bits of
        statistics are the machine's. Searches note it, so it must not change between versions.
        None where inputs are streamed.
        """
        parts = list(self._examples())
        arrays = [part for part in parts if not isinstance(part, Streamed)]
        return self._digest(zip(arrays, arrays, strict=True)) if len(arrays) == len(parts) else None

    def sample_fingerprint(self) -> str:
        """The same of all shapes and targets, but of some inputs only.

        It is that of the same examples held in memory and streamed, and noted likewise.
        """
        inputs = [self.x_train, self.x_validation]
        targets = [self.y_train, self.y_validation]
        shown = [(x, sampled(x)) for x in inputs]
        return self._digest([*shown, *zip(targets, targets, strict=True)])

    def _digest(self, parts: Iterable[tuple[Array | Streamed, Array]]) -> str:
        """Of the type and shape of the first, and the values of the second, of each pair."""
        digest = hashlib.blake2b(digest_size=16)
        for whole, values in parts:
            digest.update(f"{whole.dtype.str}{whole.shape}".encode())
            digest.update(np.ascontiguousarray(values).data)
        digest.update(repr(self.class_names).encode())
        return digest.hexdigest()

    def inputs(self, x: Array, fold: int = 0) -> Float32Array:
        """The model's inputs for rows ``x`` [n, *feature_shape]: float32 [n, F].

        The reference for what ``Transform`` says and a device does.
        """
        rows = x.reshape(len(x), -1).astype(np.float32)
        out: Float32Array = rows * np.float32(self.unit)
        transform = self.transforms[fold]
        if transform.shift is not None:
            out -= transform.shift
        if transform.scale is not None:
            out *= transform.scale
        if transform.projection is not None:
            out = out @ transform.projection
        return out

    def _examples(self) -> Iterator[Array | Streamed]:
        yield from (self.x_train, self.y_train, self.x_validation, self.y_validation)
        if self.fold_rows is not None:
            yield self.fold_rows


def image_shape(feature_shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(channels, height, width) of examples [H, W] or [C, H, W]; None for others."""
    if len(feature_shape) not in (2, 3):
        return None
    channels, height, width = (1, *feature_shape)[-3:]
    return channels, height, width

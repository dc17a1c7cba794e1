"""DeviceData: a Dataset's arrays on the device once, handed out as model inputs, fold by fold.

Built once per actor and shared by all groups; uint8 images stay uint8 until a minibatch needs them.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from workers.data.dataset import Dataset
from workers.data.examples import Array, Float32Array, Int64Array
from workers.data.streamed import Streamed
from workers.training.device import memory_bytes
from workers.training.feed.streamed_part import StreamedPart, num_loaders

_HELD = 16  # of the memory, the part that streamed examples may take once they are read to be held


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The examples that folds train on, or validate on; without folds there is one fold, 0.

    Example i of fold f is row ``rows_kN[f, i]`` of ``x_RF``, or row i where that is None; its
    target is ``targets_kN[f, i]``: a class code, or a float64 number that is standardized already.
    """

    x_RF: Tensor
    rows_kN: Tensor | None
    targets_kN: Tensor

    def __len__(self) -> int:
        return self.targets_kN.shape[1]

    def only(self, places_kN: Tensor) -> Part:
        """Those at these places of each fold; rows stay where they are."""
        rows_kN = places_kN if self.rows_kN is None else self.rows_kN.gather(1, places_kN)
        return replace(self, rows_kN=rows_kN, targets_kN=self.targets_kN.gather(1, places_kN))

    def at(self, index_vB: Tensor, folds_v: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [v, B, F] as stored and targets [v, B] of each view's examples in its fold."""
        place_vB = self._places(index_vB, folds_v)
        rows_vB = index_vB if self.rows_kN is None else self.rows_kN.take(place_vB)
        # A tenth of the time that ``x_RF[rows_vB]`` takes on a CPU.
        x_vBF = self.x_RF.index_select(0, rows_vB.flatten())
        return x_vBF.view(*rows_vB.shape, self.x_RF.shape[1]), self.targets_kN.take(place_vB)

    def targets(self, index_vB: Tensor, folds_v: Tensor) -> Tensor:
        """The targets alone."""
        return self.targets_kN.take(self._places(index_vB, folds_v))

    def _places(self, index_vB: Tensor, folds_v: Tensor) -> Tensor:
        """Where they are in a matrix of all folds."""
        return index_vB if self.rows_kN is None else folds_v[:, None] * len(self) + index_vB

    def between(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """The same of the examples from ``start`` up to ``stop`` of all k folds."""
        targets_kB = self.targets_kN[:, start:stop]
        if self.rows_kN is None:
            return self.x_RF[None, start:stop], targets_kB
        return self.x_RF[self.rows_kN[:, start:stop]], targets_kB


class DeviceData:
    """Training and validation examples on ``device``.

    ``num_train`` and ``num_validation`` number the examples of one fold, which all folds have
    alike. ``class_counts_kC`` are the training examples of each class by fold, None for a
    regression; ``target_scale_k`` turns its errors back into the units of the data (1 for classes),
    and with ``target_mean_k`` (0 for classes) its outputs.
    ``targets_on_host_kN`` are the training targets again, for orders that are drawn on the host.
    ``memory_bytes`` is this worker's part of the device's memory, which ``num_sharing`` share.
    Inputs that are streamed, or take more than half of a GPU's part, are read when they are needed.
    """

    def __init__(self, dataset: Dataset, device: torch.device, num_sharing: int = 1) -> None:
        self.memory_bytes = memory_bytes(device, num_sharing)
        self.device, self.shape, self.num_folds = device, dataset.shape(), dataset.num_folds
        self._unit = dataset.unit
        self._num_sharing = num_sharing
        self.train, self.held_out = self._parts(dataset)
        self.shape = replace(self.shape, is_streamed=self.is_streamed)
        self.num_train, self.num_validation = len(self.train), len(self.held_out)
        self.targets_on_host_kN = self.train_targets_kN.cpu()
        self.class_counts_kC = self._class_counts()
        self.target_scale_k = self._put(dataset.target_scale)
        self.target_mean_k = self._put(dataset.target_mean)
        self.all_folds_k = torch.arange(self.num_folds, device=device)
        self._shift_kF = self._stacked([fold.shift for fold in dataset.transforms])
        self._scale_kF = self._stacked([fold.scale for fold in dataset.transforms])
        self._projection_kFF = self._stacked([fold.projection for fold in dataset.transforms])

    def only(self, places_kN: Tensor, num_validation: int | None = None) -> DeviceData:
        """The same with fewer examples: those at these places of each fold's training part.

        And the first ``num_validation`` of the validation part, by default all. Statistics that the
        preprocessing measured stay those of all; no example is copied, but those that are streamed
        are read and held, if they are few.
        """
        fewer = copy.copy(self)
        fewer.train = self._held(self.train.only(places_kN.to(self.device)))
        if num_validation is not None and num_validation < self.num_validation:
            first_n = torch.arange(num_validation, device=self.device)
            fewer.held_out = self._held(self.held_out.only(first_n.expand(self.num_folds, -1)))
        fewer.num_train, fewer.num_validation = len(fewer.train), len(fewer.held_out)
        fewer.shape = replace(self.shape, num_train=fewer.num_train)
        fewer.targets_on_host_kN = fewer.train_targets_kN.cpu()
        fewer.class_counts_kC = fewer._class_counts()
        return fewer

    @property
    def is_streamed(self) -> bool:
        """Whether any example is read when it is needed, and not on the device."""
        return any(isinstance(part, StreamedPart) for part in (self.train, self.held_out))

    def seconds_to_read(self) -> float:
        """What an epoch and its validation spend at least on reading; 0 for what is held."""
        parts = (self.train, self.held_out)
        return sum(part.seconds_to_read() for part in parts if isinstance(part, StreamedPart))

    @property
    def train_targets_kN(self) -> Tensor:
        """The targets that each fold trains on, in the order that ``Batch.index_mB`` counts."""
        return self.train.targets_kN

    def scaled(self, x_vBF: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows as stored on the model's scale: times ``unit``, so that images are in [0, 1]."""
        x_vBF = x_vBF.to(dtype)
        return x_vBF * self._unit if self._unit != 1.0 else x_vBF

    def preprocessed(self, x_vBF: Tensor, folds_v: Tensor) -> Tensor:
        """``((x - shift) * scale) @ projection`` with the statistics of each view's own fold."""
        if self._shift_kF is not None:
            x_vBF = x_vBF - self._of_folds(self._shift_kF, folds_v).to(x_vBF.dtype)
        if self._scale_kF is not None:
            x_vBF = x_vBF * self._of_folds(self._scale_kF, folds_v).to(x_vBF.dtype)
        if self._projection_kFF is not None:
            x_vBF = self._project(x_vBF, self._projection_kFF.to(x_vBF.dtype), folds_v)
        return x_vBF

    def _of_folds(self, numbers_kF: Tensor, folds_v: Tensor) -> Tensor:
        return numbers_kF if self.num_folds == 1 else numbers_kF[folds_v].unsqueeze(1)

    def _project(self, x_vBF: Tensor, projection_kFF: Tensor, folds_v: Tensor) -> Tensor:
        if self.num_folds == 1:
            return x_vBF @ projection_kFF[0]
        if folds_v is self.all_folds_k:
            return x_vBF @ projection_kFF
        # A fold at a time over all views: a matrix for each view could take gigabytes.
        out_vBF = torch.zeros_like(x_vBF)
        for fold, projection_FF in enumerate(projection_kFF):
            own_v11 = (folds_v == fold)[:, None, None]
            out_vBF += (x_vBF * own_v11) @ projection_FF
        return out_vBF

    def _parts(self, dataset: Dataset) -> tuple[Part | StreamedPart, Part | StreamedPart]:
        """What is trained on and what is held out."""
        x, x_validation = dataset.x_train, dataset.x_validation
        if dataset.fold_rows is None:
            return (
                self._part(dataset, x, dataset.y_train),
                self._part(dataset, x_validation, dataset.y_validation),
            )
        assert not isinstance(x, Streamed), "folds are of examples in memory"
        trained, held_out = _rows_by_fold(dataset.fold_rows, len(x))
        x_RF = self._put(_flat(x))
        return self._fold(dataset, x_RF, trained), self._fold(dataset, x_RF, held_out)

    def _fold(self, dataset: Dataset, x_RF: Tensor, rows: Int64Array) -> Part:
        return Part(
            x_RF=x_RF,
            rows_kN=self._put(rows),
            targets_kN=self._put(_targets(dataset, dataset.y_train, rows)),
        )

    def _part(self, dataset: Dataset, x: Array | Streamed, y: Array) -> Part | StreamedPart:
        targets_kN = self._put(_targets(dataset, y, None))
        if isinstance(x, Streamed) or self._is_too_large(x.nbytes):
            return StreamedPart(
                x=x,
                rows_1N=None,
                targets_kN=targets_kN,
                num_loaders=num_loaders(x, self._num_sharing),
            )
        return Part(x_RF=self._put(_flat(x)), rows_kN=None, targets_kN=targets_kN)

    def _is_too_large(self, num_bytes: int) -> bool:
        """Whether examples stay in the machine's memory, for a GPU needs its own to train."""
        return self.device.type == "cuda" and num_bytes > self.memory_bytes // 2

    def _held(self, part: Part | StreamedPart) -> Part | StreamedPart:
        """On the device, if there is ample room."""
        if isinstance(part, Part) or _HELD * len(part) * part.example_bytes > self.memory_bytes:
            return part
        every_1N = torch.arange(len(part), device=self.device)[None]
        x_1NF, targets_kN = part.at(every_1N, self.all_folds_k)
        return Part(x_RF=x_1NF[0], rows_kN=None, targets_kN=targets_kN)

    def _class_counts(self) -> Tensor | None:
        if self.shape.is_regression:
            return None
        folds = (
            torch.bincount(targets_N, minlength=self.shape.num_outputs)
            for targets_N in self.targets_on_host_kN
        )
        return torch.stack(list(folds)).to(self.device)

    def _stacked(self, arrays: Sequence[Float32Array | None]) -> Tensor | None:
        """Statistics of all folds in one tensor; None if the preprocessing asks for none."""
        there = [array for array in arrays if array is not None]
        return self._put(np.stack(there)) if there else None

    def _put(self, array: Array) -> Tensor:
        with warnings.catch_warnings():
            # Arrays from Ray's object store are read-only and shared; nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _rows_by_fold(held_out: Int64Array, num_rows: int) -> tuple[Int64Array, Int64Array]:
    """The rows that each fold trains on [k, N - n] and validates on [k, n]."""
    every = np.arange(num_rows, dtype=np.int64)
    return np.stack([np.delete(every, rows) for rows in held_out]), held_out


def _targets(dataset: Dataset, y: Array, rows: Int64Array | None) -> Array:
    """Class codes [k, N], or numbers standardized with the statistics of each fold."""
    y_kN: Array = y[None] if rows is None else y[rows]
    if dataset.is_regression:
        y_kN = (y_kN - dataset.target_mean[:, None]) / dataset.target_scale[:, None]
    return y_kN


def _flat(x: Array) -> Array:
    return x.reshape(len(x), math.prod(x.shape[1:]))

"""Feed: the minibatches of one group's rows, epoch by epoch, and the examples that validate them.

Made by the loop once a group; what it hands out depends on keys and on each row's own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.training.columns import Columns
from workers.training.feed.augmentation import Augmentation, Draws
from workers.training.feed.batch import Batch
from workers.training.feed.device_data import DeviceData
from workers.training.feed.sampling import ORDERS, hard
from workers.training.feed.streamed_part import Reading, StreamedPart
from workers.training.keyed import generator

# What minibatches are gathered for in one go: a row alone spends a quarter of its step on gathering
# one (64 features, 32 examples); near the cache, and little beside what training takes.
_GATHERED_BYTES = 2 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Views:
    """The orders that are gathered, fewer than the rows where rows see the same.

    A view [v] is all rows' (v = 1), a fold's (v = k), or a row's own (v = M). ``rows_M`` gives each
    row its view, or is None where that needs no copy.
    """

    epoch: int
    order_vN: Tensor
    folds_v: Tensor
    rows_M: Tensor | None

    def of_rows(self, of_views: Tensor) -> Tensor:
        return of_views if self.rows_M is None else of_views.index_select(0, self.rows_M)


class Feed:
    """What one group sees of ``data``. All trials with one ``order_seed`` see the same orders.

    Methods take the stack's Columns, whose rows may become fewer between epochs.
    """

    def __init__(self, data: DeviceData, order_seed: int) -> None:
        self.data = data
        self._order_seed = order_seed
        self._draws = Draws(order_seed, data.device)
        self._last: tuple[tuple[str, int], Tensor] | None = None  # the order that was drawn last
        self._open: Reading | None = None  # of examples that are streamed

    def num_steps(self, columns: Columns, epoch: int) -> int:
        """Minibatches of ``epoch`` (from 0)."""
        return -(-self.data.num_train // self._minibatch_size(columns, epoch))

    def minibatches(
        self,
        columns: Columns,
        epoch: int,
        dtype: torch.dtype,
        example_losses_MN: Tensor | None = None,
        *,
        start: int = 0,
    ) -> Iterator[Batch]:
        """One epoch (from 0) in minibatches, the last one smaller; inputs in ``dtype``.

        ``start`` is the step (from 0) to begin with, where others have been taken already.
        ``example_losses_MN`` are read by the sampling ``hard`` alone, when the epoch begins: each
        row's last loss on each of its fold's training examples, 0 where there is none yet.
        """
        views = self._views(columns, epoch, example_losses_MN)
        augmentation = Augmentation(
            columns,
            self._draws,
            epoch=epoch,
            num_steps=self.num_steps(columns, epoch),
            image=self.data.shape.image,
            dtype=dtype,
        )
        size = self._minibatch_size(columns, epoch)
        at_once = self._gathered(views, size, dtype) if augmentation.is_off else size
        for first in range(start * size, self.data.num_train, at_once):
            batch = self._batch(views, slice(first, first + at_once), augmentation, size, dtype)
            if augmentation.is_off:
                yield from batch.split(size)
            else:
                yield augmentation.mixed(batch, first // size)

    def read_ahead(
        self, columns: Columns, epoch: int, num_steps: int
    ) -> AbstractContextManager[None]:
        """Within, the first steps of an epoch are at hand, for as many as take them.

        Where examples are streamed they are read now, so that none who takes them is timed for it.
        """
        if not isinstance(self.data.train, StreamedPart):
            return nullcontext()
        views, size = self._views(columns, epoch, None), self._minibatch_size(columns, epoch)
        at_once = self._gathered(views, size, columns.dtype)
        stop = min(-(-num_steps * size // at_once) * at_once, self.data.num_train)
        return self._reading(self.data.train, views.order_vN[0], epoch, 0, size).kept(stop)

    def validation(
        self, columns: Columns, chunk: int, dtype: torch.dtype
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [m, B, F] and targets [m, B] of the validation part in order, B <= ``chunk``.

        m = 1 without folds; with folds each row has its own fold's.
        """
        data, rows_M = self.data, self._folds_of(columns)
        for start in range(0, data.num_validation, chunk):
            x_kBF, y_kB = self._held_out(start, min(start + chunk, data.num_validation))
            x_kBF = data.preprocessed(data.scaled(x_kBF, dtype), data.all_folds_k)
            y_kB = y_kB.to(dtype) if y_kB.is_floating_point() else y_kB
            yield (x_kBF, y_kB) if rows_M is None else (x_kBF[rows_M], y_kB[rows_M])

    def _held_out(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs [m, B, F] as they are stored, and targets, of validation examples."""
        part = self.data.held_out
        if not isinstance(part, StreamedPart):
            return part.between(start, stop)
        order_N = torch.arange(len(part))
        reading = self._reading(part, order_N, "validation", start, ahead=0)
        return reading.between(start, stop)[None], part.targets_kN[:, start:stop]

    def _trained_on(self, views: _Views, run: slice, size: int) -> tuple[Tensor, Tensor]:
        """Inputs [v, B, F] as they are stored, and targets, of a run of each view's order."""
        part, index_vB = self.data.train, views.order_vN[:, run]
        if not isinstance(part, StreamedPart):
            return part.at(index_vB, views.folds_v)
        reading = self._reading(part, views.order_vN[0], views.epoch, run.start, ahead=size)
        stop = run.start + index_vB.shape[1]
        return reading.between(run.start, stop)[None], part.targets(index_vB, views.folds_v)

    def _reading(
        self, part: StreamedPart, order_N: Tensor, key: int | str, start: int, ahead: int
    ) -> Reading:
        """The one that is open, if it is of this order and has the rows from ``start`` on."""
        if self._open is None or self._open.key != key or not self._open.has(start):
            self._open = None  # its processes end before others start
            self._open = Reading(key, part, order_N, start, ahead)
        return self._open

    def _batch(
        self, views: _Views, run: slice, augmentation: Augmentation, size: int, dtype: torch.dtype
    ) -> Batch:
        """A run of each view's order; ``size`` is that of a minibatch."""
        data, folds_v, step = self.data, views.folds_v, run.start // size
        x_vBF, y_vB = self._trained_on(views, run, size)
        x_vBF = data.scaled(x_vBF, dtype)
        if augmentation.changes_images:
            # Rows change their images before the preprocessing, so each needs a copy by then.
            x_vBF, folds_v = views.of_rows(x_vBF), views.of_rows(folds_v)
            x_mBF = data.preprocessed(augmentation.images(x_vBF, step), folds_v)
        else:
            x_mBF = views.of_rows(data.preprocessed(x_vBF, folds_v))
        return Batch(
            x_mBF=augmentation.inputs(x_mBF, step),
            y_mB=views.of_rows(y_vB.to(dtype) if y_vB.is_floating_point() else y_vB),
            index_mB=views.of_rows(views.order_vN[:, run]),
        )

    def _gathered(self, views: _Views, size: int, dtype: torch.dtype) -> int:
        """How many examples are gathered at once: whole minibatches of ``size``."""
        num_views = len(views.order_vN) if views.rows_M is None else len(views.rows_M)
        example_bytes = num_views * self.data.shape.num_features * dtype.itemsize
        return max(1, _GATHERED_BYTES // (example_bytes * size)) * size

    def _views(self, columns: Columns, epoch: int, example_losses_MN: Tensor | None) -> _Views:
        sampling, rows_M = columns.configs[0].sampling, self._folds_of(columns)
        order_kN = self._order(sampling, epoch)
        every = self.data.all_folds_k
        shared = _Views(epoch=epoch, order_vN=order_kN, folds_v=every, rows_M=rows_M)
        if sampling != "hard" or example_losses_MN is None:
            return shared
        order_MN = hard(
            example_losses_MN,
            columns.number("hard_emphasis", dtype=torch.float64),
            self._draws.uniforms("hard", self.data.num_train, epoch),
            shared.of_rows(order_kN),
        )
        return _Views(epoch=epoch, order_vN=order_MN, folds_v=columns.folds_M, rows_M=None)

    def _order(self, sampling: str, epoch: int) -> Tensor:
        """Places among each fold's training examples, [k, N]; drawn once for all blocks of rows."""
        if self._last is None or self._last[0] != (sampling, epoch):
            orders = [
                ORDERS[sampling](targets_N, generator(*self._order_key(epoch, fold)))
                for fold, targets_N in enumerate(self.data.targets_on_host_kN)
            ]
            self._last = (sampling, epoch), torch.stack(orders).to(self.data.device)
        return self._last[1]

    def _order_key(self, epoch: int, fold: int) -> tuple[int | str, ...]:
        whole = (self._order_seed, "order", epoch)
        return whole if self.data.num_folds == 1 else (*whole, fold)

    def _folds_of(self, columns: Columns) -> Tensor | None:
        return None if self.data.num_folds == 1 else columns.folds_M

    def _minibatch_size(self, columns: Columns, epoch: int) -> int:
        return columns.configs[0].minibatch_size(epoch, self.data.num_train)

"""Feed: the minibatches of one group's rows, epoch by epoch, and the examples that validate them.

Made by the loop once a group; what it hands out depends on keys and on each row's own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.training.columns import Columns
from workers.training.feed.augmentation import Augmentation, Draws
from workers.training.feed.batch import Batch, Whole
from workers.training.feed.device_data import DeviceData, Part
from workers.training.feed.sampling import ORDERS, hard
from workers.training.feed.streamed_part import Reading, StreamedPart
from workers.training.keyed import generator
from workers.training.parallel import ALONE, Devices, Portion, portion_of

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

    Methods take the stack's Columns, whose rows may become fewer between epochs. ``devices`` part
    each minibatch, and the validation part too.
    """

    def __init__(self, data: DeviceData, order_seed: int, devices: Devices = ALONE) -> None:
        self.data, self._devices = data, devices
        self._validated = _own_of(data.held_out, devices)
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

        Of each the examples that are this device's, which may be none of a small one.
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
            run = slice(first, first + at_once)
            if not augmentation.is_off:
                batch = self._batch(views, run, augmentation, size, dtype)
                yield self._own(augmentation.mixed(batch, first // size))
            elif self._devices.num == 1:
                yield from self._batch(views, run, augmentation, size, dtype).split(size)
            else:
                yield from self._own_of_plain(views, run, augmentation, size, dtype)

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
        num_own = len(self._validated)
        for start in range(0, num_own, chunk):
            x_kBF, y_kB = self._held_out(start, min(start + chunk, num_own))
            x_kBF = data.preprocessed(data.scaled(x_kBF, dtype), data.all_folds_k)
            y_kB = y_kB.to(dtype) if y_kB.is_floating_point() else y_kB
            yield (x_kBF, y_kB) if rows_M is None else (x_kBF[rows_M], y_kB[rows_M])

    def _held_out(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs [m, B, F] as they are stored, and targets, of validation examples."""
        part = self._validated
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

    def _own(self, batch: Batch) -> Batch:
        """This device's part of a minibatch. It was augmented whole: what is drawn for its examples
        is drawn for all of them, and a partner of mixup may be any of them."""
        if self._devices.num == 1:
            return batch
        return batch.part(self._portion(len(batch)))

    def _portion(self, num_examples: int) -> Portion:
        return portion_of(num_examples, self._devices.rank, self._devices.num)

    def _own_of_plain(
        self, views: _Views, run: slice, augmentation: Augmentation, size: int, dtype: torch.dtype
    ) -> Iterator[Batch]:
        """This device's parts of minibatches that nothing augments: no other example is read."""
        wholes = torch.split(views.order_vN[:, run], size, dim=1)
        owns = [self._portion(index_vB.shape[1]) for index_vB in wholes]
        own_vn = torch.cat([own.of(i, 1) for i, own in zip(wholes, owns, strict=True)], dim=1)
        found = self.data.train.at(own_vn, views.folds_v)
        batches = self._made(views, own_vn, found, augmentation, 0, dtype)
        parts = batches.split([len(own) for own in owns])
        for batch, index_vB, own in zip(parts, wholes, owns, strict=True):
            y_vB = self.data.train.targets(index_vB, views.folds_v)
            whole = Whole(
                portion=own,
                y_mN=_targets(views, y_vB, dtype),
                index_mN=views.of_rows(index_vB),
            )
            yield replace(batch, part_of=whole)

    def _batch(
        self, views: _Views, run: slice, augmentation: Augmentation, size: int, dtype: torch.dtype
    ) -> Batch:
        """A run of each view's order; ``size`` is that of a minibatch."""
        index_vB, found = views.order_vN[:, run], self._trained_on(views, run, size)
        return self._made(views, index_vB, found, augmentation, run.start // size, dtype)

    def _made(
        self,
        views: _Views,
        index_vB: Tensor,
        found: tuple[Tensor, Tensor],
        augmentation: Augmentation,
        step: int,
        dtype: torch.dtype,
    ) -> Batch:
        """Of the inputs and targets that were ``found`` at ``index_vB``."""
        data, folds_v = self.data, views.folds_v
        x_vBF, y_vB = data.scaled(found[0], dtype), found[1]
        if augmentation.changes_images:
            # Rows change their images before the preprocessing, so each needs a copy by then.
            x_vBF, folds_v = views.of_rows(x_vBF), views.of_rows(folds_v)
            x_mBF = data.preprocessed(augmentation.images(x_vBF, step), folds_v)
        else:
            x_mBF = views.of_rows(data.preprocessed(x_vBF, folds_v))
        return Batch(
            x_mBF=augmentation.inputs(x_mBF, step),
            y_mB=_targets(views, y_vB, dtype),
            index_mB=views.of_rows(index_vB),
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


def _targets(views: _Views, y_vB: Tensor, dtype: torch.dtype) -> Tensor:
    """Those of the rows [m, B]: class codes as they are, numbers in ``dtype``."""
    return views.of_rows(y_vB.to(dtype) if y_vB.is_floating_point() else y_vB)


def _own_of(part: Part | StreamedPart, devices: Devices) -> Part | StreamedPart:
    """The examples of ``part`` that are this device's: each so many'th."""
    if devices.num == 1:
        return part
    places_n = torch.arange(devices.rank, len(part), devices.num, device=part.targets_kN.device)
    return part.only(places_n.expand(len(part.targets_kN), -1))

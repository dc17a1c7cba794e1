"""Feed: the minibatches of one group's rows, epoch by epoch, and the examples that validate them.

Made by the loop once a group; what it hands out depends on keys and on each row's own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from workers.training.columns import Columns
from workers.training.feed.augmentation import Augmentation, Draws
from workers.training.feed.batch import Batch, Whole
from workers.training.feed.device_data import DeviceData
from workers.training.feed.sampling import ORDERS, hard
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
        self._held_out = data.held_out.every(devices.num, devices.rank)
        self._order_seed = order_seed
        self._draws = Draws(order_seed, data.device)
        self._last: tuple[tuple[str, int], Tensor] | None = None  # the order that was drawn last

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
        if augmentation.is_off:
            at_once = self._gathered(views, size, dtype)
            for index_vn in torch.split(views.order_vN[:, start * size :], at_once, dim=1):
                if self._devices.num == 1:
                    yield from self._batch(views, index_vn, augmentation, 0, dtype).split(size)
                else:
                    wholes = torch.split(index_vn, size, dim=1)
                    yield from self._own_of_plain(views, wholes, augmentation, dtype)
            return
        steps = enumerate(torch.split(views.order_vN, size, dim=1))
        for step, index_vB in islice(steps, start, None):
            batch = self._batch(views, index_vB, augmentation, step, dtype)
            yield self._own(augmentation.mixed(batch, step))

    def validation(
        self, columns: Columns, chunk: int, dtype: torch.dtype
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [m, B, F] and targets [m, B] of the validation part in order, B <= ``chunk``.

        m = 1 without folds; with folds each row has its own fold's.
        """
        data, rows_M = self.data, self._folds_of(columns)
        for start in range(0, len(self._held_out), chunk):
            x_kBF, y_kB = self._held_out.between(start, start + chunk)
            x_kBF = data.preprocessed(data.scaled(x_kBF, dtype), data.all_folds_k)
            y_kB = y_kB.to(dtype) if y_kB.is_floating_point() else y_kB
            yield (x_kBF, y_kB) if rows_M is None else (x_kBF[rows_M], y_kB[rows_M])

    def _own(self, batch: Batch) -> Batch:
        """This device's part of a minibatch. It was augmented whole: what is drawn for its examples
        is drawn for all of them, and a partner of mixup may be any of them."""
        if self._devices.num == 1:
            return batch
        return batch.part(self._portion(len(batch)))

    def _portion(self, num_examples: int) -> Portion:
        return portion_of(num_examples, self._devices.rank, self._devices.num)

    def _own_of_plain(
        self,
        views: _Views,
        wholes: Sequence[Tensor],
        augmentation: Augmentation,
        dtype: torch.dtype,
    ) -> Iterator[Batch]:
        """This device's parts of minibatches that nothing augments: no other example is read."""
        owns = [self._portion(index_vB.shape[1]) for index_vB in wholes]
        own_vn = torch.cat([own.of(i, 1) for i, own in zip(wholes, owns, strict=True)], dim=1)
        batches = self._batch(views, own_vn, augmentation, 0, dtype)
        parts = batches.split([len(own) for own in owns])
        for batch, index_vB, own in zip(parts, wholes, owns, strict=True):
            y_vB = self.data.train.targets_at(index_vB, views.folds_v)
            whole = Whole(
                portion=own,
                y_mN=_targets(views, y_vB, dtype),
                index_mN=views.of_rows(index_vB),
            )
            yield replace(batch, part_of=whole)

    def _batch(
        self,
        views: _Views,
        index_vB: Tensor,
        augmentation: Augmentation,
        step: int,
        dtype: torch.dtype,
    ) -> Batch:
        data, folds_v = self.data, views.folds_v
        x_vBF, y_vB = data.train.at(index_vB, folds_v)
        x_vBF = data.scaled(x_vBF, dtype)
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
        shared = _Views(order_vN=order_kN, folds_v=self.data.all_folds_k, rows_M=rows_M)
        if sampling != "hard" or example_losses_MN is None:
            return shared
        order_MN = hard(
            example_losses_MN,
            columns.number("hard_emphasis", dtype=torch.float64),
            self._draws.uniforms("hard", self.data.num_train, epoch),
            shared.of_rows(order_kN),
        )
        return _Views(order_vN=order_MN, folds_v=columns.folds_M, rows_M=None)

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

"""Augmentation: how the examples of a training minibatch are changed, by each row's own amounts.

Made by ``Feed`` once an epoch. Random numbers are drawn once for all rows and scaled by a row's
amount, so a row's examples do not depend on the others, and comparisons between rows are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.keys import key
from workers.training.columns import Columns
from workers.training.feed.batch import Batch
from workers.training.feed.geometry import outside_squares, warp
from workers.training.keyed import normals, uniforms

PURPOSES = ("geometry", "flip", "cutout", "input_noise", "corruption", "partner", "hard")
GEOMETRY = ("scaling", "rotation", "translation")


class Draws:
    """Random numbers that all rows of a group share, keyed by what they are for, epoch and step."""

    def __init__(self, order_seed: int, device: torch.device) -> None:
        self.order_seed = order_seed
        seeds = torch.tensor([[key(order_seed, name)] for name in PURPOSES], device=device)
        self._seeds = dict(zip(PURPOSES, seeds, strict=True))  # on the device once

    def uniforms(self, purpose: str, count: int, *counters: int) -> Tensor:
        """Float64 in (0, 1), [count]."""
        return uniforms(self._seeds[purpose], count, *counters)[0]

    def normals(self, purpose: str, count: int, *counters: int) -> Tensor:
        """Standard normal float64, [count]."""
        return normals(self._seeds[purpose], count, *counters)[0]


class Augmentation:
    """One epoch's changes. What no row asks for is decided here and costs no step anything.

    In order: scaling, rotation, translation and flip of the raw images; (preprocessing;) cutout,
    input noise, corruption, mixup. A row whose amount is 0 keeps its numbers to the last bit.
    """

    def __init__(
        self,
        columns: Columns,
        draws: Draws,
        *,
        epoch: int,
        num_steps: int,
        image: tuple[int, int, int] | None,
        dtype: torch.dtype,
    ) -> None:
        self._columns, self._draws, self._epoch = columns, draws, epoch
        self._image, self._dtype = image, dtype
        warped = any(columns.active(name) is not None for name in GEOMETRY)
        on_images = ((warped, self._warp), (self._is_on("flip"), self._flip))
        on_inputs = (
            (self._is_on("cutout"), self._cut_out),
            (self._is_on("input_noise"), self._add_noise),
            (self._is_on("corruption"), self._corrupt),
        )
        self._on_images = [change for is_on, change in on_images if is_on]
        self._on_inputs = [change for is_on, change in on_inputs if is_on]
        self._share_SM = self._shares(num_steps) if self._is_on("mixup") else None

    @property
    def is_off(self) -> bool:
        """Whether no row asks for any change."""
        return not self._on_images and not self._on_inputs and self._share_SM is None

    @property
    def changes_images(self) -> bool:
        """Whether images are changed before the preprocessing."""
        return bool(self._on_images)

    def images(self, x_mBF: Tensor, step: int) -> Tensor:
        """Raw images, flattened, after geometry and flip: [M, B, F]."""
        x_mBCHW = torch.unflatten(x_mBF, 2, self._shape())
        for change in self._on_images:
            x_mBCHW = change(x_mBCHW, step)
        return x_mBCHW.flatten(2)

    def inputs(self, x_mBF: Tensor, step: int) -> Tensor:
        """Preprocessed inputs after cutout, noise and corruption: [M, B, F] if any is on."""
        for change in self._on_inputs:
            x_mBF = change(x_mBF, step)
        return x_mBF

    def mixed(self, batch: Batch, step: int) -> Batch:
        """Mixup (Zhang et al. 2018): x <- share x + (1 - share) x of a partner in the minibatch.

        A row has one share a minibatch, from Beta(alpha, alpha); alpha 0 has share 1.
        """
        if self._share_SM is None:
            return batch
        share_M = self._share_SM[step]
        drawn_B = self._draws.uniforms("partner", len(batch), self._epoch, step)
        partner_B = drawn_B.argsort(stable=True)
        share_M11 = share_M[:, None, None]
        mixed_MBF = share_M11 * batch.x_mBF + (1 - share_M11) * batch.x_mBF[:, partner_B]
        return replace(batch, x_mBF=mixed_MBF, partner_mB=batch.y_mB[:, partner_B], share_M=share_M)

    def _warp(self, x_mBCHW: Tensor, step: int) -> Tensor:
        """Factor 1 ± scaling, angle ± rotation (degrees), shifts ± translation: all uniform."""
        scaling_M, rotation_M, translation_M = (self._amount(name) for name in GEOMETRY)
        x_MBCHW = x_mBCHW.expand(len(self._columns), -1, -1, -1, -1)
        around_4B = 2 * self._uniforms("geometry", 4 * x_MBCHW.shape[1], step).view(4, -1) - 1
        scale_MB = 1 + scaling_M[:, None] * around_4B[0]
        angle_MB = rotation_M[:, None] * around_4B[1] * (math.pi / 180)
        shift_MB2 = translation_M[:, None, None] * around_4B[2:].T
        warped_NCHW = warp(
            x_MBCHW.flatten(0, 1), scale_MB.flatten(), angle_MB.flatten(), shift_MB2.flatten(0, 1)
        )
        is_on_M = (scaling_M > 0) | (rotation_M > 0) | (translation_M > 0)
        return torch.where(_against(is_on_M, 5), warped_NCHW.view_as(x_MBCHW), x_MBCHW)

    def _flip(self, x_mBCHW: Tensor, step: int) -> Tensor:
        """Left to right with the row's chance."""
        drawn_B = self._draws.uniforms("flip", x_mBCHW.shape[1], self._epoch, step)
        is_flipped_MB = drawn_B < self._columns.number("flip", dtype=torch.float64)[:, None]
        return torch.where(is_flipped_MB[..., None, None, None], x_mBCHW.flip(-1), x_mBCHW)

    def _cut_out(self, x_mBF: Tensor, step: int) -> Tensor:
        """Inputs of a square set to 0, the mean where inputs are centred (DeVries and Taylor 2017).

        Its side is a share of the image's shorter one, in whole pixels; its centre lies anywhere in
        the image, as in the paper, so part of it may lie outside.
        """
        channels, height, width = self._shape()
        drawn_2B = self._draws.uniforms("cutout", 2 * x_mBF.shape[1], self._epoch, step).view(2, -1)
        side_M = (self._columns.number("cutout", dtype=torch.float64) * min(height, width)).round()
        kept_MBHW = outside_squares(height, width, side_M.long(), drawn_2B.T)
        kept_MBF = kept_MBHW.flatten(2).repeat(1, 1, channels)
        return torch.where(kept_MBF, x_mBF, 0)

    def _add_noise(self, x_mBF: Tensor, step: int) -> Tensor:
        """Plus Gaussian noise with the row's standard deviation."""
        num_examples, num_features = x_mBF.shape[1:]
        count = num_examples * num_features
        drawn = self._draws.normals("input_noise", count, self._epoch, step).to(self._dtype)
        return x_mBF + _against(self._amount("input_noise"), 3) * drawn.view(num_examples, -1)

    def _corrupt(self, x_mBF: Tensor, step: int) -> Tensor:
        """Masking noise: the row's share of inputs set to 0, the others as they are (no rescaling,
        unlike dropout; Vincent et al. 2008).
        """
        num_examples, num_features = x_mBF.shape[1:]
        count = num_examples * num_features
        drawn_BF = self._draws.uniforms("corruption", count, self._epoch, step).view(
            num_examples, num_features
        )
        share_M = self._columns.number("corruption", dtype=torch.float64)
        return torch.where(drawn_BF < _against(share_M, 3), 0, x_mBF)

    def _shares(self, num_steps: int) -> Tensor:
        """Each minibatch's share by row, [S, M], on the device once an epoch."""
        alphas = [config.mixup for config in self._columns.configs]
        shares = mixup_shares(alphas, self._draws.order_seed, self._epoch, num_steps)
        return torch.from_numpy(shares).to(device=self._columns.device, dtype=self._dtype)

    def _is_on(self, name: str) -> bool:
        return self._columns.active(name) is not None

    def _amount(self, name: str) -> Tensor:
        return self._columns.number(name, dtype=self._dtype)

    def _uniforms(self, purpose: str, count: int, step: int) -> Tensor:
        return self._draws.uniforms(purpose, count, self._epoch, step).to(self._dtype)

    def _shape(self) -> tuple[int, int, int]:
        if self._image is None:
            raise ValueError("augmentation of images must have images, but examples are lists")
        return self._image


def mixup_shares(
    alphas: Sequence[float], order_seed: int, epoch: int, num_steps: int
) -> npt.NDArray[np.float64]:
    """Draws from Beta(alpha, alpha), [S, M]: a column is a function of its alpha and the key."""
    shares = np.ones((num_steps, len(alphas)))
    for row, alpha in enumerate(alphas):
        if alpha > 0:
            keyed = np.random.Generator(np.random.Philox(key=key(order_seed, "mixup", epoch)))
            shares[:, row] = keyed.beta(alpha, alpha, size=num_steps)
    return shares


def _against(vector_M: Tensor, num_axes: int) -> Tensor:
    """[M] as [M, 1, …] with so many axes."""
    return vector_M.view(-1, *[1] * (num_axes - 1))

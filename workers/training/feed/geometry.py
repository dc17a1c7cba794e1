"""Geometry of images: scaling, rotation and translation in one resampling, and squares cut out.

Pure functions of given numbers, called by ``augmentation``, which draws them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def warp(images_NCHW: Tensor, scale_N: Tensor, angle_N: Tensor, shift_N2: Tensor) -> Tensor:
    """Each image scaled, turned by ``angle_N`` (radians, counter-clockwise), then shifted.

    Scaling and rotation are about the image's centre, ``shift_N2`` (to the right, down) is a share
    of its width and height. Bilinear, and 0 beyond the edges, as ``torch.nn.functional``'s
    ``affine_grid`` and ``grid_sample``.
    """
    height, width = images_NCHW.shape[2:]
    grid_NHW2 = sampling_grid(height, width, scale_N, angle_N, shift_N2)
    return grid_sample(images_NCHW, grid_NHW2, padding_mode="zeros", align_corners=False)


def sampling_grid(
    height: int, width: int, scale_N: Tensor, angle_N: Tensor, shift_N2: Tensor
) -> Tensor:
    """Where each pixel of a warped image comes from, [N, H, W, 2] as ``grid_sample`` wants it.

    There a side reaches from -1 to 1, so turning has to go by way of pixels. Element by element
    rather than by ``affine_grid``'s matrix product: what one image gets is the same in any company,
    and is not rounded where matrix products are (TF32).
    """
    x_N1W = (_centres(width, scale_N) - 2 * shift_N2[:, :1])[:, None, :] * width
    y_NH1 = (_centres(height, scale_N) - 2 * shift_N2[:, 1:])[:, :, None] * height
    cos_N11 = (angle_N.cos() / scale_N)[:, None, None]
    sin_N11 = (angle_N.sin() / scale_N)[:, None, None]
    from_x_NHW = (x_N1W * cos_N11 - y_NH1 * sin_N11) / width
    from_y_NHW = (x_N1W * sin_N11 + y_NH1 * cos_N11) / height
    return torch.stack([from_x_NHW, from_y_NHW], dim=3)


def outside_squares(height: int, width: int, side_M: Tensor, centre_B2: Tensor) -> Tensor:
    """Boolean [M, B, H, W]: False in a square of ``side_M`` pixels around ``centre_B2``.

    Centres are (row, column) in (0, 1) of the image; part of a square may lie outside.
    """
    rows_MBH = _within(height, side_M, centre_B2[:, 0])
    columns_MBW = _within(width, side_M, centre_B2[:, 1])
    return ~(rows_MBH[..., :, None] & columns_MBW[..., None, :])


def _centres(count: int, like: Tensor) -> Tensor:
    """The centres of ``count`` pixels between -1 and 1."""
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


def _within(count: int, side_M: Tensor, centre_B: Tensor) -> Tensor:
    """Boolean [M, B, count]: which of ``count`` pixels lie in each row's stretch of side_M."""
    middle_B = (centre_B * count).long()
    first_MB = middle_B - (side_M // 2)[:, None]
    place_MBx = torch.arange(count, device=side_M.device) - first_MB[..., None]
    return (place_MBx >= 0) & (place_MBx < side_M[:, None, None])

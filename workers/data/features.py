"""Features as they are kept: checked, in uint8 or float32, the channels of images in front.

Called by the readers whose examples come as arrays of any kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workers.data.config import DataError
from workers.data.examples import Array

CHANNELS = (1, 3, 4)  # grey, red green blue, and alpha


def features(x: Array, path: Path | str) -> Array:
    """``x`` [N, features...] as uint8 if it is that, else float32. Raises DataError.

    ``path`` says whose they are.
    """
    if x.ndim < 2 or 0 in x.shape[1:] or x.dtype.kind not in "buif":
        raise DataError(
            "x must be real numbers of shape [N, features...], but in "
            f"{path} it is {x.dtype} of shape {list(x.shape)}; save a matrix of numbers",
            "path",
        )
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):  # an overflow is refused as infinite
        x = x.astype(np.float32, copy=False)
    wrong = int((~np.isfinite(x)).sum())
    if wrong:
        raise DataError(
            f"features must be finite in float32, but {path} has {wrong} values that are not; "
            "correct or drop those rows",
            "path",
        )
    return x


def channels_first(x: Array) -> Array:
    """``x`` [N, H, W, C] of 1, 3 or 4 channels as [N, C, H, W]; every other array as it is.

    Where the axis after N could be channels as well, it is: the array is channels first already.
    """
    if x.ndim != 4 or x.shape[3] not in CHANNELS or x.shape[1] in CHANNELS:
        return x
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))

"""Statistics of the training part: what zero-centring subtracts and standardizing multiplies by.

Called by ``workers.data.loading`` once a search, with training rows only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from workers.data.examples import Array, Float32Array

CHUNK_BYTES = 64 * 2**20  # of float64: CIFAR-10 at once would take 1.2 GB


def shift_and_scale(
    x: Array, unit: float, preprocess: tuple[str, ...]
) -> tuple[Float32Array | None, Float32Array | None]:
    """``shift`` and ``scale`` [features] of training rows ``x`` [N, *feature_shape].

    zero_center: the mean of each feature of ``x * unit``. standardize: that, and the inverse of
    the standard deviation (over N, not N - 1); a feature that is constant gets scale 1.
    """
    if not preprocess:
        return None, None
    rows = x.reshape(len(x), -1)
    mean = rows.mean(axis=0, dtype=np.float64)
    shift = (mean * unit).astype(np.float32)
    if "standardize" not in preprocess:
        return shift, None
    deviation = np.sqrt(_variance(rows, mean)) * unit
    # A constant's sum and mean are exact in float64, so its deviation is 0; below the least normal
    # number of float32 the inverse would overflow.
    constant = deviation < np.finfo(np.float32).tiny
    return shift, (1.0 / np.where(constant, 1.0, deviation)).astype(np.float32)


def _variance(rows: Array, mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The second pass of the two-pass formula, which does not cancel, in float64."""
    total = np.zeros_like(mean)
    for chunk in _chunks(rows):
        centred = chunk - mean
        total += np.einsum("nf,nf->f", centred, centred)
    return total / len(rows)


def _chunks(rows: Array) -> Iterator[Array]:
    step = max(1, CHUNK_BYTES // (8 * max(1, rows.shape[1])))
    return (rows[start : start + step] for start in range(0, len(rows), step))

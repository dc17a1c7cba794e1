"""Statistics of training rows: what turns features into inputs, and the targets of a regression.

Called by ``workers.data.loading``, once a fold, with the rows that the fold trains on. All sums are
in float64, over chunks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workers.data.config import FOR_IMAGES, ROTATIONS, DataError, needs_images
from workers.data.dataset import Float64Array, Transform, image_shape
from workers.data.examples import Array, Float32Array
from workers.data.streamed import Streamed, pieces

CHUNK_BYTES = 64 * 2**20  # of float64: CIFAR-10 at once would take 1.2 GB
LEAST_SHARE = 1e-5  # of the largest variance, added to each one before whitening divides by it
MOST_ROTATED = 8192  # features: their projection takes 256 MiB
TINY = np.finfo(np.float32).tiny  # below the least normal number an inverse would overflow


def fit(x: Array | Streamed, unit: float, preprocess: tuple[str, ...]) -> Transform:
    """The Transform of training rows ``x`` [N, *feature_shape].

    zero_center, mean_image: ``shift`` is the mean of each feature of ``x * unit``. channel_mean:
    the mean of its channel. standardize: zero_center, and ``scale`` is the inverse of the standard
    deviation (over N, not N - 1); a feature that is constant gets scale 1. pca: zero_center, and
    ``projection`` has the eigenvectors of the covariance of what comes before it (over N) as its
    columns, by falling variance. whiten: those, each divided by the square root of its variance
    plus 1e-5 of the largest one, which keeps noise from being blown up. Raises DataError.
    """
    _check_shape(x, preprocess)
    if not preprocess:
        return Transform()
    mean, deviation = _moments(x, with_deviation="standardize" in preprocess)
    if "channel_mean" in preprocess:
        return Transform(shift=_float32(_channel_means(mean, x.shape[1:]) * unit))
    scale = None if deviation is None else _inverse(deviation * unit)
    projection = None
    if set(ROTATIONS) & set(preprocess):
        covariance = _covariance(x, mean, unit if scale is None else unit * scale)
        projection = _float32(_projection(covariance, whiten="whiten" in preprocess))
    return Transform(
        shift=_float32(mean * unit),
        scale=None if scale is None else _float32(scale),
        projection=projection,
    )


def fit_target(y: Array, *, is_regression: bool) -> tuple[float, float]:
    """The mean and the standard deviation (over N) of training targets ``y`` [N]; 0, 1 for classes.

    Raises DataError where the targets of a regression are all the same.
    """
    if not is_regression:
        return 0.0, 1.0
    mean, scale = float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64))
    if scale < TINY:
        raise DataError(
            f"a regression needs targets that differ, but all {len(y)} training rows have "
            f"{y[0]:g}; name another target or use more rows",
            "task",
        )
    return mean, scale


def _check_shape(x: Array | Streamed, preprocess: tuple[str, ...]) -> None:
    for name in preprocess:
        if name in FOR_IMAGES and image_shape(x.shape[1:]) is None:
            raise needs_images(name, f"examples have the shape {list(x.shape[1:])}")
        num_features = int(np.prod(x.shape[1:]))
        if name in ROTATIONS and num_features > MOST_ROTATED:
            raise DataError(
                f"preprocess {name!r} takes at most {MOST_ROTATED} features, whose projection is a "
                f"square matrix, but the examples have {num_features}; use standardize",
                "preprocess",
            )


def _channel_means(mean: Float64Array, feature_shape: tuple[int, ...]) -> Float64Array:
    """[F] -> [F]: the mean of each channel at each of its pixels."""
    channels, height, width = image_shape(feature_shape) or (1, 1, len(mean))
    return np.repeat(mean.reshape(channels, height * width).mean(axis=1), height * width)


def _moments(
    x: Array | Streamed, *, with_deviation: bool
) -> tuple[Float64Array, Float64Array | None]:
    """The mean [F], and the standard deviation [F] if it is asked for, in one pass.

    By chunks, each with the two-pass formula, which does not cancel; they are joined as Chan, Golub
    and LeVeque do (1983, Algorithms for computing the sample variance).
    """
    count, num_features = 0, int(np.prod(x.shape[1:]))
    mean, squares = np.zeros(num_features), np.zeros(num_features)
    for chunk in _chunks(x):
        own_mean = chunk.mean(axis=0, dtype=np.float64)
        before, count = count, count + len(chunk)
        apart = own_mean - mean
        mean = mean + apart * (len(chunk) / count) if before else own_mean
        if with_deviation:
            centred = chunk - own_mean
            squares += np.einsum("nf,nf->f", centred, centred)
            squares += apart * apart * (before * (len(chunk) / count))
    deviation: Float64Array = np.sqrt(squares / count)
    return mean, deviation if with_deviation else None


def _covariance(
    x: Array | Streamed, mean: Float64Array, scale: float | Float64Array
) -> Float64Array:
    """[F, F] of ``(rows - mean) * scale``, in two passes too."""
    total = np.zeros((len(mean), len(mean)))
    for chunk in _chunks(x):
        centred = (chunk - mean) * scale
        total += centred.T @ centred
    return total / len(x)


def _projection(covariance: Float64Array, *, whiten: bool) -> Float64Array:
    """[F, F]: a component a column. A component's largest entry is positive, to fix its sign."""
    variances, components = np.linalg.eigh(covariance)
    variances, components = np.maximum(variances[::-1], 0.0), components[:, ::-1]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    components = components * np.where(largest < 0, -1.0, 1.0)
    if whiten:
        components = components * _inverse(np.sqrt(variances + LEAST_SHARE * variances[0]))
    return components


def _inverse(deviation: Float64Array) -> Float64Array:
    """1 / deviation, and 1 where there is none.

    A constant's sum and mean are exact in float64, so that its deviation is 0.
    """
    return 1.0 / np.where(deviation < TINY, 1.0, deviation)


def _float32(array: Float64Array) -> Float32Array:
    return array.astype(np.float32)


def _chunks(x: Array | Streamed) -> Iterator[Array]:
    """Rows [n, F], n alike for examples in memory and streamed ones."""
    step = max(1, CHUNK_BYTES // (8 * max(1, int(np.prod(x.shape[1:])))))
    return (chunk.reshape(len(chunk), -1) for chunk in pieces(x, step))

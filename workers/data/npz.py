"""NumPy archives: arrays x (or X) and y, and a split of their own if they bring one.

Read by ``workers.data.loading``. Pickled (object) arrays are never loaded.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Array, Examples, check_labels_match, existing_file
from workers.data.features import channels_first, features
from workers.data.labels import encode_targets
from workers.data.streamed import Streamed

WANTED = ("x", "X", "y", "x_validation", "y_validation")
TEST = ("x_test", "y_test")  # read by the report of a complete search alone
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,  # a lone .npy array is no archive
    RuntimeError,  # a damaged header asks for an unknown compression, or a password
    MemoryError,  # or for a shape beyond all memory
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(config: DataConfig) -> Examples:
    """x [N, *feature_shape], uint8 (pixels, unit 1/255) or any real type as float32.

    Arrays x_validation and y_validation, given together, are the validation part. Raises DataError.
    """
    path = existing_file(Path(config.path or "").expanduser(), "an .npz file with arrays x and y")
    return examples_of(read_arrays(path, WANTED), config, path)


def examples_of(
    arrays: Mapping[str, Array | Streamed], config: DataConfig, path: Path | str
) -> Examples:
    """Those of arrays by the names that :func:`read_npz` knows; ``path`` says whose they are.

    Inputs, not targets, may be streamed.
    """
    x, y = _part(arrays, ("x", "X"), "y", path)
    unit = 1 / 255 if x.dtype == np.uint8 else 1.0
    if "x_validation" not in arrays and "y_validation" not in arrays:
        targets, class_names = encode_targets(y, config, f"y of {path}", "path")
        return Examples(x=x, y=targets, class_names=class_names, unit=unit)
    x_validation, y_validation = _part(arrays, ("x_validation",), "y_validation", path)
    _check_alike(x, x_validation, path)
    both = np.concatenate([y, y_validation])
    targets, class_names = encode_targets(both, config, f"y of {path}", "path")
    _check_known(targets[: len(y)], class_names, path)
    return Examples(
        x=x,
        y=targets[: len(y)],
        class_names=class_names,
        unit=unit,
        x_validation=x_validation,
        y_validation=targets[len(y) :],
    )


def test_examples(arrays: Mapping[str, Array], path: Path | str) -> tuple[Array, Array]:
    """Examples, channels first, and labels of the test part among ``arrays``. Raises DataError."""
    x, y = _part(arrays, ("x_test",), "y_test", path)
    assert not isinstance(x, Streamed), "arrays are held in memory"
    return x, y


def read_arrays(path: Path | str, names: Collection[str] = TEST) -> dict[str, Array]:
    """Those of an .npz file that are among ``names``. Raises DataError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}
    except UNREADABLE as error:
        raise DataError(
            f"path must be a whole .npz file of plain arrays, but {path} cannot be read as one "
            f"({error}); write it again with numpy.savez",
            "path",
        ) from error


def _either(
    arrays: Mapping[str, Array | Streamed], names: tuple[str, ...], path: Path | str
) -> Array | Streamed:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(
        f"{path} needs an array {' or '.join(names)}, but its arrays with a known name are "
        f"{', '.join(arrays) or 'none'}; save it under that name",
        "path",
    )


def _part(
    arrays: Mapping[str, Array | Streamed], x_names: tuple[str, ...], y_name: str, path: Path | str
) -> tuple[Array | Streamed, Array]:
    """Examples, channels first, and their labels as they are stored."""
    x, y = _either(arrays, x_names, path), _either(arrays, (y_name,), path)
    assert not isinstance(y, Streamed), "targets are held in memory"
    if not isinstance(x, Streamed):
        x = channels_first(features(x, path))
    _check_labels(x, y, path)
    return x, y


def _check_labels(x: Array | Streamed, y: Array, path: Path | str) -> None:
    if y.ndim != 1:
        raise DataError(
            f"y must hold one label a row, shape [N], but in {path} it has shape "
            f"{list(y.shape)}; save class labels or numbers, not one-hot rows",
            "path",
        )
    check_labels_match(len(x), len(y), str(path))


def _check_alike(x: Array | Streamed, x_validation: Array | Streamed, path: Path | str) -> None:
    if x.shape[1:] != x_validation.shape[1:] or x.dtype != x_validation.dtype:
        raise DataError(
            f"x and x_validation must agree but for their length, but in {path} they are "
            f"{x.dtype} {list(x.shape)} and {x_validation.dtype} {list(x_validation.shape)}; "
            "save them alike",
            "path",
        )


def _check_known(train_codes: Array, class_names: tuple[str, ...], path: Path | str) -> None:
    unseen = sorted(set(range(len(class_names))) - set(train_codes.tolist()))
    if unseen:
        raise DataError(
            f"every class of y_validation must be in y, but in {path} {class_names[unseen[0]]!r} "
            "is not; correct the split, or leave y_validation out",
            "path",
        )

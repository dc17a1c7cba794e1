"""``Examples``: what a source yields before the split, and the checks every source shares.

Built by the readers of this room, parted by ``workers.data.loading``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.data.config import DataError

Array = npt.NDArray[Any]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
MOST_FLOAT_CLASSES = 50


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """All rows of a source: ``x`` [N, *feature_shape] uint8 or float32, ``y`` [N] class codes.

    ``x_validation`` and ``y_validation`` are there only when the source brings its own split.
    """

    x: Array
    y: Int64Array
    class_names: tuple[str, ...]
    unit: float = 1.0
    x_validation: Array | None = None
    y_validation: Int64Array | None = None


def encode_labels(labels: Array, what: str, key: str) -> tuple[Int64Array, tuple[str, ...]]:
    """Codes 0..C-1 of ``labels`` [N] in their sorted order, and the C names.

    ``what`` names the labels in an error, ``key`` the field at fault. Raises DataError for missing
    or unsortable labels, and for what looks like a regression target.
    """
    is_float = labels.dtype.kind == "f"
    missing = int(np.isnan(labels).sum()) if is_float else 0
    if missing:
        raise DataError(
            f"every row needs a label, but {what} has {missing} missing; drop those rows", key
        )
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"labels must be of one type that can be sorted, but {what} cannot ({error}); "
            "write them as integers or strings",
            key,
        ) from error
    if is_float and len(classes) > MOST_FLOAT_CLASSES:
        raise DataError(
            f"labels must be classes, but {what} holds {len(classes)} distinct real numbers; "
            "regression is not supported yet, so bin it into classes",
            key,
        )
    return codes.astype(np.int64), tuple(str(name) for name in classes.tolist())


def check_labels_match(num_examples: int, num_labels: int, where: str) -> None:
    """Raises DataError unless there is one label for each example."""
    if num_examples != num_labels:
        raise DataError(
            f"each example needs one label, but {where} has {num_examples} examples and "
            f"{num_labels} labels; get the files that belong together",
            "path",
        )


def existing_file(path: Path, what: str) -> Path:
    """``path`` itself if it is a file; else raises DataError saying that it should be ``what``."""
    if path.is_file():
        return path
    found = "is a folder" if path.is_dir() else "does not exist"
    raise DataError(f"path must be {what}, but {path} {found}; correct data.path", "path")

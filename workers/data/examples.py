"""``Examples``: what a source yields before the split, and the checks every source shares.

Built by the readers of this room, parted by ``workers.data.loading``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workers.data.config import DataError

if TYPE_CHECKING:
    from workers.data.streamed import Streamed

Array = npt.NDArray[Any]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """All rows of a source: ``x`` [N, *feature_shape] in uint8 or float32, and ``y`` [N].

    Images are [N, H, W] or, channels first, [N, C, H, W]. ``y`` are int64 codes of ``class_names``,
    or float32 numbers where there are none. ``x_validation`` and ``y_validation`` are there only
    when the source brings its own split. Inputs of a user's own dataset may be streamed: read when
    they are asked for.
    """

    x: Array | Streamed
    y: Array
    class_names: tuple[str, ...]
    unit: float = 1.0
    x_validation: Array | Streamed | None = None
    y_validation: Array | None = None


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

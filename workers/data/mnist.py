"""MNIST, and any data set in its layout, from the official IDX files, gzipped or not.

Read by ``workers.data.loading``, which opens the training files only: the test part (t10k) is not
for decisions, and read by ``test_part`` alone. The format is described on the MNIST database's page
(LeCun, Cortes, Burges).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.data.config import DataConfig, DataError
from workers.data.examples import Array, Examples, check_labels_match

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
NUM_CLASSES = 10


def read_mnist(config: DataConfig) -> Examples:
    """x [N, rows, columns] uint8 from the folder ``config.path``. Raises DataError."""
    folder = Path(config.path or "").expanduser()
    x = _read_idx(_find(folder, IMAGES), ndim=3)
    y = _read_idx(_find(folder, LABELS), ndim=1)
    check_labels_match(len(x), len(y), str(folder))
    if y.size and y.max() >= NUM_CLASSES:
        raise DataError(
            f"labels must be 0 to {NUM_CLASSES - 1}, but {folder / LABELS} holds {y.max()}; "
            "use the official files of MNIST",
            "path",
        )
    names = tuple(str(digit) for digit in range(NUM_CLASSES))
    return Examples(x=x, y=y.astype(np.int64), class_names=names, unit=1 / 255)


def read_test_images(folder: Path) -> tuple[Array, Array] | None:
    """Images [N, rows, columns] and labels [N] of the test files; None where they are not there.

    Raises DataError for files that are damaged.
    """
    if not all(_has(folder, name) for name in (TEST_IMAGES, TEST_LABELS)):
        return None
    x = _read_idx(_find(folder, TEST_IMAGES), ndim=3)
    y = _read_idx(_find(folder, TEST_LABELS), ndim=1)
    check_labels_match(len(x), len(y), str(folder))
    return x, y


def _has(folder: Path, name: str) -> bool:
    return any((folder / f"{name}{ending}").is_file() for ending in ("", ".gz"))


def _find(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise DataError(
        f"path must be the folder with MNIST's official files, but neither {name} nor {name}.gz "
        f"is in {folder}; put {IMAGES} and {LABELS} of the MNIST database (LeCun, Cortes, Burges) "
        "there, gzipped or not",
        "path",
    )


def _read_idx(file: Path, ndim: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file: 4 bytes of magic, a size a dimension, bytes."""
    content = _read_bytes(file)
    magic = bytes((0, 0, 8, ndim))  # 8 stands for unsigned bytes
    header_bytes = 4 + 4 * ndim
    if content[:4] != magic:
        raise DataError(
            f"an IDX file of {ndim} dimensions begins with {magic.hex()}, but {file} begins with "
            f"{content[:4].hex() or 'nothing'}; get the official file again",
            "path",
        )
    # A header that is cut short is padded: it then asks for more bytes than there are.
    shape = struct.unpack(f">{ndim}I", content[4:header_bytes].ljust(4 * ndim, b"\0"))
    expected_bytes = header_bytes + math.prod(shape)
    if len(content) != expected_bytes:
        raise DataError(
            f"an IDX file is as long as its header says, but {file} has {len(content)} bytes "
            f"instead of {expected_bytes}; it is truncated or damaged, get it again",
            "path",
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(shape)


def _read_bytes(file: Path) -> bytes:
    if file.suffix != ".gz":
        return file.read_bytes()
    try:
        with gzip.open(file) as stream:
            return stream.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"a .gz file must be whole, but {file} is not ({error}); get it again", "path"
        ) from error

"""CIFAR-10 from the official Python batches: the tar.gz as it is, or its extracted folder.

Read by ``workers.data.loading``. The archive is streamed, nothing is extracted to disk, and only
data_batch_1 to data_batch_5 are unpickled: the test batch is not for decisions, and is read by
``test_part`` alone.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Array, Examples, Int64Array, check_labels_match
from workers.data.pickles import unpickle_arrays

BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
IMAGE_SHAPE = (3, 32, 32)
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
BUFFER_BYTES = 2**20


def read_cifar10(config: DataConfig) -> Examples:
    """x [N, 3, 32, 32] uint8, batches in the order of their numbers. Raises DataError."""
    path = Path(config.path or "").expanduser()
    batches = _batches(path, BATCHES)
    missing = [name for name in BATCHES if name not in batches]
    if missing:
        raise DataError(
            f"path must be CIFAR-10's {ARCHIVE} or its folder {FOLDER}, but {path} lacks "
            f"{', '.join(missing)}; get the official Python version again",
            "path",
        )
    return Examples(
        x=np.concatenate([batches[name][0] for name in BATCHES]),
        y=np.concatenate([batches[name][1] for name in BATCHES]),
        class_names=CLASS_NAMES,
        unit=1 / 255,
    )


def read_test_batch(path: Path) -> tuple[Array, Array] | None:
    """Images [N, 3, 32, 32] and the names of their classes [N]; None where there is no test batch.

    Raises DataError for files that are damaged.
    """
    found = _batches(path, (TEST_BATCH,)).get(TEST_BATCH)
    return None if found is None else (found[0], np.array(CLASS_NAMES)[found[1]])


def _batches(path: Path, names: Collection[str]) -> dict[str, tuple[Array, Int64Array]]:
    return dict(_from_folder(path, names) if path.is_dir() else _from_archive(path, names))


def _from_folder(
    path: Path, names: Collection[str]
) -> Iterator[tuple[str, tuple[Array, Int64Array]]]:
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    for name in names:
        if (folder / name).is_file():
            yield name, _read_batch((folder / name).read_bytes(), str(folder / name))


def _from_archive(
    path: Path, names: Collection[str]
) -> Iterator[tuple[str, tuple[Array, Int64Array]]]:
    if not path.exists():
        raise DataError(
            f"path must be CIFAR-10's {ARCHIVE} or its folder {FOLDER}, but {path} does not "
            f"exist; get the Python version from the CIFAR-10 page (Krizhevsky, Nair, Hinton)",
            "path",
        )
    try:
        with (
            gzip.open(path) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER_BYTES) as archive,
        ):
            for name, content in _batch_files(archive, names):
                yield name, _read_batch(content, f"{path}: {name}")
            while stream.read(BUFFER_BYTES):  # to the end, where gzip checks its sum
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"path must be a whole tar.gz archive, but {path} is not ({error}); "
            f"it is truncated or damaged, get {ARCHIVE} again",
            "path",
        ) from error


def _batch_files(archive: tarfile.TarFile, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    for entry in archive:
        name = PurePosixPath(entry.name).name
        file = archive.extractfile(entry) if name in names else None
        if file is not None:
            yield name, file.read()


def _read_batch(content: bytes, name: str) -> tuple[Array, Int64Array]:
    """Images [n, 3, 32, 32] and labels [n] of one pickled batch."""
    batch = unpickle_arrays(content, name)
    data, labels = _entry(batch, "data"), _entry(batch, "labels")
    columns = int(np.prod(IMAGE_SHAPE))
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2):
        raise _not_a_batch(name, "its data are no matrix of bytes")
    if data.shape[1] != columns:
        raise _not_a_batch(name, f"its rows have {data.shape[1]} bytes, not {columns}")
    if not isinstance(labels, list) or not all(map(_is_label, labels)):
        raise _not_a_batch(name, "its labels are no list of numbers 0 to 9")
    check_labels_match(len(data), len(labels), name)
    return data.reshape(-1, *IMAGE_SHAPE), np.array(labels, dtype=np.int64)


def _is_label(value: Any) -> bool:
    return isinstance(value, int | np.integer) and 0 <= int(value) < 10


def _entry(batch: Any, key: str) -> Any:
    """``batch[key]``, whether Python 2 or 3 wrote the key; None where it is missing."""
    if not isinstance(batch, dict):
        return None
    return batch.get(key.encode(), batch.get(key))


def _not_a_batch(name: str, why: str) -> DataError:
    return DataError(
        f"{name} must be a batch of CIFAR-10 in its Python layout, but {why}; get {ARCHIVE} again",
        "path",
    )

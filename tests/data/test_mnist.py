from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workers.data import DataConfig, DataError, load
from workers.data.mnist import read_mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
Refusal = Callable[..., DataError]


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).integers(0, 256, (40, 5, 4), dtype=np.uint8)
    return x, np.arange(40, dtype=np.uint8) % 10


@pytest.fixture
def folder(tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray]) -> Path:
    (tmp_path / IMAGES).write_bytes(idx(arrays[0]))
    (tmp_path / f"{LABELS}.gz").write_bytes(gzip.compress(idx(arrays[1])))
    return tmp_path


def test_files_are_read_gzipped_or_not(folder: Path, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    examples = read_mnist(DataConfig(source="mnist", path=str(folder)))
    np.testing.assert_array_equal(examples.x, arrays[0])
    np.testing.assert_array_equal(examples.y, arrays[1])
    assert examples.x.dtype == np.uint8
    assert examples.unit == 1 / 255


def test_the_test_part_is_never_opened(folder: Path) -> None:
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).mkdir()  # opening a folder would raise
    assert len(load(DataConfig(source="mnist", path=str(folder), validation=10), 0).x_train) == 30


def test_a_missing_file_names_what_was_looked_for(folder: Path, refusal: Refusal) -> None:
    (folder / IMAGES).unlink()
    error = refusal(source="mnist", path=str(folder))
    assert error.key == "path"
    assert f"{IMAGES} nor {IMAGES}.gz" in str(error)
    assert "MNIST database" in str(error)


def test_a_missing_folder_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert refusal(source="mnist", path=str(tmp_path / "nowhere")).key == "path"


@pytest.mark.parametrize("kept", [0, 3, 5, 9, 15, 16, 500])
def test_a_truncated_file_is_refused_with_its_name(
    folder: Path, refusal: Refusal, kept: int
) -> None:
    content = (folder / IMAGES).read_bytes()
    (folder / IMAGES).write_bytes(content[:kept])
    error = refusal(source="mnist", path=str(folder))
    assert error.key == "path"
    assert IMAGES in str(error)


def test_a_file_that_is_too_long_is_refused(folder: Path, refusal: Refusal) -> None:
    with (folder / IMAGES).open("ab") as file:
        file.write(b"\0")
    assert "817 bytes instead of 816" in str(refusal(source="mnist", path=str(folder)))


@pytest.mark.parametrize("kept", [5, 20, -4])
def test_a_truncated_gz_is_refused(folder: Path, refusal: Refusal, kept: int) -> None:
    file = folder / f"{LABELS}.gz"
    file.write_bytes(file.read_bytes()[:kept])
    error = refusal(source="mnist", path=str(folder))
    assert ".gz file must be whole" in str(error)


@pytest.mark.parametrize("content", [b"<html>not found</html>", b""])
def test_a_gz_that_is_none_is_refused(folder: Path, refusal: Refusal, content: bytes) -> None:
    (folder / f"{LABELS}.gz").write_bytes(content)
    assert LABELS in str(refusal(source="mnist", path=str(folder)))


@pytest.mark.parametrize("place", [10, -6])  # the first byte of the stream; its check sum
def test_a_damaged_gz_is_refused(folder: Path, refusal: Refusal, place: int) -> None:
    file = folder / f"{LABELS}.gz"
    content = bytearray(file.read_bytes())
    content[place] ^= 0b110
    file.write_bytes(content)
    assert "must be whole" in str(refusal(source="mnist", path=str(folder)))


def test_the_wrong_magic_is_refused(folder: Path, refusal: Refusal) -> None:
    content = (folder / IMAGES).read_bytes()
    (folder / IMAGES).write_bytes(content.replace(b"\0\0\x08", b"\0\0\x0d", 1))
    error = refusal(source="mnist", path=str(folder))
    assert "begins with 00000803" in str(error)
    assert "begins with 00000d03" in str(error)


def test_labels_that_do_not_match_the_images_are_refused(folder: Path, refusal: Refusal) -> None:
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(idx(np.arange(39) % 10)))
    assert "40 examples and 39 labels" in str(refusal(source="mnist", path=str(folder)))


def test_labels_beyond_9_are_refused(folder: Path, refusal: Refusal) -> None:
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(idx(np.arange(40))))
    assert "holds 39" in str(refusal(source="mnist", path=str(folder)))


def test_no_rows_at_all_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / IMAGES).write_bytes(idx(np.zeros((0, 5, 4))))
    (tmp_path / LABELS).write_bytes(idx(np.zeros(0)))
    assert "got 0 in 0 rows" in str(refusal(source="mnist", path=str(tmp_path)))


def test_the_real_mnist_is_as_its_page_says(real_mnist: Path) -> None:
    examples = read_mnist(DataConfig(source="mnist", path=str(real_mnist)))
    assert examples.x.shape == (60000, 28, 28)
    assert examples.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(examples.y).tolist()[:2] == [5923, 6742]


def test_the_real_mnist_splits_and_standardizes(real_mnist: Path) -> None:
    config = DataConfig(
        source="mnist", path=str(real_mnist), validation=5000, preprocess=("standardize",)
    )
    made = load(config, 0)
    assert (len(made.x_train), len(made.x_validation)) == (55000, 5000)
    assert made.x_train.dtype == np.uint8
    (transform,) = made.transforms
    assert transform.scale is not None
    assert transform.scale[0] == 1  # the corner pixel is black in every image
    # The mean that everyone subtracts, 0.1307, over all pixels.
    assert transform.shift is not None
    assert transform.shift.mean() == pytest.approx(0.1307, abs=5e-4)
    assert made.image == (1, 28, 28)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.data import DataConfig, DataError, load
from workers.data.features import channels_first

Refusal = Callable[..., DataError]
Write = Callable[..., str]


@pytest.fixture
def npz(tmp_path: Path) -> Write:
    def write(**arrays: Any) -> str:
        np.savez_compressed(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


def some(rows: int = 30) -> dict[str, Any]:
    return {"x": np.arange(rows * 4.0).reshape(rows, 4), "y": np.arange(rows) % 3}


@pytest.mark.parametrize("name", ["x", "X"])
def test_x_may_be_upper_or_lower_case(npz: Write, name: str) -> None:
    made = load(DataConfig(source="npz", path=npz(**{name: some()["x"]}, y=some()["y"])), 0)
    assert made.x_train.dtype == np.float32
    assert (made.unit, made.num_classes) == (1, 3)
    assert (made.x_train[:, 0] / 4 % 3 == made.y_train).all()  # rows and labels stay together


def test_bytes_stay_bytes_and_are_scaled_as_pixels(npz: Write) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 2, 2), dtype=np.uint8)
    made = load(DataConfig(source="npz", path=npz(x=x, y=some()["y"])), 0)
    assert made.x_train.dtype == made.x_validation.dtype == np.uint8
    assert made.feature_shape == (3, 2, 2)
    assert made.unit == 1 / 255


def test_string_labels_are_encoded(npz: Write) -> None:
    made = load(DataConfig(source="npz", path=npz(x=some(4)["x"], y=list("baba"))), 0)
    assert made.class_names == ("a", "b")


def test_a_split_of_its_own_is_kept(npz: Write) -> None:
    path = npz(**some(), x_validation=np.full((2, 4), 7.0), y_validation=[2, 0])
    made = load(DataConfig(source="npz", path=path, validation=0.5), 0)
    np.testing.assert_array_equal(made.x_train, some()["x"])
    assert made.x_validation.tolist() == [[7] * 4] * 2
    assert made.y_validation.tolist() == [2, 0]


def test_limit_cuts_a_given_split_in_proportion(npz: Write) -> None:
    path = npz(**some(90), x_validation=np.zeros((30, 4)), y_validation=np.arange(30) % 3)
    made = load(DataConfig(source="npz", path=path, limit=24), 0)
    assert np.bincount(made.y_train).tolist() == [6, 6, 6]
    assert np.bincount(made.y_validation).tolist() == [2, 2, 2]
    assert (
        made.x_train.tobytes()
        == load(DataConfig(source="npz", path=path, limit=24), 0).x_train.tobytes()
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_the_channels_last_are_read_with_the_channels_first(
    npz: Write, channels: int
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 5, 6, channels), dtype=np.uint8)
    made = load(DataConfig(source="npz", path=npz(x=x, y=some()["y"])), 0)
    assert made.image == (channels, 5, 6)
    assert made.x_train.flags.c_contiguous
    for image in made.x_train[:3]:
        assert any((image == one.transpose(2, 0, 1)).all() for one in x)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 4, 4), (2, 5, 6), (2, 9, 8, 2), (2, 7)])
def test_every_other_array_is_read_as_it_is(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    assert channels_first(x) is x


def test_a_matrix_is_a_table_and_has_no_image(npz: Write, refusal: Refusal) -> None:
    path = npz(**some())
    assert load(DataConfig(source="npz", path=path), 0).image is None
    error = refusal(source="npz", path=path, preprocess=("channel_mean",))
    assert error.key == "preprocess"
    assert "examples have the shape [4]" in str(error)


def test_a_regression_may_bring_its_own_split(npz: Write) -> None:
    path = npz(
        x=np.zeros((9, 2)), y=np.arange(9.0), x_validation=np.ones((2, 2)), y_validation=[40, 50]
    )
    made = load(DataConfig(source="npz", path=path, task="regression", limit=11), 0)
    assert made.y_train.tolist() == list(range(9))
    assert made.y_validation.tolist() == [40, 50]  # numbers that training never saw
    assert (made.target_mean.tolist(), made.y_validation.dtype) == ([4], np.float32)


def test_folds_of_a_given_split_are_refused(npz: Write, refusal: Refusal) -> None:
    path = npz(**some(), x_validation=np.zeros((2, 4)), y_validation=[2, 0])
    error = refusal(source="npz", path=path, folds=5)
    assert error.key == "folds"
    assert "a validation part of its own and got folds 5" in str(error)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (list("ab") * 15, "is text"),
        (np.zeros(30, complex), "is complex128"),
        (np.zeros(30, "datetime64[D]"), "is datetime64"),
        ([0, np.nan] * 15, "has 15 that are not"),
    ],
)
def test_targets_that_are_no_numbers_are_refused(
    npz: Write, refusal: Refusal, y: Any, words: str
) -> None:
    error = refusal(source="npz", path=npz(x=some()["x"], y=y), task="regression")
    assert error.key == "path"
    assert words in str(error)


def test_a_regression_without_rows_is_refused(npz: Write, refusal: Refusal) -> None:
    for y in (np.zeros(0), np.zeros(0, "<U1")):
        refusal(source="npz", path=npz(x=np.zeros((0, 2)), y=y), task="regression")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": None}, "needs an array x or X"),
        ({"y": None}, "needs an array y"),
        ({"x": np.zeros(30)}, "shape [30]"),
        ({"x": np.zeros((30, 0))}, "shape [30, 0]"),
        ({"x": np.zeros((30, 2), complex)}, "complex128"),
        ({"x": np.array([["a"]] * 30)}, "<U1"),
        ({"x": np.full((30, 1), np.nan)}, "30 values"),
        ({"x": np.full((30, 1), 1e300)}, "30 values"),
        ({"x": np.array([[None]] * 30, object)}, "allow_pickle=False"),
        ({"y": np.zeros((30, 3))}, "one-hot"),
        ({"y": np.zeros(29)}, "30 examples and 29 labels"),
        ({"y": np.linspace(0, 1, 60), "x": np.zeros((60, 1))}, "60 distinct real numbers"),
        ({"y": np.zeros(30)}, "at least 2 classes"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "got 0 in 0 rows"),
        ({"x_validation": np.zeros((2, 4))}, "needs an array y_validation"),
        ({"y_validation": np.zeros(2)}, "needs an array x_validation"),
        ({"x_validation": np.zeros((2, 5)), "y_validation": [0, 1]}, "must agree"),
        ({"x_validation": np.zeros((2, 4), np.uint8), "y_validation": [0, 1]}, "must agree"),
        ({"x_validation": np.zeros((2, 4)), "y_validation": [0, 9]}, "'9' is not"),
        ({"x_validation": np.zeros((2, 4)), "y_validation": [0]}, "2 examples and 1 labels"),
        ({"x_validation": np.zeros((0, 4)), "y_validation": np.zeros(0, int)}, "got 0"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(
    npz: Write, refusal: Refusal, changes: dict[str, Any], words: str
) -> None:
    arrays = {name: value for name, value in {**some(), **changes}.items() if value is not None}
    assert words in str(refusal(source="npz", path=npz(**arrays)))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_that_is_no_archive_is_refused(
    tmp_path: Path, refusal: Refusal, content: bytes
) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    error = refusal(source="npz", path=str(tmp_path / "data.npz"))
    assert error.key == "path"
    assert "whole .npz file" in str(error)


def test_a_lone_npy_array_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    np.save(tmp_path / "data.npy", np.zeros(3))
    assert "whole .npz" in str(refusal(source="npz", path=str(tmp_path / "data.npy")))


def test_a_cut_archive_is_refused(npz: Write, refusal: Refusal) -> None:
    path = Path(npz(x=np.random.default_rng(0).normal(size=(300, 4)), y=np.arange(300) % 3))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "whole .npz" in str(refusal(source="npz", path=str(path)))


@pytest.mark.parametrize("place", [8, 10])  # flags (now a password), kind of compression
def test_a_damaged_directory_is_refused(npz: Write, refusal: Refusal, place: int) -> None:
    path = Path(npz(**some()))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] ^= 0xFF
    path.write_bytes(content)
    assert "whole .npz" in str(refusal(source="npz", path=str(path)))


def test_damaged_arrays_are_refused(npz: Write, refusal: Refusal) -> None:
    path = Path(npz(**some()))
    content = path.read_bytes()
    for place in range(content.index(b"x.npy") + 30, content.index(b"y.npy") - 30, 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        assert "whole .npz" in str(refusal(source="npz", path=str(path)))


def test_missing_labels_are_refused(npz: Write, refusal: Refusal) -> None:
    error = refusal(source="npz", path=npz(x=np.zeros((3, 1)), y=[0, 1, np.nan]))
    assert error.key == "path"
    assert "1 missing" in str(error)


def test_an_unreadable_path_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "does not exist" in str(refusal(source="npz", path=str(tmp_path / "data.npz")))

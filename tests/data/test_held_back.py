"""The test part of each source: what is in the files comes out, where the validation part was."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cifar10 import batch, pickled, write_archive, write_folder
from test_mnist import idx

from workers.data import DataConfig, DataError, Dataset, load
from workers.data.test_part import with_test_part

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def digits(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).integers(0, 256, (num, 5, 4), dtype=np.uint8)
    return x, np.arange(num, dtype=np.uint8) % 10


def mapping() -> dict[str, Any]:
    """What a user's function may give."""
    draw = np.random.default_rng(0)
    y = np.array([f"class {i % 3}" for i in range(40)])
    x = draw.normal(size=(40, 4)).astype(np.float32)
    return {"x": x[:30], "y": y[:30], "x_test": x[30:], "y_test": y[30:]}


def held_back(**given: Any) -> Dataset | None:
    config = DataConfig(**given)
    return with_test_part(load(config, seed=0), config)


def test_the_test_files_of_mnist_are_the_test_part(tmp_path: Path) -> None:
    for names, arrays in ((TRAIN, digits(40, 0)), (TEST, digits(20, 1))):
        for name, array in zip(names, arrays, strict=True):
            (tmp_path / name).write_bytes(idx(array))
    found = held_back(source="mnist", path=str(tmp_path), preprocess=("zero_center",))
    assert found is not None
    x, y = digits(20, 1)
    np.testing.assert_array_equal(found.x_validation, x)
    np.testing.assert_array_equal(found.y_validation, y)
    config = DataConfig(source="mnist", path=str(tmp_path), preprocess=("zero_center",))
    of_training = load(config, seed=0).transforms[0].shift
    np.testing.assert_array_equal(found.transforms[0].shift, of_training)
    (tmp_path / TEST[1]).write_bytes(b"damaged")
    with pytest.raises(DataError, match=TEST[1]):
        held_back(source="mnist", path=str(tmp_path))
    (tmp_path / TEST[0]).unlink()
    assert held_back(source="mnist", path=str(tmp_path)) is None


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_the_test_batch_of_cifar10_is_the_test_part(tmp_path: Path, form: str) -> None:
    files = pickled() | {"test_batch": pickle.dumps(batch(9), protocol=2)}
    if form == "folder":
        path = write_folder(tmp_path / "cifar-10-batches-py", files)
    else:
        path = write_archive(tmp_path / "cifar-10-python.tar.gz", files)
    found = held_back(source="cifar10", path=str(path))
    assert found is not None
    np.testing.assert_array_equal(found.x_validation, batch(9)[b"data"].reshape(-1, 3, 32, 32))
    assert found.y_validation.tolist() == batch(9)[b"labels"]
    del files["test_batch"]
    assert held_back(source="cifar10", path=str(write_folder(tmp_path / "less", files))) is None


def test_arrays_for_testing_in_an_archive_or_a_mapping_are_the_test_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **mapping())
    archive = {"source": "npz", "path": str(tmp_path / "data.npz")}
    for given in (archive, {"source": f"{__name__}:mapping"}):
        found = held_back(**given)
        assert found is not None
        np.testing.assert_array_equal(found.x_validation, mapping()["x_test"])
        names = [found.class_names[code] for code in found.y_validation]
        assert names == mapping()["y_test"].tolist()


def test_numbers_of_a_regression_stay_numbers(tmp_path: Path) -> None:
    numbers = {name: np.arange(len(y), dtype=float) for name, y in mapping().items() if "y" in name}
    np.savez(tmp_path / "data.npz", **(mapping() | numbers))
    found = held_back(source="npz", path=str(tmp_path / "data.npz"), task="regression")
    assert found is not None
    assert found.y_validation.tolist() == numbers["y_test"].tolist()
    assert found.y_validation.dtype == np.float32


@pytest.mark.parametrize("given", [{"source": "digits"}, {"source": f"{__name__}:plain"}])
def test_sources_without_a_test_part_have_none(given: dict[str, Any]) -> None:
    assert held_back(**given) is None


def plain() -> tuple[np.ndarray, np.ndarray]:
    return mapping()["x"], mapping()["y"]


def test_with_folds_there_is_no_one_network_to_test() -> None:
    assert held_back(source=f"{__name__}:mapping", folds=3) is None

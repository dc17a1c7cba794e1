from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.data import DataConfig, DataError, cifar10, load
from workers.data.cifar10 import BATCHES, FOLDER, read_cifar10
from workers.data.pickles import unpickle_arrays

ROWS = 20
Refusal = Callable[..., DataError]


class Attack:
    """What a malicious pickle holds: loading it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def batch(number: int, **changes: Any) -> dict[Any, Any]:
    rng = np.random.default_rng(number)
    content = {
        b"batch_label": f"training batch {number}".encode(),
        b"labels": [row % 10 for row in range(ROWS)],
        b"data": rng.integers(0, 256, (ROWS, 3072), dtype=np.uint8),
        b"filenames": [b""] * ROWS,
    }
    return {**content, **{name.encode(): value for name, value in changes.items()}}


def pickled() -> dict[str, bytes]:
    """The files of the official folder in small: protocol 2, the test batch too."""
    files = {f"data_batch_{n}": pickle.dumps(batch(n), protocol=2) for n in range(1, 6)}
    return {**files, "test_batch": b"never read", "batches.meta": b"never read"}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / FOLDER, pickled())


def read(path: Path) -> Any:
    return read_cifar10(DataConfig(source="cifar10", path=str(path)))


def test_folder_parent_and_archive_give_the_same_rows_in_the_order_of_the_batches(
    folder: Path, tmp_path: Path
) -> None:
    backwards = dict(reversed(list(pickled().items())))
    archive = write_archive(tmp_path / "cifar.tar.gz", backwards)
    expected = np.concatenate([batch(n)[b"data"] for n in range(1, 6)])
    for path in (folder, tmp_path, archive):
        examples = read(path)
        assert examples.x.shape == (5 * ROWS, 3, 32, 32)
        np.testing.assert_array_equal(examples.x.reshape(-1, 3072), expected)
        assert examples.y.tolist() == [row % 10 for row in range(ROWS)] * 5


def test_pickles_of_python_2_are_read(folder: Path) -> None:
    """As the official files: keys and data as the old byte strings, numpy's module by old name."""
    data = batch(1)[b"data"]
    old = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x14M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + data.nbytes.to_bytes(4, "little")
        + data.tobytes()
        + b"tbU\x06labels](" + b"".join(b"K" + bytes([row % 10]) for row in range(ROWS)) + b"eu."
    )  # fmt: skip
    (folder / "data_batch_1").write_bytes(old)
    np.testing.assert_array_equal(read(folder).x[:ROWS].reshape(ROWS, 3072), data)


def test_keys_may_be_strings_of_python_3(folder: Path) -> None:
    content = {name.decode(): value for name, value in batch(1).items()}
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    assert read(folder).y[:2].tolist() == [0, 1]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_arrays_and_bytes_survive_the_unpickler(protocol: int) -> None:
    value = {b"a": np.arange(6, dtype=np.uint8).reshape(2, 3), b"": [b"", b"\xff", "é", 1, None]}
    made = unpickle_arrays(pickle.dumps(value, protocol=protocol), "made")
    np.testing.assert_array_equal(made[b"a"], value[b"a"])
    assert made[b""] == value[b""]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_does_not_run(
    folder: Path, refusal: Refusal, tmp_path: Path, protocol: int
) -> None:
    witness = tmp_path / "ran"
    attack = pickle.dumps(Attack(f"touch {witness}"), protocol=protocol)
    pickle.loads(attack)
    assert witness.exists()  # the attack is real
    witness.unlink()
    (folder / "data_batch_3").write_bytes(attack)
    error = refusal(source="cifar10", path=str(folder))
    assert error.key == "path"
    assert f"{os.name}.system" in str(error)
    assert "data_batch_3" in str(error)
    assert not witness.exists()


@pytest.mark.parametrize(
    "line",
    [
        b"cbuiltins\neval\n",
        b"c__builtin__\ngetattr\n",
        b"cnumpy\nload\n",
        b"cnumpy.core.multiarray\nscalar\n",
        b"cnumpy\nndarray.tofile\n",
        b"ccodecs\nopen\n",
        b"ccollections\nOrderedDict\n",
    ],
)
def test_every_other_global_is_refused(line: bytes) -> None:
    with pytest.raises(DataError, match="names"):
        unpickle_arrays(line + b".", "made")


def test_the_test_batch_is_never_unpickled(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    files = {"test_batch": pickle.dumps(Attack(f"touch {witness}")), **pickled()}
    files["test_batch"] = pickle.dumps(Attack(f"touch {witness}"))
    read(write_archive(tmp_path / "cifar.tar.gz", files))
    read(write_folder(tmp_path / FOLDER, files))
    assert not witness.exists()


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.3, 0.7, 0.99])
def test_a_truncated_archive_is_refused(tmp_path: Path, refusal: Refusal, kept: float) -> None:
    path = write_archive(tmp_path / "cifar.tar.gz", pickled())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    error = refusal(source="cifar10", path=str(path))
    assert error.key == "path"
    assert str(path) in str(error)


def test_an_archive_cut_before_it_was_zipped_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    path = write_archive(tmp_path / "cifar.tar.gz", pickled())
    tar = gzip.decompress(path.read_bytes())
    for kept in (100, 512, 4000, 130_000, 200_000):
        path.write_bytes(gzip.compress(tar[:kept], compresslevel=1))
        assert str(path) in str(refusal(source="cifar10", path=str(path)))


def test_an_archive_damaged_anywhere_is_refused(
    tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "BUFFER_BYTES", 512)  # as small beside the file as it is really
    path = tmp_path / "cifar.tar.gz"
    content = write_archive(path, pickled()).read_bytes()
    for place in (*range(30, len(content) - 8, len(content) // 60), len(content) - 8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        assert str(path) in str(refusal(source="cifar10", path=str(path)))


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"", gzip.compress(b"text")])
def test_a_file_that_is_no_archive_is_refused(
    tmp_path: Path, refusal: Refusal, content: bytes
) -> None:
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(content)
    assert str(path) in str(refusal(source="cifar10", path=str(path)))


def test_a_missing_path_is_refused_with_the_official_names(
    tmp_path: Path, refusal: Refusal
) -> None:
    error = refusal(source="cifar10", path=str(tmp_path / "nowhere"))
    assert "cifar-10-python.tar.gz" in str(error)
    assert FOLDER in str(error)


def test_missing_batches_are_named(folder: Path, refusal: Refusal) -> None:
    (folder / "data_batch_2").unlink()
    (folder / "data_batch_5").unlink()
    assert "lacks data_batch_2, data_batch_5;" in str(refusal(source="cifar10", path=str(folder)))


def test_a_folder_without_batches_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert f"lacks {', '.join(BATCHES)}" in str(refusal(source="cifar10", path=str(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": [1, 2]}, "no matrix of bytes"),
        ({"data": np.zeros((ROWS, 3072))}, "no matrix of bytes"),
        ({"data": np.zeros((ROWS, 3000), np.uint8)}, "3000 bytes"),
        ({"labels": [0] * (ROWS - 1)}, "20 examples and 19 labels"),
        ({"labels": [10] * ROWS}, "labels"),
        ({"labels": None}, "labels"),
        ({"labels": [[]] * ROWS}, "labels"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused(
    folder: Path, refusal: Refusal, changes: dict[str, Any], words: str
) -> None:
    (folder / "data_batch_4").write_bytes(pickle.dumps(batch(4, **changes), protocol=2))
    error = refusal(source="cifar10", path=str(folder))
    assert words in str(error)
    assert "data_batch_4" in str(error)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02]", pickle.dumps([1, 2])])
def test_a_damaged_pickle_is_refused(folder: Path, refusal: Refusal, content: bytes) -> None:
    (folder / "data_batch_1").write_bytes(content)
    assert "data_batch_1" in str(refusal(source="cifar10", path=str(folder)))


def test_the_real_cifar10_is_as_its_page_says(real_cifar10: Path) -> None:
    config = DataConfig(
        source="cifar10",
        path=str(real_cifar10),
        validation=1000,
        preprocess=("channel_mean",),
    )
    made = load(config, 0)
    assert made.x_train.shape == (49000, 3, 32, 32)
    assert made.x_train.dtype == np.uint8
    assert np.bincount(made.y_train).tolist() == [4900] * 10
    assert np.bincount(made.y_validation).tolist() == [100] * 10
    assert made.class_names[6] == "frog"
    # The channel means that everyone subtracts, from the whole training set.
    (transform,) = made.transforms
    assert transform.shift is not None
    means = transform.shift.reshape(3, 1024)
    np.testing.assert_allclose(means.T, np.tile([0.4914, 0.4822, 0.4465], (1024, 1)), atol=2e-3)


def test_the_real_cifar10_cut_short_is_refused(
    real_cifar10: Path, tmp_path: Path, refusal: Refusal
) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    with real_cifar10.open("rb") as whole:
        path.write_bytes(whole.read(10_000_000))
    assert "truncated" in str(refusal(source="cifar10", path=str(path)))

"""Datasets of the user's own that stay where they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import streamed_data

from workers.data import DataConfig, DataError, Dataset, load, memory, own
from workers.data.streamed import Streamed


def _pair(source: str, **fields: object) -> tuple[Dataset, Dataset]:
    """The same data streamed and held in memory."""
    given = {"source": f"streamed_data:{source}", **fields}
    return tuple(load(DataConfig(stream=stream, **given), seed=3) for stream in (True, False))


def _rows(x: object) -> np.ndarray:
    assert isinstance(x, Streamed)
    return x.read(slice(None))


@pytest.mark.parametrize("source", ["blobs", "both", "images", "known", "wrong"])
@pytest.mark.parametrize("limit", [None, 61])
def test_rows_are_those_that_would_be_in_memory(source: str, limit: int | None) -> None:
    streamed, held = _pair(source, limit=limit)
    assert np.array_equal(_rows(streamed.x_train), held.x_train)
    assert np.array_equal(_rows(streamed.x_validation), held.x_validation)
    assert np.array_equal(streamed.y_train, held.y_train)
    assert np.array_equal(streamed.y_validation, held.y_validation)
    assert streamed.x_train.dtype == held.x_train.dtype
    assert streamed.shape() != held.shape()
    assert streamed.feature_shape == held.feature_shape
    assert streamed.unit == held.unit


@pytest.mark.parametrize("preprocess", ["zero_center", "standardize", "channel_mean"])
def test_statistics_are_equal_to_the_last_bit(
    preprocess: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.data.preprocess.CHUNK_BYTES", 8 * 48 * 37)  # more than one
    streamed, held = _pair("images", preprocess=(preprocess,))
    for one, other in zip(
        streamed.transforms[0].arrays(), held.transforms[0].arrays(), strict=True
    ):
        assert np.array_equal(one, other)


def test_targets_that_are_at_hand_spare_a_pass_if_they_are_right() -> None:
    streamed_data.Known.num_read = 0
    load(DataConfig(source="streamed_data:known", stream=True), seed=0)
    assert streamed_data.Known.num_read < 150
    load(DataConfig(source="streamed_data:wrong", stream=True), seed=0)
    assert streamed_data.Known.num_read > 150


def test_what_travels_is_the_name() -> None:
    streamed, _ = _pair("blobs")
    text = pickle.dumps(streamed)
    assert len(text) < 8_000
    assert np.array_equal(_rows(pickle.loads(text).x_train), _rows(streamed.x_train))


def test_a_path_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("150").touch()
    streamed, _ = _pair("long", path="150")
    assert streamed.x_train.opened.path == str(tmp_path / "150")


def test_fingerprints_tell_data_apart_and_streamed_from_held_do_not() -> None:
    streamed, held = _pair("blobs")
    other, _ = _pair("images")
    assert streamed.fingerprint() is None
    assert held.fingerprint() is not None
    assert streamed.sample_fingerprint() == held.sample_fingerprint()
    assert streamed.sample_fingerprint() != other.sample_fingerprint()


@pytest.mark.parametrize(("free_bytes", "expected"), [(10_000, True), (10**9, False)])
def test_what_does_not_fit_in_memory_is_streamed(
    free_bytes: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "free_bytes", lambda: free_bytes)
    assert load(DataConfig(source="streamed_data:blobs"), seed=0).is_streamed is expected


@pytest.mark.parametrize(
    ("fields", "key", "said"),
    [
        ({"source": "raises"}, "source", r"example 77 of .*raises OSError: the file is damaged"),
        ({"source": "uneven"}, "source", r"first is float32 \[12\] and example 81 is .* \[11\]"),
        ({"source": "random"}, "source", "same whenever they are read, but example 0 of"),
        ({"source": "forwards"}, "source", "Forwards can only be gone through from its start"),
        ({"source": "empty"}, "source", "returns a dataset without examples"),
        ({"folds": 3}, "folds", "folds need examples in memory"),
        ({"preprocess": ("pca",)}, "preprocess", "'pca' needs examples in memory"),
        ({"loader_workers": -1}, "loader_workers", "a whole number >= 0, but got -1"),
    ],
)
def test_what_cannot_be_streamed_is_told_in_a_sentence(
    fields: dict[str, object], key: str, said: str
) -> None:
    given = {"stream": True, **fields, "source": f"streamed_data:{fields.get('source', 'blobs')}"}
    with pytest.raises(DataError, match=said) as refused:
        load(DataConfig(**given), seed=0)
    assert refused.value.key == key
    assert len(str(refused.value).splitlines()) == 1


def test_examples_in_memory_are_told_by_their_index_too() -> None:
    with pytest.raises(DataError, match="example 77 of streamed_data:raises"):
        load(DataConfig(source="streamed_data:raises", stream=False), seed=0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "digits", "stream": True}, "stream is for datasets of a user's function"),
        ({"source": "digits", "loader_workers": 2}, "loader_workers is for datasets of a user's"),
        ({"source": "own_data:arrays", "stream": True}, "stream: true needs map-style datasets"),
    ],
)
def test_what_is_in_memory_already_is_not_streamed(fields: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(DataConfig(**fields), seed=0)


def test_memory_is_that_of_the_container_where_it_has_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    whole = memory.free_bytes()
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    assert memory.free_bytes() == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() == pytest.approx(whole, rel=0.2)

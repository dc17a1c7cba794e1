"""Data that several worker processes map into their memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from training_cases import blobs

from workers.shared_data import ALIGNMENT, open_file, read, write


@pytest.fixture
def file() -> Iterator[int]:
    found = open_file()
    yield found
    os.close(found)


def test_a_data_set_is_read_as_it_was_written(file: int) -> None:
    written = blobs(num_train=71, num_features=3)
    found = read(write(written, file), file)
    assert found.fingerprint() == written.fingerprint()
    assert found.class_names == written.class_names
    assert found.x_train.ctypes.data % ALIGNMENT == 0


def test_what_one_reader_writes_no_other_sees(file: int) -> None:
    shared = write(blobs(), file)
    first, second = read(shared, file), read(shared, file)
    first.x_train[:] = 0
    assert second.fingerprint() == blobs().fingerprint()
    assert read(shared, file).fingerprint() == blobs().fingerprint()


def test_the_arrays_are_in_the_file_and_not_in_the_pickle(file: int) -> None:
    shared = write(blobs(num_train=10_000), file)
    assert len(shared.pickled) < 10_000 < os.fstat(file).st_size


def test_arrays_without_elements_are_shared_too(file: int) -> None:
    empty = np.zeros((0, 12), np.float32)
    found = read(write(replace(blobs(), x_validation=empty), file), file)
    assert found.x_validation.shape == (0, 12)

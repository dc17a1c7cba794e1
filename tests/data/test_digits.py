"""Digits are read from scikit-learn's file without importing scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workers.data import DataConfig, DataError
from workers.data.digits import read_digits

DIGITS = DataConfig(source="digits")


def test_they_are_those_that_scikit_learn_reads() -> None:
    from sklearn.datasets import load_digits

    read, expected = read_digits(DIGITS), load_digits()
    assert np.array_equal(read.x, expected.images)
    assert np.array_equal(read.y, expected.target)
    assert read.class_names == tuple(str(name) for name in expected.target_names)
    assert (read.x.dtype, read.y.dtype) == (np.uint8, np.int64)
    assert read.unit * read.x.max() == 1


def test_scikit_learn_is_not_imported_for_it() -> None:
    read = "from workers.data import DataConfig, load; load(DataConfig(source='digits'), 0)"
    code = f"import sys; {read}; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_scikit_learn_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.data.digits.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"^source digits .*not there; install scikit-learn$"):
        read_digits(DIGITS)


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "digits.csv.gz"
    file.write_bytes(b"no digits")
    monkeypatch.setattr("workers.data.digits._file", lambda: file)
    with pytest.raises(DataError, match=r"digits\.csv\.gz cannot be read .*install scikit-learn$"):
        read_digits(DIGITS)

"""Fixtures of the data room's tests: the real files, and a way to ask for a refusal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workers.data import DataConfig, DataError, load

DEFAULT_FOLDER = Path(__file__).parents[3] / "shared" / "data"


def _real(name: str) -> Path:
    path = Path(os.environ.get("HPSEARCH_DATA", DEFAULT_FOLDER)) / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data; HPSEARCH_DATA may name another folder")
    return path


@pytest.fixture
def real_mnist() -> Path:
    return _real("mnist")


@pytest.fixture
def real_cifar10() -> Path:
    return _real("cifar-10-python.tar.gz")


@pytest.fixture
def refusal() -> Callable[..., DataError]:
    """The DataError of loading a config, which must be one line with something to do."""

    def ask(**fields: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            load(DataConfig(**fields), 0)
        assert "\n" not in str(caught.value)
        assert "; " in str(caught.value)
        return caught.value

    return ask

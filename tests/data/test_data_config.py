from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

import workers.data
from workers.data import PREPROCESS, SOURCES, DataConfig, DataError
from workers.data.loading import READERS


def test_every_source_has_a_reader_and_every_reader_is_a_source() -> None:
    assert tuple(READERS) == SOURCES


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("source", {"source": "cifar100"}),
        ("path", {"source": "mnist"}),
        ("path", {"source": "mnist", "path": ""}),
        ("path", {"source": "digits", "path": "digits.csv"}),
        ("target", {"source": "npz", "path": "a.npz", "target": "label"}),
        ("preprocess", {"source": "digits", "preprocess": ("whiten",)}),
        *[
            ("validation", {"source": "digits", "validation": value})
            for value in (0, -1, 0.0, 1.0, 1000.0, float("nan"), True, "half")
        ],
        *[("limit", {"source": "digits", "limit": value}) for value in (0, 1, -5, True, 2.5)],
    ],
)
def test_a_config_that_cannot_be_is_refused_with_its_field(
    key: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="; ") as caught:
        DataConfig(**fields)
    assert caught.value.key == key
    assert key in str(caught.value)
    if fields.get(key):
        value = fields[key][0] if isinstance(fields[key], tuple) else fields[key]
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize("validation", [1, 0.5])
def test_a_config_that_can_be_is_kept_as_given(validation: float) -> None:
    config = DataConfig(
        source="csv", path="a.csv", target="y", validation=validation, preprocess=PREPROCESS
    )
    assert config.validation == validation
    assert config.limit is None


def test_an_error_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(DataError("a rule; do this", "limit")))
    assert (str(error), error.key) == ("a rule; do this", "limit")


def test_importing_the_room_loads_no_reader_of_files_and_no_torch() -> None:
    code = (
        "import sys, workers.data; "
        "sys.exit(str(sorted({'torch', 'sklearn', 'pyarrow', 'pandas', 'ray'} & set(sys.modules)))"
        " if {'torch', 'sklearn', 'pyarrow', 'pandas', 'ray'} & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_room_exports_what_it_says() -> None:
    assert all(hasattr(workers.data, name) for name in workers.data.__all__)

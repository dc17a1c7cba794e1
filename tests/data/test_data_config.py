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
        ("preprocess", {"source": "digits", "preprocess": ("whitten",)}),
        ("task", {"source": "digits", "task": "ranking"}),
        ("task", {"source": "digits", "task": "regression"}),
        ("task", {"source": "mnist", "path": "mnist", "task": "regression"}),
        *[
            ("validation", {"source": "digits", "validation": value})
            for value in (0, -1, 0.0, 1.0, 1000.0, float("nan"), True, "half")
        ],
        *[("folds", {"source": "digits", "folds": value}) for value in (0, 1, True, 2.5, "5")],
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


@pytest.mark.parametrize(
    ("preprocess", "words"),
    [
        (("pca", "whiten"), "'pca' or 'whiten', but got both"),
        (("standardize", "channel_mean"), "'channel_mean' or 'standardize', but got both"),
        (("mean_image", "channel_mean"), "'channel_mean' or 'mean_image', but got both"),
        (("channel_mean", "whiten"), "'channel_mean' or 'whiten', but got both"),
    ],
)
def test_preprocessing_that_excludes_another_is_refused(
    preprocess: tuple[str, ...], words: str
) -> None:
    with pytest.raises(DataError, match="; ") as caught:
        DataConfig(source="digits", preprocess=preprocess)
    assert caught.value.key == "preprocess"
    assert words in str(caught.value)


@pytest.mark.parametrize("source", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["mean_image", "channel_mean"])
def test_a_table_has_no_mean_image_and_no_channels(source: str, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}' needs images, but source {source}") as caught:
        DataConfig(source=source, path="a", preprocess=(name,))
    assert caught.value.key == "preprocess"


@pytest.mark.parametrize("source", ["csv", "parquet", "npz"])
def test_sources_with_targets_of_their_own_may_be_regressions(source: str) -> None:
    config = DataConfig(source=source, path="a", task="regression", folds=5)
    assert (config.task, config.folds) == ("regression", 5)


@pytest.mark.parametrize("validation", [1, 0.5])
def test_a_config_that_can_be_is_kept_as_given(validation: float) -> None:
    config = DataConfig(
        source="csv", path="a.csv", target="y", validation=validation, preprocess=PREPROCESS[:2]
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

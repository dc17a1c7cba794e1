"""A folder with a small spec and its data, for the tests of commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import Hpsearch, say
from training_cases import blobs

from hpsearch.api import open_repository
from hpsearch.cli.main import cli
from hpsearch.storage.repository import Repository

SPEC = {
    "name": "small",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [8], "momentum": 0.5},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "stages": [{"name": "only", "trials": 4, "epochs": 2}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has a spec and its data; a file of tests may have one of its own."""
    data = blobs(num_train=120)
    np.savez(tmp_path / "blobs.npz", x=data.x_train, y=data.y_train)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path


@pytest.fixture
def hpsearch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Hpsearch:
    """Runs a command in the folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HPSEARCH_DATABASE_URL", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return partial(say, capfd)


@pytest.fixture
def searched(hpsearch: Hpsearch) -> Repository:
    """The database of a search that is complete."""
    cli.main(["run", "small.yaml", "--ray", "none"], standalone_mode=False)
    return open_repository()

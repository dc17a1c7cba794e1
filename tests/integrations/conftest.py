"""A folder of its own for each test of commands, and Optuna without its log lines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import optuna
import pytest
from command_line import Hpsearch, say

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def hpsearch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Hpsearch:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPSEARCH_DATABASE_URL", raising=False)
    return partial(say, capfd)

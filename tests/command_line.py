"""The command line called in this process, for the tests of what it prints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hpsearch.cli.main import main

Hpsearch = Callable[..., tuple[int, str, str]]


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``hpsearch`` with these arguments."""
    capfd.readouterr()
    try:
        main(list(arguments))
        code = 0
    except SystemExit as exit:
        code = int(exit.code or 0)
    return (code, *capfd.readouterr())

"""The command line: one family of commands a file, errors shown as one line in one place.

Command modules load torch, ray, pandas and optuna only when a command needs them, so that
``hpsearch --help`` answers at once.
"""

from __future__ import annotations

from hpsearch.cli.main import main

__all__ = ["main"]

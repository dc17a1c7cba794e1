"""What Ctrl-C and SIGTERM do to commands that only look on: end them, and nothing else.

Called by ``watch`` and ``dashboard --optuna``; a command that searches is stopped by ``cli.main``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended


@contextmanager
def ends_only_itself(said: str = "") -> Iterator[None]:
    """Exit when interrupted, without the word "stopped": no search is. ``said`` may say more."""
    try:
        yield
    except KeyboardInterrupt:
        if said:
            click.echo(said, err=True)
        sys.exit(INTERRUPTED)

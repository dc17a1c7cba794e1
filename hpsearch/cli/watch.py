"""``hpsearch watch``: a search as it goes on, read from its database, from any machine.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from hpsearch.cli.interrupted import ends_only_itself
from hpsearch.cli.options import db_option, search_argument

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from hpsearch.analysis.frames import Frames
    from hpsearch.storage.records import SearchRecord

GOES_ON = ("submitted", "running")


@click.command()
@search_argument
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@db_option
def watch(search: str, every_s: float, db: str | None) -> None:
    """Show how far SEARCH is, again and again, until it ends; exit code 1 if it failed.

    On a terminal the table is live; piped, a line is printed whenever something has changed.
    """
    with ends_only_itself("no longer watched; the search is left as it is"):
        from hpsearch.api import connect

        frames = connect(db)
        search_id = frames.repository.find_search(search).id
        record = _until_the_end(frames, search_id, every_s)
    if record.state == "failed":
        sys.exit(1)


def _until_the_end(frames: Frames, search_id: int, every_s: float) -> SearchRecord:
    with _screen() as show:
        while True:
            record, status = frames.repository.find_search(search_id), frames.status(search_id)
            show(_line(record, status), status)
            if record.state not in GOES_ON:
                return record
            time.sleep(every_s)


@contextmanager
def _screen() -> Iterator[Callable[[str, DataFrame], None]]:
    """Shows a line and its table, live on a terminal; elsewhere the line, where it has changed."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from hpsearch.cli.tables import console, rich_table

    out = console()
    if not out.is_terminal:
        yield _Changes().show
        return
    with Live("", console=out, auto_refresh=False) as live:
        yield lambda line, status: live.update(Group(Text(line), rich_table(status)), refresh=True)


class _Changes:
    """Prints a line unless it is the last one again."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, line: str, status: DataFrame) -> None:
        if line != self._last:
            click.echo(line)
        self._last = line


def _line(record: SearchRecord, status: DataFrame) -> str:
    """As: digits (id 3): running; fine: 12 complete, 4 running of 16, 260 epochs, best 0.9815."""
    from hpsearch.cli.outcome import standing
    from hpsearch.cli.tables import cell

    said = standing(record)
    if status.empty:
        return said
    stage = status.iloc[-1]
    counts = [f"{stage[state]} {state}" for state in ("complete", "pruned", "failed", "running")]
    counts = [text for text in counts if not text.startswith("0 ")]
    if stage["waiting"] and not stage["running"]:
        counts.append(f"{stage['waiting']} waiting for a worker")
    told = ", ".join(counts) or "none"
    best = status["best"].dropna()
    extreme = "" if best.empty else f", best {cell(_extreme(record, best))}"
    trained = f"{stage['trained']} epoch{'s' if stage['trained'] != 1 else ''}"
    return f"{said}; {stage['stage']}: {told} of {stage['trials']}, {trained}{extreme}"


def _extreme(record: SearchRecord, values: Series) -> float:
    found = values.max() if record.spec.objective.mode == "max" else values.min()
    return float(found)


COMMANDS = (watch,)

"""Frames on the screen: as a table for people, as CSV or JSON for programs.

Called by all commands that print rows; results go to stdout.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpsearch.plain_text import one_line

if TYPE_CHECKING:
    from pandas import DataFrame

PIPED_WIDTH = 200  # of a file or a pipe, unless COLUMNS says otherwise
PROSE = ("message",)  # the only columns that may take several lines
PROSE_WIDTH = 36  # the least that such a column needs
GAP = 2  # between columns
INDENT = "     "  # of what stands under a row


def echo_frame(
    frame: DataFrame,
    form: str,
    title: str | None = None,
    *,
    least: Sequence[str] = (),
    below: Sequence[str] = (),
) -> None:
    """Print ``frame`` in the form asked for; NaN is empty in a table and null in JSON.

    ``least`` and ``below`` shape a table as in :func:`print_table`.
    """
    if form == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
    elif form == "json":
        click.echo(
            frame.to_json(orient="records", date_format="iso", indent=1, double_precision=15)
        )
    else:
        print_table(frame, title, least=least, below=below)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader of a pipe has had enough: no error, as ``cli.main`` has it."""
        raise BrokenPipeError


def console() -> Console:
    """A console on stdout; piped it is as wide as COLUMNS says, or wide enough for most tables."""
    found = _Console(highlight=False)
    told = found.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return found if told else _Console(highlight=False, width=PIPED_WIDTH)


def print_table(
    frame: DataFrame,
    title: str | None = None,
    *,
    least: Sequence[str] = (),
    below: Sequence[str] = (),
    all_with: str = "--format csv",
) -> None:
    """Print a table in which no value is ever shortened, however narrow the screen is.

    Columns that do not fit are left out, those of ``least`` first and then from the right, and a
    line says which, and that they are there with ``all_with``. What a row has in the columns
    ``below`` stands on lines of its own under it.
    """
    out = console()
    beside = frame.drop(columns=[name for name in below if name in frame.columns])
    cells = {str(name): [cell(value) for value in beside[name]] for name in beside.columns}
    kept = fitting({name: _width(name, texts) for name, texts in cells.items()}, out.width, least)
    with out.capture() as captured:
        if title is not None:  # not the table's own, which it would wrap to its width
            out.print(Text(one_line(title), style="table.title"))
        out.print(rich_table(beside[kept]), crop=False)
    lines = captured.get().splitlines()
    click.echo("\n".join(_with_notes(lines, _notes(frame, below, out.width))))
    left_out = [name for name in cells if name not in kept]
    if left_out:
        more = "1 column" if len(left_out) == 1 else f"{len(left_out)} columns"
        click.echo(fill(f"{more} more with {all_with}: {', '.join(left_out)}", out.width))


def fitting(widths: Mapping[str, int], width: int, least: Sequence[str] = ()) -> list[str]:
    """The names of the columns that ``width`` has room for, in their order; one at the least."""
    kept = list(widths)
    spare = [name for name in least if name in widths]
    spare += [name for name in reversed(kept) if name not in spare]
    while len(kept) > 1 and sum(widths[name] + GAP for name in kept) > width:
        kept.remove(spare.pop(0))
    return kept


def rich_table(frame: DataFrame) -> Table:
    """A table of the frame, numbers to the right; text that is no prose stays on its line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in frame.columns:
        numeric = frame[name].dtype.kind in "iuf"
        table.add_column(
            Text(one_line(str(name))),
            justify="right" if numeric else "left",
            no_wrap=name not in PROSE,
        )
    for row in frame.itertuples(index=False):
        # Text, since rich would read a list of names, [relu, tanh], as markup and print nothing.
        table.add_row(*(Text(cell(value)) for value in row))
    return table


def _width(name: str, texts: Sequence[str]) -> int:
    widest = max((cell_len(text) for text in texts), default=0)
    return max(cell_len(one_line(name)), min(widest, PROSE_WIDTH) if name in PROSE else widest)


def _notes(frame: DataFrame, below: Sequence[str], width: int) -> list[str]:
    """For each row what stands under it, or nothing."""
    columns = [[cell(value) for value in frame[name]] for name in below if name in frame.columns]
    texts = ["; ".join(filter(None, row)) for row in zip(*columns, strict=True)]
    return [indent(fill(text, width - len(INDENT)), INDENT) for text in texts]


def _with_notes(lines: Sequence[str], notes: Sequence[str]) -> list[str]:
    """The lines of a table, of which the last is empty, with each row's note after it."""
    if not notes:
        return [*lines]
    first = len(lines) - 1 - len(notes)
    pairs = zip(lines[first:-1], notes, strict=True)
    return [*lines[:first], *(line for pair in pairs for line in pair if line), lines[-1]]


def cell(value: Any) -> str:
    """A value as a person wants to read it: four digits, no NaN, times to the second, one line."""
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(cell(item) for item in value) + "]"
    return one_line(str(value))

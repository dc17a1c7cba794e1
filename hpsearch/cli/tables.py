"""Frames on the screen: as a table for people, as CSV or JSON for programs.

Called by all commands that print rows; results go to stdout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pandas import DataFrame


def echo_frame(frame: DataFrame, form: str, title: str | None = None) -> None:
    """Print ``frame`` in the form asked for; NaN is empty in a table and null in JSON."""
    if form == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
    elif form == "json":
        click.echo(
            frame.to_json(orient="records", date_format="iso", indent=1, double_precision=15)
        )
    else:
        console().print(rich_table(frame, title))


def console() -> Console:
    """A console on stdout that does not cut a table to 80 columns when piped into a file."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


def rich_table(frame: DataFrame, title: str | None = None) -> Table:
    """A table of the frame, numbers to the right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in frame.columns:
        numeric = frame[name].dtype.kind in "iuf"
        table.add_column(str(name), justify="right" if numeric else "left", no_wrap=numeric)
    for row in frame.itertuples(index=False):
        table.add_row(*(cell(value) for value in row))
    return table


def cell(value: Any) -> str:
    """A value as a person wants to read it: four digits, no NaN, times to the second."""
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(cell(item) for item in value) + "]"
    return str(value)

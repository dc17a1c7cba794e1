"""``hpsearch report`` and ``hpsearch plot``: a search to look at, as a page and as images.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from hpsearch.cli.options import db_option, search_argument


@click.command()
@search_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file to write.",
)
@db_option
def report(search: str, output: Path, db: str | None) -> None:
    """Write a report of SEARCH: one HTML file with its plots, which needs no network.

    The stages and why ranges moved, each parameter, learning curves, diagnoses, the best trials,
    and the winner's YAML. Of a search that runs, what is stored so far: run it again later.
    """
    from hpsearch.api import connect
    from hpsearch.report.document import write_report

    write_report(connect(db), search, output)
    click.echo(f"the report of {search} is in {output}")


@click.command()
@search_argument
@click.option(
    "--kind",
    type=click.Choice(["curves", "axes", "stages", "map"]),
    required=True,
    help="Learning curves; the objective against each parameter; the ranges of the stages; two "
    "parameters against each other.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write, .png, .pdf or .svg.",
)
@db_option
def plot(
    search: str, kind: Literal["curves", "axes", "stages", "map"], output: Path, db: str | None
) -> None:
    """Draw one kind of plot of SEARCH into an image, for a paper."""
    from hpsearch.api import connect
    from hpsearch.report.images import write_plot

    write_plot(connect(db), search, kind, output)
    click.echo(f"the {kind} of {search} are in {output}")


COMMANDS = (report, plot)

"""``hpsearch report`` and ``hpsearch plot``: a search to look at, as a page and as images.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path

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


COMMANDS = (report,)

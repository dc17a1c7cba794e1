"""``hpsearch export``: a trained network for use elsewhere.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path

import click

from hpsearch.cli.options import db_option, search_argument
from hpsearch.errors import HpsearchError


@click.command()
@search_argument
@click.option("--trial", "number", type=int, help="The trial of this number, not the best one.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    required=True,
    help="The folder to write to.",
)
@db_option
def export(search: str, number: int | None, output: str, db: str | None) -> None:
    """Write the best network of SEARCH: model.safetensors, and model.yaml with its configuration.

    The weights are of the trial's last checkpoint, the epoch of which is in model.yaml.
    """
    from hpsearch.export import export as export_model

    if not output:
        got = "--output must be the path of a folder, but got '': give one, or . for this one"
        raise HpsearchError(got)
    found = export_model(search, Path(output), number, db)
    click.echo(f"number {found} of {search} is in {output}")


COMMANDS = (export,)

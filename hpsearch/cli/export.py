"""``hpsearch export``: a trained network for use elsewhere.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path

import click

from hpsearch.cli.options import db_option, search_argument


@click.command()
@search_argument
@click.option("--trial", "number", type=int, help="The trial of this number, not the best one.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The folder to write to.",
)
@db_option
def export(search: str, number: int | None, output: Path, db: str | None) -> None:
    """Write the best network of SEARCH: model.safetensors, and model.yaml with its configuration.

    The weights are of the trial's last checkpoint, the epoch of which is in model.yaml.
    """
    from hpsearch.export import export as export_model

    found = export_model(search, output, number, db)
    click.echo(f"number {found} of {search} is in {output}")


COMMANDS = (export,)

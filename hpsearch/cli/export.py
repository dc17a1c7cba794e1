"""``hpsearch export`` and ``hpsearch import``: networks and searches for use elsewhere, and back.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path

import click

from hpsearch.cli.options import db_option, search_argument
from hpsearch.errors import HpsearchError
from hpsearch.settings import command, database_url


@click.command()
@search_argument
@click.option("--trial", "number", type=int, help="The trial of this number, not the best one.")
@click.option("-o", "--output", type=click.Path(file_okay=False), help="The folder to write to.")
@click.option(
    "--optuna",
    metavar="URL",
    help="Write the whole search as an Optuna study into this database, sqlite:///studies.db say, "
    "which Optuna's plots and optuna-dashboard open.",
)
@click.option("--study", metavar="NAME", help="Call the study so, not as the search.")
@db_option
def export(
    search: str,
    number: int | None,
    output: str | None,
    optuna: str | None,
    study: str | None,
    db: str | None,
) -> None:
    """Write the best network of SEARCH, or all of SEARCH as an Optuna study.

    With --output: model.safetensors, and model.yaml with its configuration. The weights are of the
    trial's last checkpoint, the epoch of which is in model.yaml; of a trainable the folder is what
    it wrote. With --optuna: all trials that
    have ended, with their values by epoch, and stage, branch and number as user attributes.
    """
    if (output is None) == (optuna is None):
        raise click.UsageError("give --output FOLDER for a network, or --optuna URL for a study")
    if optuna is not None:
        if number is not None:
            raise click.UsageError("--trial is for --output: a study has all trials")
        _export_study(search, optuna, study, db)
    else:
        if study is not None:
            raise click.UsageError("--study is for --optuna: a network has a folder, --output")
        _export_network(search, number, str(output), db)


def _export_network(search: str, number: int | None, output: str, db: str | None) -> None:
    from hpsearch.export import export as export_model

    if not output:
        got = "--output must be the path of a folder, but got '': give one, or . for this one"
        raise HpsearchError(got)
    found = export_model(search, Path(output), number, db)
    click.echo(f"number {found} of {search} is in {output}")


def _export_study(search: str, url: str, study: str | None, db: str | None) -> None:
    from hpsearch.integrations.optuna_export import export_study
    from hpsearch.storage.urls import masked_url

    name, count = export_study(search, url, study, db)
    click.echo(f"{count} trials of {search} are in the study {name} of {masked_url(url)}")


@click.command("import")
@click.option("--optuna", metavar="URL", help="The database of an Optuna study.")
@click.option("--study", metavar="NAME", help="Which study; needed if there are several.")
@click.option(
    "--ray-results",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="The folder of one experiment of Ray Tune, ~/ray_results/NAME say.",
)
@click.option("--metric", metavar="NAME", help="What the objective is called.")
@click.option(
    "--mode", type=click.Choice(["min", "max"]), help="Its good direction; for --ray-results."
)
@click.option("--name", metavar="NAME", help="Call the search so, not as the study or the folder.")
@db_option
def import_search(
    optuna: str | None,
    study: str | None,
    ray_results: str | None,
    metric: str | None,
    mode: str | None,
    name: str | None,
    db: str | None,
) -> None:
    """Store an Optuna study, or a folder of Ray Tune's results, as a search that is complete.

    Its trials are read like those of any other: best, trials, curves, export. A spec that says
    `prior: NAME` learns from them.
    """
    if (optuna is None) == (ray_results is None):
        raise click.UsageError("give --optuna URL or --ray-results FOLDER")
    if optuna is not None:
        if mode is not None:
            raise click.UsageError("--mode is for --ray-results: a study has its direction")
        from hpsearch.integrations.optuna_import import import_study

        record = import_study(optuna, study, name=name, metric=metric, db=db)
    else:
        if metric is None or mode is None or study is not None:
            raise click.UsageError("--ray-results needs --metric and --mode, and takes no --study")
        from hpsearch.integrations.ray_results import import_results

        record = import_results(
            str(ray_results),
            metric=metric,
            mode="max" if mode == "max" else "min",
            name=name,
            db=db,
        )
    see = command(f"best {record.name}", database_url(db))
    click.echo(f"search {record.name} (id {record.id}) is stored: {see}")


COMMANDS = (export, import_search)

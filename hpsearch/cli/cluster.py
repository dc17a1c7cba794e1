"""``hpsearch dashboard`` and ``hpsearch doctor``: where the cluster is to be seen, and is it well?

Added to the group in ``cli.main``.
"""

from __future__ import annotations

import sys

import click
from click.core import ParameterSource

from hpsearch.cli.interrupted import ends_only_itself
from hpsearch.cli.options import address_option, db_option

HOST, PORT = "127.0.0.1", 8080  # the port is optuna-dashboard's own


@click.command()
@address_option
@click.option("--optuna", is_flag=True, help="Serve optuna-dashboard on the database instead.")
@db_option
@click.option("--host", default=HOST, show_default=True, help="For --optuna: where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="For --optuna: 0 takes one that is free.",
)
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
@click.pass_context
def dashboard(
    context: click.Context,
    address: str,
    optuna: bool,
    db: str | None,
    host: str,
    port: int,
    opens: bool,
) -> None:
    """Print the address of the cluster's Ray dashboard, or serve Optuna's on the database.

    Of Ray's, it also tells how to get in. With --optuna every search of the database is a study of
    optuna-dashboard's pages, live while it runs, and only read; Ctrl-C ends them. They ask for no
    password: who reaches --host and --port reads all searches.
    """
    given = _given(context)
    if optuna:
        if "address" in given:
            raise click.UsageError("--ray is for Ray's dashboard: --optuna reads a database, --db")
        _serve_optuna(db, host, port, opens)
        return
    for name in ("db", "host", "port"):
        if name in given:
            raise click.UsageError(f"--{name} is for --optuna: Ray has its dashboard elsewhere")
    _tell_rays(address, opens)


def _given(context: click.Context) -> set[str]:
    """The parameters that are on the command line, and not by default or in the environment."""
    source = context.get_parameter_source
    return {name for name in context.params if source(name) == ParameterSource.COMMANDLINE}


def _tell_rays(address: str, opens: bool) -> None:
    from hpsearch.service.jobs import dashboard_address

    url = dashboard_address(address)
    click.echo(url)
    click.echo(
        "where it asks for a token: `ray get-auth-token` prints it on a machine of the cluster",
        err=True,
    )
    if opens:
        click.launch(url)


def _serve_optuna(db: str | None, host: str, port: int, opens: bool) -> None:
    def ready(url: str) -> None:
        click.echo(url)
        click.echo("Ctrl-C ends these pages, and no search", err=True)
        if opens:
            click.launch(url)

    with ends_only_itself():
        from hpsearch.integrations.optuna_dashboard import serve

        serve(db, host, port, ready)


@click.command()
@db_option
@click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    envvar="RAY_ADDRESS",
    help="A cluster to look at too: HOST:PORT, or auto for the one that runs here.",
)
def doctor(db: str | None, address: str | None) -> None:
    """Look whether all is there that searches need, and say how to mend what is not.

    The database and its schema, the checkpoints and their disk, the cluster, the versions on its
    nodes. Exit code 1 if something is to be mended.
    """
    from hpsearch.service.doctor import examine

    all_good = True
    for finding in examine(db, address):
        all_good &= finding.good
        click.echo(f"{'ok  ' if finding.good else 'MEND'} {finding.check}: {finding.text}")
    if not all_good:
        sys.exit(1)


COMMANDS = (dashboard, doctor)

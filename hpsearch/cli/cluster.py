"""``hpsearch dashboard`` and ``hpsearch doctor``: where the cluster is to be seen, and is it well?

Added to the group in ``cli.main``.
"""

from __future__ import annotations

import sys

import click

from hpsearch.cli.options import address_option, db_option


@click.command()
@address_option
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def dashboard(address: str, opens: bool) -> None:
    """Print the address of the cluster's Ray dashboard, and how to get in."""
    from hpsearch.service.jobs import dashboard_address

    url = dashboard_address(address)
    click.echo(url)
    click.echo(
        "where it asks for a token: `ray get-auth-token` prints it on a machine of the cluster",
        err=True,
    )
    if opens:
        click.launch(url)


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

"""``hpsearch db``: the schema of the database.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

import click

from hpsearch.cli.options import db_option


@click.group()
def db() -> None:
    """The database's schema."""


@db.command()
@db_option
def upgrade(db: str | None) -> None:
    """Bring the database to the schema of this version."""
    from hpsearch.settings import database_url
    from hpsearch.storage.database import Database
    from hpsearch.storage.urls import masked_url

    database = Database(database_url(db))
    database.upgrade()
    click.echo(f"{masked_url(database_url(db))} is at revision {database.current_revision()}")


@db.command()
@db_option
def current(db: str | None) -> None:
    """Print the schema's revision."""
    from hpsearch.settings import database_url
    from hpsearch.storage.database import Database

    click.echo(Database(database_url(db)).current_revision() or "no schema yet")


COMMANDS = (db,)

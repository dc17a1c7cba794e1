"""The revision of a database's schema: read it, check it, upgrade it.

Called by ``hpsearch.storage.database`` with an open transaction; Alembic is imported only to
upgrade, as that takes a third of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from hpsearch.settings import command
from hpsearch.storage.errors import StorageError
from hpsearch.storage.tables import Base

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0010"
VERSION_TABLE = "alembic_version"
UPGRADE_LOCK = 0x68707365  # "hpse": PostgreSQL's advisory lock of an upgrade


def is_empty(connection: Connection) -> bool:
    """Whether there are no tables at all."""
    return not inspect(connection).get_table_names()


def current(connection: Connection) -> str | None:
    """The revision written in the database; None if there is none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return revision


def check(connection: Connection, url: str) -> None:
    """Raise StorageError unless the database has the schema of this version of hpsearch."""
    revision = current(connection)
    if revision == HEAD:
        return
    if revision is None:
        raise StorageError(
            f"the database {url} holds tables of another program: give hpsearch one of its own, "
            "or add its tables there with `hpsearch db upgrade`"
        )
    if revision in _known():
        raise StorageError(
            f"the database {url} has schema {revision}, but this hpsearch needs {HEAD}: "
            f"run {command('db upgrade', url)}"
        )
    raise _unknown(revision, url)


def check_tables(connection: Connection, url: str) -> None:
    """Raise StorageError unless all tables of the schema are there: somebody may have lost one."""
    missing = sorted(Base.metadata.tables.keys() - set(inspect(connection).get_table_names()))
    if missing:
        raise StorageError(
            f"the database {url} must have all tables of schema {HEAD}, but {', '.join(missing)} "
            "is missing: put a copy of the database in its place, or give another one"
        )


def upgrade(connection: Connection, url: str) -> None:
    """Bring the schema to HEAD; two processes that do it at once do it one after the other."""
    from alembic import command

    revision = current(connection)
    if revision is not None and revision not in _known():
        raise _unknown(revision, url)
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    command.upgrade(_config(connection), HEAD)


def _unknown(revision: str, url: str) -> StorageError:
    return StorageError(
        f"the database {url} has schema {revision}, but this hpsearch knows none after {HEAD}: "
        "it was written by a newer hpsearch (install that one, then run `hpsearch db upgrade`) "
        "or by another program (give another database)"
    )


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config())
    return {script.revision for script in scripts.walk_revisions()}


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "hpsearch.storage:migrations")
    return config

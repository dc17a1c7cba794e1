"""The database of an Optuna study, opened so that its tables and ours never mix.

Called by the export and the import of studies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from hpsearch.errors import HpsearchError
from hpsearch.sampling.studies import quiet
from hpsearch.storage.urls import POSTGRESQL, masked_url, sqlite_file

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

OURS, OPTUNAS = "searches", "studies"
ELSEWHERE = "give it a database of its own, --optuna sqlite:///studies.db say"


@contextmanager
def opened(url: str, *, create: bool) -> Iterator[RDBStorage]:
    """Optuna's storage at ``url``; with ``create`` an empty database gets its tables.

    Both programs call tables ``trials`` and ``alembic_version``. So raises HpsearchError for a
    database that has ours, or those of another program; and for one that cannot be used or, without
    ``create``, that has no studies.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    shown = masked_url(url)
    try:
        completed = _completed(url)
        _check(completed, shown, create)
        with quiet():
            storage = RDBStorage(completed)
            yield storage
        storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise HpsearchError(
            f"the database of a study must be one that Optuna opens, but {shown} is not ({why}): "
            "correct --optuna"
        ) from error


def _completed(url: str) -> str:
    """With the driver that hpsearch installs, where Optuna would look for another one."""
    parsed = make_url(url)
    if parsed.drivername in POSTGRESQL:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def _check(url: str, shown: str, create: bool) -> None:
    file = sqlite_file(url) if url.startswith("sqlite") else None
    names: set[str] = set()
    if file is None or file.exists():  # to look would make the file
        engine = create_engine(url)
        names = {*inspect(engine).get_table_names()}
        engine.dispose()
    if OURS in names:
        raise HpsearchError(
            f"an Optuna study must not be in a database of hpsearch, whose tables have the same "
            f"names, but {shown} is one: {ELSEWHERE}"
        )
    if names and OPTUNAS not in names:
        raise HpsearchError(
            f"the database of a study must be empty or Optuna's, but {shown} has tables of another "
            f"program: {ELSEWHERE}"
        )
    if not names and not create:
        raise HpsearchError(f"there is no Optuna study in {shown}: correct --optuna")

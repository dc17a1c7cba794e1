"""Database: an engine whose transactions mean the same on SQLite and on PostgreSQL.

Opened by the CLI and ``hpsearch.connect`` from a URL; ``hpsearch.storage.repository`` runs on it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import clear_frames
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Interval,
    Row,
    bindparam,
    create_engine,
    event,
    func,
    literal,
    text,
    type_coerce,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from hpsearch.given import in_short
from hpsearch.storage import codec, revisions, sqlite_files
from hpsearch.storage.errors import DatabaseAway, StorageError
from hpsearch.storage.hints import query_hint
from hpsearch.storage.types import UtcDateTime
from hpsearch.storage.urls import parse_url, shown_url

SQLITE_AWAY = "is full", "disk I/O error", "is locked"
POSTGRESQL_AWAY = "08", "53", "57P", "40"  # connection, resources, shut down, begun again
CONNECT_TIMEOUT_S = 10
FOLD_TIMEOUT_MS = 1000  # for readers who have not seen the log's end yet
WRITES = "hpsearch_writes"  # the execution option of a connection that will write
UPGRADES = "hpsearch_upgrades"  # that of one that will change tables too
CHECKS_KEYS = "hpsearch_checks_keys"  # noted of a connection: whether foreign keys are held
FOLDS = "hpsearch_folds"  # noted of a connection whose commit the log is to be folded after


class Database:
    """One database by its URL. Nothing is connected before the first use.

    An empty database gets its tables on first use; any other must have the schema of this version,
    see :meth:`check_revision`. All methods raise StorageError, in one sentence without passwords,
    when the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        parsed, self.url = parse_url(url), shown_url(url)
        self._password = parsed.password
        self._checked = False
        if parsed.get_backend_name() == "sqlite":
            self.engine = _sqlite(parsed)
            self._reader = self.engine
        else:
            self.engine = _postgresql(parsed)
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._writer = self.engine.execution_options(**{WRITES: True})
        self._upgrader = self._writer.execution_options(**{UPGRADES: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout, and blocks nobody."""
        self.check_revision()
        with self._transaction(self._reader) as connection:
            yield connection

    def query(self, statement: str) -> tuple[list[str], Sequence[Row[Any]]]:
        """The columns and rows of a SELECT of the user's own, by which nothing can be changed.

        Raises StorageError for anything else.
        """
        rule = "a query must be one SELECT that the database understands"
        if not isinstance(statement, str):
            raise StorageError(f"{rule}, but got {in_short(statement)}")
        with self.read_only() as connection:
            try:
                found = connection.execution_options(stream_results=True).exec_driver_sql(statement)
                if not found.returns_rows:
                    raise StorageError(f"{rule}, but this one gives no rows")
                return list(found.keys()), found.all()
            except DBAPIError as error:
                reason = " ".join(str(error.orig).split())
                hint = query_hint(self.engine, statement, reason)
                raise StorageError(f"{rule}, but it says: {reason}{hint}") from error

    @contextmanager
    def read_only(self) -> Iterator[Connection]:
        """:meth:`read`, for SQL that people wrote: what would change anything is refused."""
        with self.read() as connection:
            if connection.dialect.name != "sqlite":
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                yield connection
                return
            # Functions that are tables declare them when they are first used.
            connection.exec_driver_sql("SELECT 1 FROM json_each('[]'), json_tree('[]')").all()
            sqlite: Any = connection.connection.driver_connection
            sqlite.set_authorizer(sqlite_files.only_reading)
            try:
                yield connection
            finally:
                with suppress(sqlite3.ProgrammingError):  # closed: Ctrl-C came
                    sqlite.set_authorizer(None)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back whole on an exception."""
        self.check_revision()
        with self._transaction(self._writer) as connection:
            connection.info.pop(FOLDS, None)  # of a transaction that was rolled back
            yield connection
            folds = connection.info.pop(FOLDS, False)
        if folds:
            self._fold_log()

    def current_revision(self) -> str | None:
        """The revision of the schema in the database; None while it has none of our tables."""
        with self._transaction(self._reader) as connection:
            return revisions.current(connection)

    def is_empty(self) -> bool:
        """Whether it has no tables yet; this makes none."""
        with self._transaction(self._reader) as connection:
            return revisions.is_empty(connection)

    def check_sound(self) -> None:
        """Raises StorageError if it can only be read, lacks tables, or its file is damaged.

        Reads all of that.
        """
        with self.write() as connection:
            revisions.check_tables(connection, self.url)
            connection.execute(text("DELETE FROM searches WHERE 1 = 0"))  # none, if that may be
        with self._sqlite_cursor() as cursor:
            if cursor is None:
                return
            found = cursor.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StorageError(
                f"the file of the database {self.url} must be whole, but is damaged ("
                f"{' '.join(found.split())}): put a copy of it in its place, or give another one"
            )

    def upgrade(self) -> None:
        """Bring the schema to the revision of this version of hpsearch; keeps all data."""
        with self._transaction(self._upgrader) as connection:
            revisions.upgrade(connection, self.url)
        self._use_wal()
        self._checked = True

    def check_revision(self) -> None:
        """Refuse a schema that is newer or older than this version's; fill an empty database."""
        if self._checked:
            return
        with self._transaction(self._reader) as connection:
            empty = revisions.is_empty(connection)
            if not empty:
                revisions.check(connection, self.url)
        if empty:
            self.upgrade()
        self._use_wal()  # now that it is known to be ours: another program's is left as it is
        self._checked = True

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self.engine.dispose()

    def _use_wal(self) -> None:
        """Have SQLite's readers and its writer work side by side."""
        with self._sqlite_cursor() as cursor:
            if cursor is not None:
                sqlite_files.switch_to_wal(cursor)

    def _fold_log(self) -> None:
        """Empty SQLite's log into the file; while somebody still reads the log it stays."""
        with self._sqlite_cursor() as cursor:
            if cursor is None:
                return
            cursor.execute(f"PRAGMA busy_timeout = {FOLD_TIMEOUT_MS}")
            with suppress(sqlite3.OperationalError):  # nothing is lost: the next one may fold it
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute(f"PRAGMA busy_timeout = {sqlite_files.BUSY_TIMEOUT_MS}")

    @contextmanager
    def _sqlite_cursor(self) -> Iterator[Any]:
        """Outside of a transaction, for what SQLite does only there; None on PostgreSQL."""
        if self.engine.dialect.name != "sqlite":
            yield None
            return
        connection = self.engine.raw_connection()
        try:
            yield connection.cursor()
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        finally:
            connection.close()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self._refusal(error.orig, error.connection_invalidated) from error
        except KeyboardInterrupt as error:
            # SQLAlchemy has closed the connection; yet SQLite keeps its lock as long as there is a
            # cursor of it, here in what was interrupted, and nobody could store that it was.
            clear_frames(error.__traceback__)
            raise

    def _refusal(self, error: BaseException | None, is_cut_off: bool = False) -> StorageError:
        """What the driver's ``error`` is to people."""
        kind = DatabaseAway if is_cut_off or _is_away(error) else StorageError
        return kind(self._sentence(error))

    def _sentence(self, error: BaseException | None) -> str:
        reason = " ".join(str(error).split())
        if self._password:
            reason = reason.replace(self._password, "***")
        return f"the database {self.url} cannot be used: {reason}; {self._mend(reason)}"

    def _mend(self, reason: str) -> str:
        if self.engine.dialect.name != "sqlite":
            return "check the address, the name and the password, and that the server runs"
        if "readonly" in reason:
            return "it may only be read: make its file and its folder writable, or give another one"
        return "check that the path is right and its file a database that you may write"


def _is_away(error: BaseException | None) -> bool:
    """Whether waiting may help: a server that is stopped, a disk that is full, a file in use."""
    if isinstance(error, sqlite3.OperationalError):
        return any(words in str(error) for words in SQLITE_AWAY)
    state = getattr(error, "sqlstate", None)  # None: there was no answer at all
    is_refused = state is None and type(error).__name__ == "OperationalError"
    return is_refused or (state or "").startswith(POSTGRESQL_AWAY)


def fold_log_after(connection: Connection) -> None:
    """Have SQLite's log folded into its file once this write is committed: a copy is whole then."""
    connection.info[FOLDS] = True


def clock(dialect: str, ahead: timedelta = timedelta(0)) -> ColumnElement[datetime]:
    """The time on the database's own clock, which all coordinators share, plus ``ahead``.

    It is read when the statement is executed. PostgreSQL's runs on within a transaction; SQLite has
    none but that of this host.
    """
    if dialect == "sqlite":
        return bindparam(
            "now", callable_=lambda: datetime.now(UTC) + ahead, type_=UtcDateTime(), unique=True
        )
    return type_coerce(func.clock_timestamp() + literal(ahead, Interval()), UtcDateTime())


def _sqlite(url: URL) -> Engine:
    folder = Path(url.database or "").parent
    # What is opened as immutable sees no change: each transaction opens it anew.
    pool = {} if os.access(folder, os.W_OK) else {"poolclass": NullPool}
    engine = _engine(url, **pool)
    event.listen(engine, "do_connect", sqlite_files.open_frozen)
    event.listen(engine, "connect", sqlite_files.prepare)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    timeout = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    # A service outlives restarts of its server: a connection is tried before it is used again.
    return _engine(url, connect_args=timeout, pool_pre_ping=True)


def _engine(url: URL, **options: Any) -> Engine:
    return create_engine(
        url, json_serializer=codec.encode, json_deserializer=codec.decode, **options
    )


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: a transaction that read first and wrote then could fail
    # with "database is locked" whatever the timeout.
    options = connection.get_execution_options()
    writes, upgrades = options.get(WRITES, False), options.get(UPGRADES, False)
    # A table is altered by copying it, and nothing may notice that it is gone meanwhile. Within a
    # transaction this cannot be set. A statement costs time: only where it is not so already.
    if connection.info.get(CHECKS_KEYS) != (not upgrades):
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {'OFF' if upgrades else 'ON'}")
        connection.info[CHECKS_KEYS] = not upgrades
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

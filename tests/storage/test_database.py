"""Database: URLs, revisions, transactions, and errors in one sentence."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from processes import find_or_create, first_use
from sqlalchemy import event, insert, inspect, select, text
from stored_searches import PROVENANCE, a_group, a_spec

from hpsearch.spec.search import Budget, Data, Objective, Pruner, Resources
from hpsearch.storage import revisions
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import Base, EventRow, GroupRow, MetricRow, SearchRow, TrialRow
from hpsearch.storage.urls import masked_url, parse_url

FIXTURES = Path(__file__).parent / "fixtures"


# Revisions


def test_an_empty_database_gets_its_tables_onfirst_use(database: Database) -> None:
    assert database.current_revision() is None
    with database.read() as connection:
        assert set(Base.metadata.tables) <= set(inspect(connection).get_table_names())
    assert database.current_revision() == revisions.HEAD


def test_the_migrations_make_the_tables_of_the_models(database: Database) -> None:
    database.upgrade()
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_head_is_the_last_revision() -> None:
    scripts = ScriptDirectory.from_config(revisions._config())
    assert scripts.get_current_head() == revisions.HEAD


def test_every_revision_has_a_fixture() -> None:
    assert {path.stem for path in FIXTURES.glob("*.sql")} == revisions._known()


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("*.sql")), ids=lambda path: path.stem)
def test_an_old_database_is_upgraded_with_its_data(fixture: Path, tmp_path: Path) -> None:
    """To add a revision's fixture: ``sqlite3 search.db .dump`` of a small search."""
    repository = _upgraded(fixture, tmp_path)
    stages, trials = repository.load(repository.find_search("fixture").id)
    assert [stage.name for stage in stages] == ["coarse"]
    assert [trial.state for trial in trials] == ["complete", "failed", "waiting"]
    assert str(trials[1].value) == "nan"
    assert trials[0].params["hidden_units"] == (64, 32)


F1_OVER_FOLDS = {"objective": Objective(metric="val_f1"), "data": Data(source="digits", folds=5)}


@pytest.mark.parametrize(("fixture", "changes"), [("0001", {}), ("0002", F1_OVER_FOLDS)])
def test_an_old_spec_is_found_again_as_it_would_be_written_today(
    fixture: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    repository = _upgraded(FIXTURES / f"{fixture}.sql", tmp_path)
    (record,) = repository.list_searches()
    assert record.spec == a_spec("fixture", **changes)
    assert repository.find_same(a_spec("fixture", **changes)) == record


def test_a_spec_with_a_width_of_its_own_keeps_it(tmp_path: Path) -> None:
    dump = (FIXTURES / "0002.sql").read_text().replace('"width": 128', '"width": 64')
    old = tmp_path / "0002.sql"
    old.write_text(dump)
    repository = _upgraded(old, tmp_path)
    (record,) = repository.list_searches()
    assert record.spec.resources == Resources(width=64)
    assert repository.find_same(record.spec) == record


def test_old_trials_train_to_their_target(tmp_path: Path) -> None:
    dump = (FIXTURES / "0002.sql").read_text()
    old = tmp_path / "0002.sql"
    old.write_text(dump.replace("9223372036854775805,0,0,5,", "9223372036854775805,0,0,7,"))
    repository = _upgraded(old, tmp_path)
    trials = repository.load(1)[1]
    assert [(t.target_epochs, t.until_epoch) for t in trials] == [(5, 5), (5, 5), (7, 7)]
    assert repository.speeds() == []
    assert repository.fold_curves(1) == {}


def test_old_groups_that_have_begun_are_trained_all_rows_at_once(tmp_path: Path) -> None:
    lines = (FIXTURES / "0002.sql").read_text().splitlines(keepends=True)
    trials = [line for line in lines if line.startswith('INSERT INTO "trials"')]
    begun = trials[0].replace("(1,1,1,0,", "(9,1,1,9,").replace("sgd',1,0,", "sgd',1,5,")
    waiting = trials[2].replace("(3,1,1,2,", "(8,1,1,8,").replace("sgd',1,0,", "sgd',1,4,")
    assert begun not in trials
    assert waiting not in trials
    lines.insert(lines.index(trials[-1]) + 1, begun + waiting)
    old = tmp_path / "0002.sql"
    old.write_text("".join(lines))
    repository = _upgraded(old, tmp_path)
    assert {trial.group for trial in repository.load(1)[1]} == {0, 4, 5}
    groups = repository.groups(1)
    assert [(g.number, g.measures, g.width, g.start_epoch) for g in groups] == [
        (0, False, None, 0),
        (5, False, None, 0),
    ]
    with repository.database.read() as connection:
        begun_at = connection.execute(select(GroupRow.created_at)).scalars().all()
        started_at = connection.execute(select(TrialRow.started_at)).scalars().all()
    assert set(begun_at) == set(filter(None, started_at))


def test_rungs_groups_and_speeds_are_kept_since_the_third_revision(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0003.sql", tmp_path)
    (record,) = repository.list_searches()
    assert record.spec.stages[0].pruner == Pruner(name="median", options={"n_warmup_steps": 2})
    assert repository.find_same(record.spec) == record
    trials = repository.load(1)[1]
    assert [(trial.group, trial.until_epoch) for trial in trials] == [(0, 3), (0, 3), (1, 5)]
    assert repository.groups(1) == [a_group(width=4)]
    assert [(s.width, s.seconds, s.bytes) for s in repository.speeds("cpu")] == [
        (1, 1e-4, 0),
        (4, 2e-4, 2**33),
    ]
    assert str(repository.fold_curves(1)) == "{1: {3: (0.86, 0.9, nan)}}"


def test_what_the_service_keeps_is_kept_since_the_fourth_revision(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0004.sql", tmp_path)
    (record,) = repository.list_searches()
    assert (record.state, record.message) == ("cancelled", "by its user")
    assert record.spec.budget == Budget(wall_time=7200.0)
    assert record.spec.max_failures == 5
    assert repository.find_same(record.spec) == record
    with repository.database.read() as connection:
        row = connection.execute(select(SearchRow.__table__)).one()
    assert (row.priority, row.served, row.job, row.workers) == (3, True, "hpsearch-1-2", 2)
    assert row.cancel_requested_at == row.created_at


def test_an_id_is_never_used_again_since_the_fifth_revision(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0005.sql", tmp_path)  # in which seven have been used
    Queue(repository.database).delete(1)
    assert repository.create_search(a_spec(), PROVENANCE).id == 8


def test_notices_and_kept_checkpoints_are_there_since_the_sixth_revision(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0006.sql", tmp_path)
    (record,) = repository.list_searches()
    assert record.spec.resources.keep_checkpoints == 3
    assert repository.find_same(record.spec) == record
    with repository.database.read() as connection:
        row = connection.execute(select(SearchRow.__table__)).one()
    assert (row.notice_at.hour, row.notice_tries) == (12, 2)


def test_a_prior_and_values_from_elsewhere_are_kept_since_the_seventh_revision(
    tmp_path: Path,
) -> None:
    repository = _upgraded(FIXTURES / "0007.sql", tmp_path)
    (record,) = repository.list_searches()
    assert record.spec.prior == "earlier"
    assert repository.find_same(record.spec) == record
    with repository.database.read() as connection:
        values = connection.execute(select(MetricRow.value)).scalars().all()
    assert [value for value in values if value is not None] == [0.25]


def test_metrics_of_ones_own_are_kept_since_the_eighth_revision(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0008.sql", tmp_path)
    (record,) = repository.list_searches()
    assert record.spec.metrics == {"top5": "nets:top5", "margin": "nets:margin"}
    assert repository.find_same(record.spec) == record
    with repository.database.read() as connection:
        others = connection.execute(select(MetricRow.others)).scalars().all()
    (stored,) = [one for one in others if one is not None]
    assert str(stored) == "{'top5': 0.75, 'margin': nan}"


@pytest.mark.parametrize("fixture", ["0001", "0004"])
def test_nor_are_those_of_an_old_database(fixture: str, tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / f"{fixture}.sql", tmp_path)
    assert repository.load(1)[1]
    with repository.database.read() as connection:
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    Queue(repository.database).delete(1)
    assert repository.create_search(a_spec(), PROVENANCE).id == 2


def test_no_old_search_is_the_services_or_has_a_limit(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0003.sql", tmp_path)
    (record,) = repository.list_searches()
    assert record.spec.budget == Budget()
    with repository.database.read() as connection:
        row = connection.execute(select(SearchRow.__table__)).one()
    assert (row.priority, row.served, row.job, row.message) == (0, False, None, None)


def test_what_an_old_database_did_not_measure_is_null(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0001.sql", tmp_path)
    trials = repository.load(1)[1]
    assert {(trial.spread, trial.stopped_early) for trial in trials} == {(None, False)}
    with repository.database.read() as connection:
        row = connection.execute(select(MetricRow.__table__)).first()
    assert (row.val_accuracy, row.val_f1, row.layer_gradient_norms) == (0.75, None, None)


def test_what_is_watched_is_kept_since_the_second_revision(tmp_path: Path) -> None:
    repository = _upgraded(FIXTURES / "0002.sql", tmp_path)
    trials = repository.load(1)[1]
    assert [trial.spread for trial in trials] == [0.02, None, None]
    assert [trial.stopped_early for trial in trials] == [True, False, False]
    with repository.database.read() as connection:
        row = connection.execute(select(MetricRow.__table__)).first()
    assert (row.val_f1, row.gradient_norm, row.train_r2) == (0.88, 1.5, None)
    assert str(row.layer_gradient_norms) == "(0.5, inf, nan)"


def _upgraded(fixture: Path, folder: Path) -> Repository:
    path = folder / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(fixture.read_text())
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    return Repository(database)


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    database.upgrade()
    Repository(database).create_search(a_spec(), PROVENANCE)
    database.upgrade()
    assert len(Repository(database).list_searches()) == 1


def test_a_newer_database_is_refused(database: Database) -> None:
    set_revision(database, "9999")
    with pytest.raises(StorageError, match=r"schema 9999.* newer hpsearch .*`hpsearch db upgrade`"):
        Database(reopened(database)).check_revision()


def test_an_older_database_is_refused_until_upgraded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.upgrade()
    old = revisions.HEAD
    monkeypatch.setattr(revisions, "HEAD", "9999")
    told = rf"has schema {old}.*needs 9999: run `hpsearch db upgr"
    with pytest.raises(StorageError, match=told):
        Database(reopened(database)).check_revision()


def test_a_database_of_another_program_is_refused(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE trials (id INTEGER)"))
    with pytest.raises(StorageError, match="tables of another program"):
        database.check_revision()


def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StorageError, match="tables of another program"):
        database.check_revision()
    database.close()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_upgrade_works_from_any_folder(sqlite_url: str, tmp_path: Path) -> None:
    code = f"from hpsearch.storage.database import Database; Database({sqlite_url!r}).upgrade()"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert Database(sqlite_url).current_revision() == revisions.HEAD


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_may_use_an_empty_database_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """On many files with SQLite: one of them does not show that it cannot go wrong."""
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(30)]
    if kind == "postgresql":
        urls = [request.getfixturevalue("postgresql_url")]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=first_use, args=(urls, barrier)) for _ in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert all(len(Repository(Database(url)).list_searches()) == 3 for url in urls)


def test_of_two_processes_that_ask_for_a_search_at_once_one_creates_it(
    database: Database,
) -> None:
    names = [f"s{n}" for n in range(20)]
    context = multiprocessing.get_context("spawn")
    barrier, got = context.Barrier(2), context.Queue()
    url = database.engine.url.render_as_string(hide_password=False)
    database.check_revision()
    given = (url, names, barrier, got)
    processes = [context.Process(target=find_or_create, args=given) for _ in "ab"]
    for process in processes:
        process.start()
    first, second = got.get(timeout=120), got.get(timeout=120)
    for process in processes:
        process.join()
    assert [id for id, _ in first] == [id for id, _ in second]
    assert all(mine != theirs for (_, mine), (_, theirs) in zip(first, second, strict=True))
    assert len(Repository(database).list_searches()) == len(names)


# Transactions


def test_an_exception_rolls_a_write_back(database: Database) -> None:
    class Interrupted(Exception):
        pass

    def interrupted_write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO alembic_version VALUES ('x')"))
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted_write()
    assert database.current_revision() == revisions.HEAD


def test_foreign_keys_hold(database: Database) -> None:
    def write_an_orphan() -> None:
        with database.write() as connection:
            connection.execute(
                insert(EventRow).values(
                    search_id=7, kind="x", data={}, created_at=text("CURRENT_TIMESTAMP")
                )
            )

    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        write_an_orphan()


def test_a_reader_sees_one_state_and_neither_waits_for_the_other(database: Database) -> None:
    repository = Repository(database)
    repository.create_search(a_spec("first"), PROVENANCE)
    count = text("SELECT count(*) FROM searches")
    with database.read() as reader:
        assert reader.scalar(count) == 1
        writing = threading.Thread(
            target=repository.create_search, args=(a_spec("second"), PROVENANCE)
        )
        writing.start()
        writing.join()
        assert reader.scalar(count) == 1
    with database.read() as reader:
        assert reader.scalar(count) == 2


def test_sqlite_writes_begin_with_the_lock_and_reads_without(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    database.upgrade()
    begun: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, *rest):  # type: ignore[no-untyped-def] # an event's
        begun.append(statement)

    with database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    with database.write():
        pass
    assert [s for s in begun if s.startswith("BEGIN")] == ["BEGIN", "BEGIN IMMEDIATE"]


# URLs and errors


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg"),
    ],
)
def test_a_url_gets_its_driver(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


def test_a_sqlite_path_does_not_follow_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_url("sqlite:///x.db").database == str(tmp_path / "x.db")


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "sqlite+x:///a"]
)
def test_a_url_that_cannot_be_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StorageError, match="sqlite:///PATH or postgresql://") as refusal:
        Database(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se:c@r/et@host/db", "postgresql://me:***@host/db"),
        (
            "postgresql://host/db?user=me&password=secret",
            "postgresql://host/db?user=me&password=***",
        ),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////data/a@b:c.db", "sqlite:////data/a@b:c.db"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_a_server_that_cannot_be_reached_is_told_without_the_password() -> None:
    database = Database("postgresql://me:secret@127.0.0.1:1/db")
    with pytest.raises(
        StorageError, match=r"me:\*\*\*@127\.0\.0\.1:1/db cannot be used: "
    ) as error:
        database.check_revision()
    assert "secret" not in str(error.value) + database.url
    assert "\n" not in str(error.value)


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"folder of a SQLite database must exist, but .*gone"):
        Database(f"sqlite:///{tmp_path}/gone/x.db")


@pytest.mark.parametrize("path", ["a" * 300 + ".db", "a" * 300 + "/x.db", "a/" * 3000 + "x.db"])
def test_a_path_that_is_too_long_is_told_in_a_short_sentence(path: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long") as caught:
        parse_url(f"sqlite:///{tmp_path}/{path}")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("kind", ["folder", "text"])
def test_a_path_that_is_no_database_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.db"
    path.mkdir() if kind == "folder" else path.write_text("not a database, but long enough" * 99)
    with pytest.raises(StorageError, match=r"x\.db cannot be used: .*check that the path is right"):
        Database(f"sqlite:///{path}").check_revision()


def test_storage_loads_neither_pandas_nor_torch() -> None:
    code = (
        "import sys, hpsearch.storage.repository; "
        "assert not {'pandas', 'torch', 'ray', 'alembic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Helpers of the tests above


def set_revision(database: Database, revision: str) -> None:
    database.upgrade()
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        assert connection.scalar(select(text("version_num FROM alembic_version"))) == revision


def reopened(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)

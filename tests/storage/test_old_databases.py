"""Databases of every revision so far: they are upgraded, and what is in them is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from stored_searches import PROVENANCE, a_group, a_spec

from hpsearch.spec.search import Budget, Data, Objective, Pruner, Resources
from hpsearch.storage import revisions
from hpsearch.storage.database import Database
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import Base, GroupRow, MetricRow, SearchRow, TrialRow

FIXTURES = Path(__file__).parent / "fixtures"


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

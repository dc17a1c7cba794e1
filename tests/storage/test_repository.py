"""Repository: what is written under a lease is what is loaded."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from stored_searches import PROVENANCE, SPACE, a_spec, a_stage, a_trial, begin

from hpsearch.spec.reason import Reason
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import NewDiagnosis
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow

REASON = Reason(
    branch="optimizer=sgd",
    parameter="learning_rate",
    action="extended",
    old=(1e-6, 1e-3),
    new=(1e-6, 1e-1),
    text="the best lie on the border",
    evidence={"value": math.inf, "count": 3},
)

# Searches


def test_a_search_is_found_as_it_was_stored(database: Database) -> None:
    repository = Repository(database)
    spec = a_spec("Größe", train={"hidden_units": (50,), "eps": 1e-8}, seed=2**62)
    stored = repository.create_search(spec, PROVENANCE)
    assert stored.spec == spec
    assert repository.find_search(stored.id) == stored
    assert repository.find_search("Größe") == stored
    assert repository.list_searches() == [stored]
    assert list(stored.spec.space.parameters) == list(spec.space.parameters)


def test_a_name_means_the_newest_search_and_digits_an_id_first(database: Database) -> None:
    repository = Repository(database)
    first = repository.create_search(a_spec("digits"), PROVENANCE)
    second = repository.create_search(a_spec("digits"), PROVENANCE)
    third = repository.create_search(a_spec(str(first.id)), PROVENANCE)
    fourth = repository.create_search(a_spec("20261231235959999999"), PROVENANCE)
    assert repository.find_search("digits") == second
    assert repository.find_search(str(first.id)) == first
    assert repository.find_search(str(third.id)) == third
    assert repository.find_search(fourth.name) == fourth


def test_a_name_may_be_asked_for_among_older_searches(database: Database) -> None:
    repository = Repository(database)
    first = repository.create_search(a_spec("digits"), PROVENANCE)
    second = repository.create_search(a_spec("digits"), PROVENANCE)
    assert repository.find_search("digits", before=second.id) == first
    for ref in ("digits", str(first.id), second.id):
        with pytest.raises(StorageError, match="holds none yet"):
            repository.find_search(ref, before=first.id)


def test_a_trial_is_found_by_its_search_and_number(database: Database) -> None:
    one, other = begin(database), begin(database)
    assert one.repository.find_trial(one.search.id, 2) == one.trials[2]
    assert one.repository.find_trial(other.search.id, 2) == other.trials[2]
    for number in (4, -1, 10**30):
        assert one.repository.find_trial(one.search.id, number) is None


def test_an_unknown_search_is_told_with_the_closest_name(database: Database) -> None:
    repository = Repository(database)
    with pytest.raises(StorageError, match="holds none yet"):
        repository.find_search("digits")
    repository.create_search(a_spec("digits"), PROVENANCE)
    repository.create_search(a_spec("mnist"), PROVENANCE)
    with pytest.raises(StorageError, match=r"no search 'digit': did you mean '\w+'"):
        repository.find_search("digit")
    for id in (99, "99"):
        with pytest.raises(StorageError, match=rf"no search {id!r}: `hpsearch list` shows all"):
            repository.find_search(id)
    with pytest.raises(StorageError, match="did you mean 'digits'"):
        repository.find_search("dgits")


def test_the_same_search_has_the_same_name_and_spec(database: Database) -> None:
    repository = Repository(database)
    assert repository.find_same(a_spec()) is None
    repository.create_search(a_spec(), PROVENANCE)
    newest = repository.create_search(a_spec(), PROVENANCE)
    assert repository.find_same(a_spec()) == newest
    assert repository.find_same(a_spec(seed=1)) is None
    assert repository.find_same(a_spec("other")) is None


def test_provenance_is_stored(database: Database) -> None:
    collected = Provenance.collect()
    assert collected.packages["torch"] != "unknown"
    search = Repository(database).create_search(a_spec(seed=5), collected)
    with database.read() as connection:
        row = connection.execute(select(SearchRow.__table__)).one()
    assert (row.id, row.seed, row.lease_token) == (search.id, 5, 0)
    assert row.packages == collected.packages
    assert (row.hpsearch_version, row.git_commit) == (
        collected.hpsearch_version,
        collected.git_commit,
    )
    assert (row.host, row.user) == (collected.host, collected.user)


# Stages and trials


def test_what_is_opened_and_added_is_what_is_loaded(database: Database) -> None:
    writer = begin(database, num_trials=0)
    stage, first = writer.repository.open_stage(
        writer.lease, a_stage(1, reasons=(REASON,)), [a_trial(1), a_trial(0)]
    )
    child = a_trial(
        2,
        stage_id=stage.id,
        parent_id=first[0].id,
        start_epoch=3,
        epochs=3,
        value=math.inf,
        best_epoch=2,
        checkpoint_file="c.safetensors",
        checkpoint_row=1,
        checkpoint_epoch=3,
    )
    added = writer.repository.add_trials(writer.lease, [child])
    stages, trials = writer.repository.load(writer.search.id)
    assert stages[1] == stage
    assert stage.branches == SPACE.branches()
    assert [trial.number for trial in first] == [1, 0]
    assert trials == [first[1], first[0], *added]


def test_a_stage_and_its_trials_are_stored_together_or_not_at_all(database: Database) -> None:
    writer = begin(database)
    with pytest.raises(StorageError, match="cannot be used"):
        writer.repository.open_stage(writer.lease, a_stage(1), [a_trial(4), a_trial(4)])
    with pytest.raises(StorageError, match="cannot be used"):
        writer.repository.open_stage(writer.lease, a_stage(0), [a_trial(4)])
    stages, trials = writer.repository.load(writer.search.id)
    assert (len(stages), len(trials)) == (1, 4)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(
    params=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "$float"),
        st.floats(allow_nan=False) | st.text() | st.booleans() | st.tuples(st.integers()),
    ),
    value=st.floats(allow_nan=False) | st.none(),
)
def test_any_params_and_values_come_back(
    database: Database, params: dict[str, object], value: float | None
) -> None:
    writer = begin(database, num_trials=0)
    trial = a_trial(0, stage_id=writer.stage_id, params=params, value=value)
    assert writer.repository.add_trials(writer.lease, [trial]) == writer.stored()


def test_trials_get_their_own_ids_where_searches_have_the_same_numbers(database: Database) -> None:
    one, other = begin(database, num_trials=1), begin(database, num_trials=1)
    for first, second in ((one, other), (other, one)):
        for writer in (first, second):
            drawn = [a_trial(len(writer.stored()), stage_id=writer.stage_id)]
            (added,) = writer.repository.add_trials(writer.lease, drawn)
            assert writer.stored()[-1] == added
    drawn = [a_trial(number, stage_id=one.stage_id) for number in (9, 4, 6)]
    assert [trial.number for trial in one.repository.add_trials(one.lease, drawn)] == [9, 4, 6]


def test_a_finished_stage_is_complete(database: Database) -> None:
    writer = begin(database)
    writer.repository.finish_stage(writer.lease, writer.stage_id)
    assert [stage.state for stage in writer.repository.load(writer.search.id)[0]] == ["complete"]


# Diagnoses and events


def test_diagnoses_are_appended(database: Database) -> None:
    writer = begin(database)
    evidence = {"share": 0.5, "limits": (1e-6, math.inf), "Grund": "größer"}
    first = NewDiagnosis(kind="best_on_border", message="m", evidence=evidence)
    second = NewDiagnosis(
        kind="diverged", message="n", evidence={}, trial_id=writer.ids[0], stage_id=writer.stage_id
    )
    writer.repository.add_diagnoses(writer.lease, writer.search.id, [first])
    writer.repository.add_diagnoses(writer.lease, writer.search.id, [second])
    stored = writer.repository.diagnoses(writer.search.id)
    assert [(d.kind, d.message, d.evidence) for d in stored] == [
        ("best_on_border", "m", evidence),
        ("diverged", "n", {}),
    ]
    assert (stored[0].trial_id, stored[0].stage_id) == (None, None)
    assert (stored[1].trial_id, stored[1].stage_id) == (writer.ids[0], writer.stage_id)


def test_what_happens_to_a_search_is_in_its_event_log(database: Database) -> None:
    writer = begin(database)
    repository, lease = writer.repository, writer.lease
    repository.fail_trials(lease, {writer.ids[0]: ("worker_lost", "x")})
    repository.regroup(lease, {writer.ids[1]: 1})
    repository.add_event(lease, "note", {"value": -math.inf})
    repository.finish_stage(lease, writer.stage_id)
    repository.release(lease, "complete")
    events = repository.events(writer.search.id)
    assert [event.kind for event in events] == [
        "acquired",
        "stage_opened",
        "trials_failed",
        "regrouped",
        "note",
        "stage_finished",
        "released",
    ]
    assert events[2].data == {"trials": (writer.ids[0],), "kinds": ("worker_lost",)}
    assert events[4].data == {"value": -math.inf}
    assert all(event.created_at.tzinfo is not None for event in events)

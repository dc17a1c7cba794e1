"""LiveStorage: our searches as Optuna reads them, held against its own storage of the same."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import Hpsearch
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from stored_searches import PARAMS, Writer, a_report, a_spec, a_stage, a_trial, begin

from hpsearch import connect
from hpsearch.integrations.optuna_live import READ_ONLY, LiveStorage, ReadOnly
from hpsearch.integrations.optuna_trials import distributions_of
from hpsearch.spec.search import Objective
from hpsearch.spec.space import Choice, Range, Space
from hpsearch.storage.database import Database

URL = "sqlite:///hpsearch.db"
SPEC = """
name: small
data: {source: digits}
train: {hidden_units: [8]}
space: {learning_rate: {log_uniform: [1e-3, 1]}}
stages: [{name: only, trials: 6, epochs: 60}]
"""
HTML = "<img src=x onerror=alert(1)>"
WRITING = [
    name
    for name, _ in inspect.getmembers(BaseStorage, inspect.isfunction)
    if name.startswith(("set_", "create_", "delete_"))
]


@pytest.fixture
def database(hpsearch: Hpsearch) -> Iterator[Database]:
    """An empty one in the working folder."""
    database = Database(URL)
    yield database
    database.close()


def every_end(database: Database) -> Writer:
    """A search that runs, with a trial of each state and one that continues another."""
    writer = begin(database, num_trials=8)
    repository, lease = writer.repository, writer.lease
    whole, pruned, failed, infinite, nan, between, running, _ = writer.ids
    repository.start_group(lease, writer.ids[:7], "worker")
    first = {whole: 0.5, pruned: 0.4, failed: 0.1, infinite: 0.2, between: 0.3, running: 0.6}
    repository.commit_report(lease, a_report(1, {**first, nan: math.nan}))
    lost = {"failure_kind": "diverged", "failure_message": f"the loss is {HTML}"}
    repository.commit_report(lease, a_report(2, {failed: math.nan}, "failed", **lost))
    repository.commit_report(lease, a_report(2, {infinite: math.inf, nan: math.nan}, "complete"))
    repository.commit_report(lease, a_report(2, {pruned: math.nan}, "pruned"))
    repository.commit_report(lease, a_report(2, {whole: 0.75}, "complete"))
    repository.commit_report(lease, a_report(2, {between: 0.35}, "waiting"))
    momentum = {**PARAMS, "optimizer": "momentum", "momentum": 0.9, "learning_rate": 0.5}
    go_on = a_trial(8, params=momentum, parent_id=whole, start_epoch=2, epochs=2, value=0.75)
    _, [further] = repository.open_stage(lease, a_stage(1, name="fine"), [go_on])
    repository.start_group(lease, [further.id], "worker")
    repository.commit_report(lease, a_report(3, {further.id: 0.8}, "complete"))
    return writer


def test_each_state_becomes_optunas(database: Database) -> None:
    every_end(database)
    trials = LiveStorage(URL).get_all_trials(1)
    whole, pruned, failed, infinite, nan, between, running, waiting, further = trials
    assert [t.number for t in trials] == list(range(9))
    states = "COMPLETE PRUNED FAIL COMPLETE FAIL RUNNING RUNNING WAITING COMPLETE"
    assert [t.state.name for t in trials] == states.split()
    values = [0.75, None, None, math.inf, None, None, None, None, 0.8]
    assert [t.value for t in trials] == values
    assert infinite.intermediate_values == {1: 0.2, 2: math.inf}
    assert pruned.intermediate_values[1] == 0.4
    assert math.isnan(pruned.intermediate_values[2])
    assert math.isnan(nan.intermediate_values[1])
    assert between.intermediate_values == {1: 0.3, 2: 0.35}
    assert further.intermediate_values == {1: 0.5, 2: 0.75, 3: 0.8}  # its parent's before its own
    assert failed.user_attrs["failure_kind"] == "diverged"
    assert failed.user_attrs["failure_message"] == f"the loss is {HTML}"
    assert [t.user_attrs["stage"] for t in trials] == ["coarse"] * 8 + ["fine"]
    assert whole.duration is not None
    assert whole.duration.total_seconds() == pytest.approx(1.0)
    assert (running.datetime_start is None, waiting.datetime_start is None) == (False, True)
    assert running.datetime_complete is None
    assert waiting.system_attrs == {"fixed_params": waiting.params}
    assert not any(trial.system_attrs for trial in trials if trial is not waiting)


def test_parameters_have_one_distribution_that_holds_all_values(database: Database) -> None:
    every_end(database)
    trials = LiveStorage(URL).get_all_trials(1)
    for trial in trials:
        trial._validate()  # Optuna's own rules, which add_trial holds trials to
    first, last = trials[0], trials[-1]
    assert "momentum" not in first.params
    assert last.distributions["momentum"] == FloatDistribution(0.8, 0.99)
    assert last.distributions["learning_rate"] == FloatDistribution(1e-6, 0.5, log=True)
    assert first.params["hidden_units"] == "[64, 32]"
    assert first.distributions["hidden_units"] == CategoricalDistribution(("[50]", "[64, 32]"))


@given(
    st.lists(st.floats(0.1, 10), min_size=2, max_size=2, unique=True).map(sorted),
    st.lists(st.floats(1e-3, 1e3)),
    st.sampled_from(["uniform", "log_uniform"]),
)
def test_every_value_is_within_its_distribution(
    ends: list[float], values: list[float], kind: Any
) -> None:
    space = Space(
        parameters={
            "x": Range(kind=kind, low=ends[0], high=ends[1]),
            "y": Choice(choices=((1, 2), "a", True)),
        }
    )
    params = [{"x": value, "y": (value,)} for value in values]
    found = distributions_of(space, [], params)
    assert found["x"]._contains(ends[0])
    for value in values:
        assert found["x"]._contains(value)
        assert found["y"]._contains(found["y"].to_internal_repr(str([value])))


def without_ids(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """All that trials hold but their ids; as text, in which NaN is equal to NaN."""
    return [{k: as_text(v) for k, v in vars(t).items() if k != "_trial_id"} for t in trials]


def as_text(value: Any) -> str:
    return repr(sorted(value.items()) if isinstance(value, dict) else value)


def in_memory(live: LiveStorage, study_id: int) -> optuna.Study:
    """Optuna's own storage with the trials of a study."""
    study = optuna.create_study(
        storage=InMemoryStorage(), study_name="digits", direction=live.get_study_directions(1)[0]
    )
    study.add_trials(live.get_all_trials(study_id))
    return study


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_every_method_that_reads_says_what_optunas_own_storage_says(
    where: str, hpsearch: Hpsearch, request: pytest.FixtureRequest
) -> None:
    url = URL if where == "sqlite" else request.getfixturevalue("postgresql_url")
    database = Database(url)
    every_end(database)
    live = LiveStorage(url)
    study = in_memory(live, 1)
    own, study_id = study._storage, study._study_id
    trials = live.get_all_trials(1)
    assert without_ids(trials) == without_ids(own.get_all_trials(study_id))
    for states in ([], [TrialState.COMPLETE], (TrialState.FAIL, TrialState.RUNNING)):
        got = live.get_all_trials(1, states=states)
        assert without_ids(got) == without_ids(own.get_all_trials(study_id, states=states))
    for trial, one in zip(trials, own.get_all_trials(study_id), strict=True):
        id, other = trial._trial_id, one._trial_id
        assert without_ids([live.get_trial(id)]) == without_ids([trial])
        assert live.get_trial_id_from_study_id_trial_number(1, trial.number) == id
        assert live.get_trial_number_from_id(id) == own.get_trial_number_from_id(other)
        assert live.get_trial_params(id) == own.get_trial_params(other)
        for name in trial.params:
            assert live.get_trial_param(id, name) == own.get_trial_param(other, name)
        assert live.get_trial_user_attrs(id) == own.get_trial_user_attrs(other)
        assert live.get_trial_system_attrs(id) == own.get_trial_system_attrs(other)
    for state in (None, TrialState.COMPLETE, TrialState.WAITING):
        assert live.get_n_trials(1, state) == own.get_n_trials(study_id, state)
    assert live.get_best_trial(1).number == own.get_best_trial(study_id).number
    assert live.get_study_directions(1) == own.get_study_directions(study_id)
    assert live.get_study_id_from_name(live.get_study_name_from_id(1)) == 1
    loaded = optuna.load_study(study_name="digits", storage=live)
    assert loaded.metric_names == ["val_accuracy"]
    assert loaded.user_attrs == {"hpsearch_search": 1, "state": "running"}
    for missing in (99, 10**12):
        with pytest.raises(KeyError):
            live.get_trial(missing)
    database.close()


@pytest.mark.parametrize(
    "read",
    [
        lambda live: live.get_all_trials(7),
        lambda live: live.get_n_trials(7),
        lambda live: live.get_study_name_from_id(7),
        lambda live: live.get_study_id_from_name("seven"),
        lambda live: live.get_study_directions(7),
        lambda live: live.get_study_user_attrs(7),
        lambda live: live.get_trial_id_from_study_id_trial_number(1, 99),
    ],
)
def test_what_is_not_there_is_a_key_error(read: Any, database: Database) -> None:
    begin(database)
    with pytest.raises(KeyError):
        read(LiveStorage(URL))


def test_an_exported_study_has_the_trials_that_have_ended(
    hpsearch: Hpsearch, database: Database
) -> None:
    every_end(database)
    hpsearch("export", "digits", "--optuna", "sqlite:///studies.db")
    exported = optuna.load_study(study_name="digits", storage="sqlite:///studies.db").trials
    ended = [t for t in LiveStorage(URL).get_all_trials(1) if t.state.is_finished()]
    assert len(ended) == 6
    for place, trial in enumerate(ended):
        trial.number = place
    assert without_ids(exported) == without_ids(ended)


def test_curves_are_those_of_the_frames(database: Database) -> None:
    every_end(database)
    frame = connect(URL).curves(1)
    for trial in LiveStorage(URL).get_all_trials(1):
        expected = frame[frame["number"] == trial.number].set_index("epoch")["val_accuracy"]
        assert list(trial.intermediate_values) == expected.index.tolist()
        assert [*trial.intermediate_values.values()] == pytest.approx(
            expected.tolist(), nan_ok=True
        )


def test_what_is_given_away_can_be_changed_without_harm(database: Database) -> None:
    every_end(database)
    live = LiveStorage(URL)
    live.get_all_trials(1)[0].intermediate_values[1] = 7.0
    live.get_trial(live.get_all_trials(1)[0]._trial_id).params.clear()
    assert live.get_all_trials(1)[0].intermediate_values[1] == 0.5
    assert live.get_all_trials(1)[0].params


@pytest.mark.parametrize("name", WRITING)
def test_what_would_write_is_refused_in_a_sentence(name: str, database: Database) -> None:
    every_end(database)
    live = LiveStorage(URL)
    before = without_ids(live.get_all_trials(1))
    arguments = [1] * (len(inspect.signature(getattr(BaseStorage, name)).parameters) - 1)
    with pytest.raises(ReadOnly) as refused:
        getattr(live, name)(*arguments)
    assert str(refused.value) == READ_ONLY
    assert without_ids(LiveStorage(URL).get_all_trials(1)) == before
    with pytest.raises(ReadOnly):
        optuna.load_study(study_name="digits", storage=live).ask()


def test_a_second_look_reads_what_has_changed(database: Database) -> None:
    writer = every_end(database)
    live = LiveStorage(URL)
    said: list[tuple[str, Any]] = []
    event.listen(
        live.repository.database.engine,
        "before_cursor_execute",
        lambda _c, _cur, text, given, _ctx, _many: said.append((text, given)),
    )
    first = live.get_all_trials(1, deepcopy=False)
    reads = [text for text, _ in said if text.startswith(("SELECT", "WITH"))]
    assert len(reads) <= 5  # searches, a spec, trials, stages, curves: not one for each trial
    said.clear()
    again = live.get_all_trials(1, deepcopy=False)
    fresh = {t.number for t, u in zip(first, again, strict=True) if t is not u}
    assert fresh <= {1, 2, 4}  # whose value is NaN, which equals nothing
    said.clear()
    running = writer.ids[6]
    writer.repository.commit_report(writer.lease, a_report(2, {running: 0.65}))
    later = live.get_all_trials(1, deepcopy=False)
    assert later[6].intermediate_values == {1: 0.6, 2: 0.65}
    assert again[6].intermediate_values == {1: 0.6}  # what was given away stays
    assert all(later[n] is first[n] for n in (0, 3, 5, 7, 8))
    (asked,) = [given for text, given in said if "metrics" in text]
    values = asked.values() if isinstance(asked, dict) else asked
    (ids,) = [json.loads(value) for value in values if isinstance(value, str)]
    assert running in ids
    assert writer.ids[0] not in ids


def test_a_range_that_grows_is_that_of_all_trials(database: Database) -> None:
    writer = begin(database)
    live = LiveStorage(URL)
    assert live.get_all_trials(1)[0].distributions["learning_rate"].high == 0.1
    beyond = a_trial(4, params={**PARAMS, "learning_rate": 3.0}, stage_id=writer.stage_id)
    writer.repository.add_trials(writer.lease, [beyond])
    later = live.get_all_trials(1)
    assert {trial.distributions["learning_rate"].high for trial in later} == {3.0}


def test_all_searches_are_studies_the_newest_of_a_name_called_so(database: Database) -> None:
    begin(database)
    other = a_spec("other", objective=Objective(metric="val_loss", mode="min"))
    begin(database, num_trials=0, spec=other)
    live = LiveStorage(URL)
    assert [one.study_name for one in live.get_all_studies()] == ["digits", "other"]
    begin(database, num_trials=1)
    studies = live.get_all_studies()
    assert [one.study_name for one in studies] == ["digits (id 1)", "other", "digits"]
    assert [one._study_id for one in studies] == [1, 2, 3]
    assert [one.direction.name for one in studies] == ["MAXIMIZE", "MINIMIZE", "MAXIMIZE"]
    names = ["digits", "digits (id 1)", "digits (id 3)"]
    assert [live.get_study_id_from_name(name) for name in names] == [3, 1, 3]
    assert live.get_all_trials(2) == []
    with pytest.raises(ValueError, match="No trials are completed"):
        live.get_best_trial(2)


def test_a_search_that_was_deleted_is_gone(hpsearch: Hpsearch, database: Database) -> None:
    writer = begin(database)
    begin(database, spec=a_spec("other"))
    live = LiveStorage(URL)
    live.get_all_trials(1)
    writer.repository.release(writer.lease, "stopped")
    assert hpsearch("delete", "1", "--yes")[0] == 0
    assert [one.study_name for one in live.get_all_studies()] == ["other"]
    with pytest.raises(KeyError):
        live.get_all_trials(1)


def test_threads_share_it_while_a_search_goes_on(database: Database) -> None:
    writer = begin(database, num_trials=40)
    live = LiveStorage(URL)

    def looks() -> list[int]:
        return [sum(len(t.intermediate_values) for t in live.get_all_trials(1)) for _ in range(12)]

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(looks) for _ in range(4)]
        for epoch in range(1, 11):
            report = a_report(epoch, dict.fromkeys(writer.ids, 0.1 * epoch))
            writer.repository.commit_report(writer.lease, report)
        seen = [one.result() for one in counts]
    for each in seen:
        assert each == sorted(each)
        assert all(count % 40 == 0 for count in each)  # a report is there whole or not at all
    assert looks()[-1] == 400


def test_a_search_that_runs_elsewhere_shows_more_at_the_next_look(hpsearch: Hpsearch) -> None:
    Path("spec.yaml").write_text(SPEC)
    command = ["-m", "hpsearch", "run", "spec.yaml", "--ray", "none"]
    begin(Database(URL), num_trials=0, spec=a_spec("other"))  # for the file to be there
    live, counts = LiveStorage(URL), [0]
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if len(live.get_all_studies()) == 2:
                counts.append(measured(live))
            time.sleep(0.2)
    assert process.returncode == 0
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert measured(live) == len(connect(URL).curves(2))
    assert live.get_study_user_attrs(2)["state"] == "complete"
    assert without_ids(live.get_all_trials(2)) == without_ids(LiveStorage(URL).get_all_trials(2))


def measured(live: LiveStorage) -> int:
    return sum(len(trial.intermediate_values) for trial in live.get_all_trials(2))

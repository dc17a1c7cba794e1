"""Searches as Optuna studies and back: what Optuna reads of ours, what we read of Optuna's."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import optuna
import pytest
from command_line import Hpsearch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState, create_trial
from stored_searches import a_report, a_stage, begin

from hpsearch import connect
from hpsearch.storage.database import Database

STUDIES = "sqlite:///studies.db"


def exported(url: str = "sqlite:///hpsearch.db") -> None:
    """A search with one trial of each end, in the database of the folder."""
    database = Database(url)
    writer = begin(database, num_trials=4)
    whole, pruned, failed, _ = writer.ids
    repository, lease = writer.repository, writer.lease
    repository.commit_report(lease, a_report(1, {whole: 0.5, pruned: 0.4, failed: 0.1}))
    repository.commit_report(lease, a_report(2, {pruned: 0.3}, "pruned"))
    lost = {"failure_kind": "diverged", "failure_message": "the loss is not finite"}
    repository.commit_report(lease, a_report(2, {failed: math.nan}, "failed", **lost))
    repository.commit_report(lease, a_report(2, {whole: 0.75}, "complete"))
    wider = a_stage(1, name="coarse-expand-1", kind="expand")
    rate = wider.branches[0].parameters["learning_rate"].model_copy(update={"high": 10.0})
    parameters = {**wider.branches[0].parameters, "learning_rate": rate}
    widened = wider.branches[0].model_copy(update={"parameters": parameters})
    repository.open_stage(lease, a_stage(1, kind="expand", branches=(widened,)), [])
    repository.release(lease, "stopped")
    database.close()


def test_a_search_becomes_a_study_with_its_values_states_and_attributes(hpsearch: Hpsearch) -> None:
    exported()
    code, out, err = hpsearch("export", "digits", "--optuna", STUDIES)
    assert (code, err) == (0, "")
    assert out == f"3 trials of digits are in the study digits of {STUDIES}\n"
    study = optuna.load_study(study_name="digits", storage=STUDIES)
    assert study.direction.name == "MAXIMIZE"
    assert study.metric_names == ["val_accuracy"]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    whole, pruned, failed = study.trials
    assert whole.intermediate_values == {1: 0.5, 2: 0.75}
    assert pruned.intermediate_values == {1: 0.4, 2: 0.3}
    assert (whole.value, failed.value) == (0.75, None)
    assert whole.user_attrs["stage"] == "coarse"
    assert whole.user_attrs["branch"] == "optimizer=sgd"
    assert [t.user_attrs["number"] for t in study.trials] == [0, 1, 2]
    assert failed.user_attrs["failure_kind"] == "diverged"
    assert whole.params["learning_rate"] == 1e-3
    assert whole.params["hidden_units"] == "[64, 32]"
    assert whole.distributions["learning_rate"] == FloatDistribution(1e-6, 10.0, log=True)
    assert whole.distributions["batch_size"] == CategoricalDistribution((32, 64))
    assert whole.distributions["hidden_units"].choices == ("[50]", "[64, 32]")
    assert whole.duration.total_seconds() == pytest.approx(1.0)


def test_optunas_own_frame_and_importances_read_it(hpsearch: Hpsearch) -> None:
    exported()
    hpsearch("export", "digits", "--optuna", STUDIES, "--study", "named")
    study = optuna.load_study(study_name="named", storage=STUDIES)
    assert study.trials_dataframe()["user_attrs_stage"].tolist() == ["coarse"] * 3
    for rate in (1e-2, 1e-3, 1e-4):
        study.add_trial(
            create_trial(
                params={**study.trials[0].params, "learning_rate": rate},
                distributions=study.trials[0].distributions,
                value=rate,
            )
        )
    importances = optuna.importance.get_param_importances(study)
    assert next(iter(importances)) == "learning_rate"


def test_a_study_that_is_there_is_left_alone(hpsearch: Hpsearch) -> None:
    exported()
    hpsearch("export", "digits", "--optuna", STUDIES)
    code, _, err = hpsearch("export", "digits", "--optuna", STUDIES)
    assert code == 1
    assert "there is one called digits already: give another name with --study" in err
    assert hpsearch("export", "digits", "--optuna", STUDIES, "--study", "again")[0] == 0


def test_our_database_and_another_programs_are_refused_and_unchanged(hpsearch: Hpsearch) -> None:
    exported()
    before = Path("hpsearch.db").read_bytes()
    for words in (("export", "digits"), ("import",)):
        code, _, err = hpsearch(*words, "--optuna", "sqlite:///hpsearch.db")
        assert code == 1
        assert "must not be in a database of hpsearch, whose tables have the same names" in err
        assert "give it a database of its own" in err
    assert Path("hpsearch.db").read_bytes() == before
    with sqlite3.connect("other.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    code, _, err = hpsearch("export", "digits", "--optuna", "sqlite:///other.db")
    assert code == 1
    assert "has tables of another program" in err


def test_so_is_ours_on_a_server(hpsearch: Hpsearch, postgresql_url: str) -> None:
    exported(postgresql_url)
    code, _, err = hpsearch("export", "digits", "--db", postgresql_url, "--optuna", postgresql_url)
    assert code == 1
    assert "must not be in a database of hpsearch" in err


def test_a_study_may_be_on_a_server(hpsearch: Hpsearch, postgresql_url: str) -> None:
    exported()
    assert hpsearch("export", "digits", "--optuna", postgresql_url)[0] == 0
    code, _, err = hpsearch("import", "--optuna", postgresql_url, "--name", "back")
    assert (code, err) == (0, "")
    assert list(connect().trials("back")["state"]) == ["complete", "pruned", "failed"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///none.db", "there is no Optuna study in sqlite:///none.db: correct --optuna"),
        ("nonsense", "must be one that Optuna opens, but nonsense is not"),
        ("postgresql://me:secret@127.0.0.1:9/x", "must be one that Optuna opens"),
    ],
)
def test_a_database_without_studies_is_told_in_a_sentence(
    url: str, said: str, hpsearch: Hpsearch
) -> None:
    code, _, err = hpsearch("import", "--optuna", url)
    assert code == 1
    assert said in err
    assert "secret" not in err
    assert err.count("\n") == 1
    assert not Path("none.db").exists()


def objective(trial: Trial) -> float:
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    if optimizer == "sgd":
        trial.suggest_float("momentum", 0.0, 0.9, step=0.1)
    trial.suggest_int("epochs", 1, 3 + trial.number)  # its range changes, its name is ours
    for step in range(3):
        trial.report(rate * (3 - step), step)
    if trial.number == 2:
        raise optuna.TrialPruned
    if trial.number == 3:
        raise ZeroDivisionError
    return math.inf if trial.number == 4 else rate


@pytest.fixture
def studied(hpsearch: Hpsearch) -> optuna.Study:
    study = optuna.create_study(
        storage=STUDIES, study_name="earlier", sampler=optuna.samplers.RandomSampler(seed=3)
    )
    study.optimize(objective, n_trials=8, catch=(ZeroDivisionError,))
    study.ask()  # one that has not ended
    return study


def test_a_study_becomes_a_search(hpsearch: Hpsearch, studied: optuna.Study) -> None:
    code, out, err = hpsearch("import", "--optuna", STUDIES)
    assert (code, err) == (0, "")
    assert out == "search earlier (id 1) is stored: `hpsearch best earlier`\n"
    db = connect()
    trials = db.trials("earlier").set_index("number")
    assert len(trials) == 8
    assert (
        trials["state"].tolist()
        == ["complete"] * 2 + ["pruned", "failed", "failed"] + ["complete"] * 3
    )
    assert trials["failure_kind"].dropna().tolist() == ["error", "diverged"]
    for number, trial in enumerate(studied.trials[:8]):
        assert trials["rate"][number] == trial.params["rate"]
        assert trials["epochs_"][number] == trial.params["epochs"]
        assert trials["branch"][number] == f"optimizer={trial.params['optimizer']}"
        if trial.state == TrialState.COMPLETE and math.isfinite(trial.value):
            assert trials["value"][number] == trial.value
    assert trials["value"][2] == pytest.approx(studied.trials[2].params["rate"])
    assert trials["momentum"].isna().sum() == sum("momentum" not in t.params for t in studied.trials[:8])  # fmt: skip # noqa: E501
    curves = db.curves("earlier").query("number == 0")
    assert curves["epoch"].tolist() == [1, 2, 3]
    assert curves["value"].tolist() == [*studied.trials[0].intermediate_values.values()]
    (search,) = db.searches().to_dict("records")
    assert (search["state"], search["metric"], search["mode"]) == ("complete", "value", "min")
    assert search["best"] == studied.best_value
    stages = db.stages("earlier").query("branch == 'optimizer=sgd'").set_index("parameter")
    assert stages["high"].to_dict() == {"rate": 0.1, "momentum": 0.9, "epochs_": 10.0}
    assert "momentum" not in set(db.stages("earlier").query("branch == 'optimizer=adam'")["parameter"])  # fmt: skip # noqa: E501


def test_what_was_imported_can_be_exported_and_is_equal(
    hpsearch: Hpsearch, studied: optuna.Study
) -> None:
    hpsearch("import", "--optuna", STUDIES)
    hpsearch("export", "earlier", "--optuna", STUDIES, "--study", "back")
    back = optuna.load_study(study_name="back", storage=STUDIES)
    for one, other in zip(studied.trials[:8], back.trials, strict=True):
        assert one.params == {n.removesuffix("_"): v for n, v in other.params.items()}
        assert [*one.intermediate_values.values()] == [*other.intermediate_values.values()]
        if one.state == TrialState.COMPLETE and math.isfinite(one.value):
            assert (one.state, one.value) == (other.state, other.value)
    assert back.trials[0].distributions["epochs_"] == IntDistribution(1, 10)


def test_every_command_that_reads_reads_it(hpsearch: Hpsearch, studied: optuna.Study) -> None:
    hpsearch("import", "--optuna", STUDIES)
    for words in ("best", "trials", "curves", "stages", "status", "diagnose"):
        code, _, err = hpsearch(words, "earlier")
        assert (code, err) == (0, ""), words
    code, out, _ = hpsearch("list")
    assert code == 0
    assert "earlier" in out


def test_it_can_be_called_otherwise_and_its_objective_too(
    hpsearch: Hpsearch, studied: optuna.Study
) -> None:
    code, *_ = hpsearch("import", "--optuna", STUDIES, "--name", "other", "--metric", "val_loss")
    assert code == 0
    curves = connect().curves("other")
    assert curves["val_loss"].notna().all()
    assert curves["value"].isna().all()


def test_which_study_must_be_clear(hpsearch: Hpsearch, studied: optuna.Study) -> None:
    optuna.create_study(storage=STUDIES, study_name="two", directions=["minimize", "maximize"])
    optuna.create_study(storage=STUDIES, study_name="empty")
    said = {
        (): "the database has the studies earlier, two, empty; name one of them with --study",
        ("--study", "x"): "not x: name one of them with --study",
        ("--study", "two"): "must have one objective to be imported, but two has 2",
        ("--study", "empty"): "must have a trial that has ended, but empty has none",
        ("--study", "earlier", "--name", "7"): "the name of a search must be a letter",
    }
    for words, sentence in said.items():
        code, _, err = hpsearch("import", "--optuna", STUDIES, *words)
        assert code == 1
        assert sentence in err
    assert not Path("hpsearch.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("export", "x"),
        ("export", "x", "-o", "f", "--optuna", STUDIES),
        ("export", "x", "--optuna", STUDIES, "--trial", "1"),
        ("export", "x", "-o", "f", "--study", "s"),
        ("import",),
        ("import", "--optuna", STUDIES, "--ray-results", "f"),
        ("import", "--optuna", STUDIES, "--mode", "min"),
        ("import", "--ray-results", "f"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_wrong_usage(
    words: tuple[str, ...], hpsearch: Hpsearch
) -> None:
    code, _, err = hpsearch(*words)
    assert code == 2
    assert "Error: " in err

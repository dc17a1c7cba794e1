"""Frames: their rows, their order, and the same columns and dtypes whatever is stored."""

from __future__ import annotations

import math
from typing import Literal

import pandas as pd
import pytest
from sqlalchemy import event
from stored_searches import PROVENANCE, SPACE, Writer, a_report, a_spec, a_stage, a_trial, begin

from hpsearch.analysis.frames import Frames
from hpsearch.analysis.layout import BEST, CURVES, DIAGNOSES, SEARCHES, STAGES, TIME, TRIALS, WIDTHS
from hpsearch.coordinator.speeds import Speeds
from hpsearch.spec.reason import Reason
from hpsearch.spec.reserved import RESERVED
from hpsearch.spec.search import Objective, Pruner, Stage
from hpsearch.spec.space import Branch, Choice, Range, Space
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import NewDiagnosis, ReportCommit, RungCommit, SpeedRecord
from hpsearch.storage.repository import Repository
from workers.metrics import OBJECTIVES, WATCHED

PARAMETERS = {
    "learning_rate": "float64",
    "units": "Int64",
    "hidden_units": "object",
    "batch_size": "Int64",
    "nested": "boolean",
    "rate": "float64",
    "optimizer": "category",
    "momentum": "float64",
}


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def finish(writer: Writer, values: dict[int, float], epoch: int = 5) -> None:
    writer.repository.commit_report(writer.lease, a_report(epoch, values, state="complete"))


def continue_trial(writer: Writer, number: int, parent_id: int, epoch: int) -> int:
    """Store a trial that goes on from its parent's ``epoch``; its id."""
    child = a_trial(number, stage_id=writer.stage_id, parent_id=parent_id, start_epoch=epoch)
    (stored,) = writer.repository.add_trials(writer.lease, [child])
    return stored.id


# Columns


def test_the_columns_and_dtypes_do_not_depend_on_the_rows(database: Database) -> None:
    empty = begin(database, num_trials=0).search.id
    writer = begin(database)
    finish(writer, dict.fromkeys(writer.ids, 0.5))
    finding = NewDiagnosis(kind="k", message="m", evidence={}, stage_id=writer.stage_id)
    writer.repository.add_diagnoses(writer.lease, writer.search.id, [finding])
    frames = Frames(writer.repository)
    for read, columns in (
        (frames.trials, {**TRIALS, **PARAMETERS}),
        (frames.best, {**BEST, **PARAMETERS}),
        (frames.curves, CURVES),
        (frames.stages, STAGES),
        (frames.diagnoses, DIAGNOSES),
    ):
        assert dtypes(read(empty)) == columns
        assert dtypes(read(writer.search.id)) == columns
        assert len(read(writer.search.id)) > 0


def test_a_database_without_searches_has_an_empty_frame(database: Database) -> None:
    frame = Frames(Repository(database)).searches()
    assert frame.empty
    assert dtypes(frame) == SEARCHES


def test_no_parameter_may_have_the_name_of_a_column_of_ours() -> None:
    assert {*TRIALS, *BEST} <= set(RESERVED)


def test_an_unknown_search_is_refused(database: Database) -> None:
    with pytest.raises(StorageError, match="no search 'digits'"):
        Frames(Repository(database)).trials("digits")


# Trials and the best of them


def test_trials_have_a_row_each_with_their_params_under_their_own_names(
    database: Database,
) -> None:
    writer = begin(database, num_trials=1)
    params = {"learning_rate": 0.1, "units": 16, "optimizer": "momentum", "momentum": 0.9}
    child = a_trial(
        1,
        stage_id=writer.stage_id,
        branch="optimizer=momentum",
        params={**params, "nested": True, "rate": 0},
        parent_id=writer.ids[0],
        replicate=2,
        seed=2**63 - 1,
    )
    writer.repository.add_trials(writer.lease, [child])
    writer.repository.start_group(writer.lease, writer.ids, "worker-0")
    writer.repository.fail_trials(writer.lease, {writer.ids[0]: ("out_of_memory", "too wide")})
    first, second = Frames(writer.repository).trials("digits").to_dict("records")
    assert (first["state"], first["failure_kind"]) == ("failed", "out_of_memory")
    assert (first["failure_message"], first["worker"]) == ("too wide", "worker-0")
    assert (first["stage"], first["hidden_units"]) == ("coarse", (64, 32))
    assert first["finished_at"] > first["created_at"]
    assert (second["parent"], second["replicate"], second["seed"]) == (
        writer.ids[0],
        2,
        2**63 - 1,
    )
    assert {name: second[name] for name in params} == params
    assert (second["nested"], second["rate"]) == (True, 0.0)
    missing = ("units", "nested", "rate", "momentum", "parent", "value", "best_epoch")
    assert all(pd.isna(first[name]) for name in missing)
    assert pd.isna(second["hidden_units"])


def test_categories_are_those_of_the_spec_even_if_no_trial_has_them(database: Database) -> None:
    frame = Frames(begin(database).repository).trials("digits")
    assert list(frame["optimizer"].cat.categories) == ["sgd", "momentum"]


@pytest.mark.parametrize(("mode", "order"), [("max", [3, 1, 2, 0]), ("min", [0, 1, 2, 3])])
def test_the_best_come_first_and_ties_by_number(
    database: Database, mode: str, order: list[int]
) -> None:
    spec = a_spec(objective=Objective(metric="val_loss", mode=mode))  # type: ignore[arg-type]
    writer = begin(database, spec=spec)
    finish(writer, dict(zip(writer.ids, (-math.inf, 0.5, 0.5, 0.7), strict=True)))
    frames = Frames(writer.repository)
    assert list(frames.best("digits")["number"]) == order
    assert list(frames.best(writer.search.id, n=2)["number"]) == order[:2]
    assert frames.best("digits", n=0).empty


def test_only_complete_trials_with_a_value_are_among_the_best(database: Database) -> None:
    writer = begin(database, num_trials=5)
    complete, nan, failed, running, _ = writer.ids
    finish(writer, {complete: 0.1, nan: math.nan})
    writer.repository.commit_report(writer.lease, a_report(1, {failed: 0.9, running: 0.9}))
    writer.repository.fail_trials(writer.lease, {failed: ("error", "x")})
    assert list(Frames(writer.repository).best("digits")["trial"]) == [complete]


def test_a_trial_that_another_continues_is_not_listed_but_one_that_is_repeated_is(
    database: Database,
) -> None:
    writer = begin(database, num_trials=2)
    continued, repeated = writer.ids
    child = continue_trial(writer, 2, continued, epoch=5)
    repeat = a_trial(3, stage_id=writer.stage_id, parent_id=repeated, replicate=1)
    writer.repository.add_trials(writer.lease, [repeat])
    finish(writer, {continued: 0.9, repeated: 0.8, child: 0.7})
    assert list(Frames(writer.repository).best("digits")["trial"]) == [repeated, child]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_list_of_searches_says_of_each_what_best_says(
    database: Database, mode: Literal["max", "min"]
) -> None:
    """Over seeds where trials were repeated; else neither repeats nor what was continued."""
    objective = Objective(metric="val_loss" if mode == "min" else "val_accuracy", mode=mode)
    repeated = begin(database, num_trials=3, spec=a_spec("repeated", objective=objective))
    confirm, _ = repeated.repository.open_stage(repeated.lease, a_stage(1, kind="confirm"), [])
    of = [(repeated.ids[place], seed) for place in (0, 1) for seed in (1, 2)]
    new = [
        a_trial(3 + n, stage_id=confirm.id, parent_id=parent, replicate=seed)
        for n, (parent, seed) in enumerate(of)
    ]
    added = repeated.repository.add_trials(repeated.lease, new)
    values = (0.9, 0.8, 0.95, 0.7, 0.6, 0.5, 0.4)
    ids = [*repeated.ids, *(trial.id for trial in added)]
    finish(repeated, dict(zip(ids, values, strict=True)))
    continued = begin(database, num_trials=2, spec=a_spec("continued", objective=objective))
    child = a_trial(2, stage_id=continued.stage_id, parent_id=continued.ids[0], start_epoch=2)
    (failed,) = continued.repository.add_trials(continued.lease, [child])
    finish(continued, {continued.ids[0]: 0.9 if mode == "max" else 0.1, continued.ids[1]: 0.5})
    continued.repository.fail_trials(continued.lease, {failed.id: ("error", "x")})
    frames = Frames(repeated.repository)
    told = [frames.best(name, n=1)["mean"][0] for name in ("repeated", "continued")]
    assert told == pytest.approx([0.65 if mode == "max" else 0.45, 0.5])
    assert list(frames.searches()["best"]) == told


def test_the_best_are_found_through_the_index(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    writer = begin(database)
    asked: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, *rest):  # type: ignore[no-untyped-def]
        asked.append((statement, parameters))

    Frames(writer.repository).best("digits")
    statement, parameters = next(ask for ask in asked if "ORDER BY trials.value" in ask[0])
    with database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps = " | ".join(row[3] for row in plan)
    assert "ix_trials_search_id_value" in steps
    assert "SCAN" not in steps


def test_what_was_repeated_is_found_through_its_stage(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    writer = begin(database)
    asked: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, *rest):  # type: ignore[no-untyped-def]
        asked.append((statement, parameters))

    Frames(writer.repository).best("digits")
    statement, parameters = next(ask for ask in asked if "WITH repeats" in ask[0])
    with database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps = " | ".join(row[3] for row in plan)
    assert "SEARCH trials USING INDEX ix_trials_stage_id" in steps


# Curves


def test_a_continued_trial_has_the_epochs_of_its_ancestors_under_its_own_id(
    database: Database,
) -> None:
    writer = begin(database, num_trials=1)
    (first,) = writer.ids
    for epoch in (1, 2, 3):  # epoch 3 came after the checkpoint that the next one starts from
        writer.repository.commit_report(writer.lease, a_report(epoch, {first: epoch / 10}))
    second = continue_trial(writer, 1, first, epoch=2)
    for epoch in (3, 4):
        writer.repository.commit_report(writer.lease, a_report(epoch, {second: epoch / 100}))
    third = continue_trial(writer, 2, second, epoch=4)
    writer.repository.commit_report(writer.lease, a_report(5, {third: math.nan}))
    curves = Frames(writer.repository).curves("digits")
    found = {
        trial: list(zip(rows["epoch"], rows["val_accuracy"], strict=True))
        for trial, rows in curves.groupby("trial", sort=False)
    }
    inherited = [(1, 0.1), (2, 0.2), (3, 0.03), (4, 0.04)]
    assert found[first] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert found[second] == inherited
    assert found[third][:4] == inherited
    assert found[third][4][0] == 5
    assert math.isnan(found[third][4][1])


def test_curves_have_every_metric_in_its_own_column_and_lists_of_layers_and_folds(
    database: Database,
) -> None:
    writer = begin(database, num_trials=2)
    first, second = writer.ids
    numbers = {name: float(place) for place, name in enumerate([*OBJECTIVES, *WATCHED])}
    rows = [
        {
            "trial_id": first,
            **numbers,
            "layer_gradient_norms": [0.5, math.inf, math.nan],
            "by_fold": [0.25, 1.0],
        },
        {"trial_id": second},
    ]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=rows, progress=()))
    curves = Frames(writer.repository).curves("digits")
    assert {name: curves[name][0] for name in numbers} == numbers
    assert curves[list(numbers)].loc[1].isna().all()
    assert isinstance(curves["layer_gradient_norms"][0], list)
    assert str(curves["layer_gradient_norms"][0]) == "[0.5, inf, nan]"
    assert curves["layer_gradient_norms"][1] is pd.NA
    assert list(curves["by_fold"]) == [[0.25, 1.0], pd.NA]
    assert curves["by_fold"].list[1][0] == 1.0  # of the second fold


def test_metrics_of_ones_own_are_columns_of_curves(database: Database) -> None:
    given = {"objective": Objective(metric="b", mode="max"), "metrics": {"b": "m:b", "a": "m:a"}}
    writer = begin(database, num_trials=2, spec=a_spec(**given))
    first, second = writer.ids
    rows = [{"trial_id": first, "value": 0.5, "others": {"a": math.nan}}, {"trial_id": second}]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=rows, progress=()))
    rows = [{"trial_id": first, "value": 0.75, "others": {"a": 2.0}}]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=2, metrics=rows, progress=()))
    curves = Frames(writer.repository).curves("digits")
    assert list(curves.columns[-2:]) == ["b", "a"]
    assert str(curves["b"].tolist()) == "[0.5, 0.75, nan]"
    assert str(curves["a"].tolist()) == "[nan, 2.0, nan]"
    assert "others" not in curves


def test_a_pruned_trial_has_its_epochs_and_is_not_among_the_best(database: Database) -> None:
    writer = begin(database, num_trials=2)
    pruned, kept = writer.ids
    writer.repository.commit_report(writer.lease, a_report(1, {pruned: 0.9, kept: 0.1}, "waiting"))
    decision = RungCommit(pruned=(pruned,), kept={kept: (1, 5)}, data={})
    writer.repository.decide_rung(writer.lease, decision)
    finish(writer, {kept: 0.2})
    frames = Frames(writer.repository)
    rows = frames.trials("digits").set_index("trial")
    assert dict(rows["state"]) == {pruned: "pruned", kept: "complete"}
    assert dict(rows["value"]) == {pruned: 0.9, kept: 0.2}
    assert rows["finished_at"].notna().all()
    assert list(frames.curves("digits")["trial"]) == [pruned, kept, kept]
    assert list(frames.best("digits")["trial"]) == [kept]
    assert list(frames.status("digits")["pruned"]) == [1]


def test_a_stage_runs_only_while_its_search_does(database: Database) -> None:
    writer, frames = begin(database), Frames(Repository(database))
    assert list(frames.status("digits")["state"]) == ["running"]
    writer.repository.release(writer.lease, "stopped")
    assert list(frames.status("digits")["state"]) == ["stopped"]
    assert frames.status("digits").dtypes["state"] == "category"


def test_a_trial_of_folds_has_its_spread_beside_its_value(database: Database) -> None:
    writer = begin(database, num_trials=2)
    folded, plain = writer.ids
    report = a_report(5, {folded: 0.9}, state="complete", spread=0.03)
    writer.repository.commit_report(writer.lease, report)
    finish(writer, {plain: 0.8})
    best = Frames(writer.repository).best("digits").set_index("trial")
    assert best["spread"][folded] == 0.03
    assert math.isnan(best["spread"][plain])


@pytest.mark.parametrize(
    ("choices", "dtype"),
    [
        ((None, 0.5), "float64"),
        ((None, "mse"), "category"),
        ((True, False), "boolean"),
        ((None, 3), "Int64"),
        (((1.0, 0.5), ()), "object"),
        ((None,), "object"),
    ],
)
def test_a_choice_of_nothing_is_missing_and_changes_no_dtype(
    sqlite_url: str, choices: tuple[object, ...], dtype: str
) -> None:
    space = Space(parameters={"parameter": Choice(choices=choices)})
    writer = begin(Database(sqlite_url), num_trials=0, spec=a_spec(space=space))
    drawn = [
        a_trial(number, stage_id=writer.stage_id, params={"parameter": choice})
        for number, choice in enumerate(choices)
    ]
    writer.repository.add_trials(writer.lease, drawn)
    column = Frames(writer.repository).trials("digits")["parameter"]
    assert str(column.dtype) == dtype
    assert list(column.astype(object).where(column.notna(), None)) == list(choices)


def test_a_repeated_trial_has_its_own_epochs_only(database: Database) -> None:
    writer = begin(database, num_trials=1)
    (first,) = writer.ids
    finish(writer, {first: 0.5}, epoch=1)
    repeat = a_trial(1, stage_id=writer.stage_id, parent_id=first, replicate=1)
    writer.repository.add_trials(writer.lease, [repeat])
    assert list(Frames(writer.repository).curves("digits")["trial"]) == [first]


# Stages, diagnoses, searches


def reason(branch: str, parameter: str | None, action: str, words: str) -> Reason:
    return Reason(
        branch=branch, parameter=parameter, action=action, old=0, new=1, text=words, evidence={}
    )


def test_stages_have_a_row_per_branch_and_parameter_with_range_and_reasons(
    database: Database,
) -> None:
    writer = begin(database, num_trials=0)
    rate = Range(kind="log_uniform", low=1e-4, high=1e-2)
    size = Choice(choices=(32, 64))
    branch = Branch(key="a", parameters={"rate": rate, "size": size}, trials=7)
    stage = a_stage(
        1,
        name="fine",
        epochs=20,
        sampler="gp",
        branches=(branch, Branch(key="b", trials=3)),
        reasons=(
            reason("a", "rate", "narrowed", "the best lie low"),
            reason("a", "rate", "stability_edge", "above, trials diverge"),
            reason("a", None, "allocated", "it is promising"),
            reason("c", None, "dropped", "it is far behind"),
        ),
    )
    writer.repository.open_stage(writer.lease, stage, [])
    frame = Frames(writer.repository).stages("digits")
    fine = frame[frame["stage"] == "fine"].astype(object)
    rows = fine.where(fine.notna(), None).drop(
        columns=["stage", "kind", "epochs", "sampler", "pruner"]
    )
    both = "the best lie low; above, trials diverge"
    assert rows.values.tolist() == [
        ["a", "rate", 1e-4, 1e-2, None, "narrowed, stability_edge", both, 7],
        ["a", "size", None, None, (32, 64), None, None, 7],
        ["a", None, None, None, None, "allocated", "it is promising", 7],
        ["b", None, None, None, None, None, None, 3],
        ["c", None, None, None, None, "dropped", "it is far behind", 0],
    ]
    assert set(fine["sampler"]) == {"gp"}
    assert set(fine["epochs"]) == {20}
    opened = frame[frame["stage"] == "coarse"]
    assert len(opened) == sum(len(branch.parameters) for branch in SPACE.branches())


def test_stages_name_the_pruner_of_the_spec_and_so_do_those_that_extend_them(
    database: Database,
) -> None:
    coarse = Stage(name="coarse", trials=4, epochs=5, pruner=Pruner(name="hyperband"))
    confirm = Stage(name="confirm", kind="confirm", top=2, seeds=2)
    writer = begin(database, num_trials=0, spec=a_spec(stages=(coarse, confirm)))
    for position, (name, kind, planned) in enumerate(
        [("coarse-expand-1", "expand", 0), ("confirm", "confirm", 1)], start=1
    ):
        stage = a_stage(position, name=name, kind=kind, planned=planned)
        writer.repository.open_stage(writer.lease, stage, [])
    frame = Frames(writer.repository).stages("digits").drop_duplicates("stage")
    pruners = frame["pruner"].astype(object).where(frame["pruner"].notna(), None).to_list()
    assert pruners == ["hyperband", "hyperband", None]


def test_a_stage_without_branches_has_a_row(database: Database) -> None:
    writer = begin(database, num_trials=0)
    confirm = a_stage(1, name="confirm", kind="confirm", branches=())
    writer.repository.open_stage(writer.lease, confirm, [])
    assert list(Frames(writer.repository).stages("digits")["stage"])[-1] == "confirm"


def test_diagnoses_name_their_trial_and_stage(database: Database) -> None:
    writer = begin(database)
    found = [
        NewDiagnosis(kind="border", message="m", evidence={"a": (1,)}, stage_id=writer.stage_id),
        NewDiagnosis(kind="dead", message="n", evidence={}, trial_id=writer.ids[1]),
    ]
    writer.repository.add_diagnoses(writer.lease, writer.search.id, found)
    border, dead = Frames(writer.repository).diagnoses("digits").to_dict("records")
    assert (border["stage"], border["evidence"]) == ("coarse", {"a": (1,)})
    assert pd.isna(border["number"])
    assert pd.isna(border["trial"])
    assert (dead["number"], dead["trial"], dead["kind"]) == (1, writer.ids[1], "dead")


def test_every_frame_about_trials_begins_with_their_number(database: Database) -> None:
    frames = Frames(begin(database).repository)
    for read in (frames.trials, frames.best, frames.curves, frames.diagnoses):
        assert read("digits").columns[0] == "number"


def test_widths_have_their_speed_a_row_and_the_best_of_each_kind_and_device(
    database: Database,
) -> None:
    writer = begin(database)
    frames = Frames(writer.repository)
    assert dtypes(frames.widths()) == WIDTHS
    steps = {  # the wider of two that are alike is the best, as for the coordinator
        ("cnn", "cpu"): {1: 0.1, 4: 0.5},
        ("mlp", "cpu"): {1: 0.5, 4: 0.4, 16: 1.6, 64: 12.8},
        ("mlp", "cuda"): {64: 0.64},
    }
    speeds = tuple(
        SpeedRecord(kind=kind, device=device, width=width, seconds=seconds, bytes=2**33)
        for (kind, device), steps_of in steps.items()
        for width, seconds in steps_of.items()
    )
    commit = ReportCommit(epoch=1, metrics=[], progress=(), speeds=speeds)
    writer.repository.commit_report(writer.lease, commit)
    frame = frames.widths()
    assert dtypes(frame) == WIDTHS
    assert len(frame) == len(speeds)
    best = frame[frame["best"]].set_index(["kind", "device"])
    assert best["width"].to_dict() == {("cnn", "cpu"): 1, ("mlp", "cpu"): 16, ("mlp", "cuda"): 64}
    known = Speeds()
    known.add(speeds)
    assert all(known.best(*place).width == width for place, width in best["width"].items())
    assert best["seconds_per_row"].to_dict() == pytest.approx(
        {("cnn", "cpu"): 0.1, ("mlp", "cpu"): 0.1, ("mlp", "cuda"): 0.01}
    )
    assert set(frame["bytes"]) == {2**33}
    assert frame["measured_at"].notna().all()


def test_searches_have_their_counts_and_the_best_value_in_their_direction(
    database: Database,
) -> None:
    objective = Objective(metric="val_loss", mode="min")
    writer = begin(database, num_trials=7, spec=a_spec("low", objective=objective, seed=3))
    finish(writer, dict(zip(writer.ids[:3], (0.5, 0.2, math.nan), strict=True)))
    writer.repository.fail_trials(writer.lease, {writer.ids[3]: ("error", "x")})
    ended = RungCommit(pruned=tuple(writer.ids[4:6]), kept={}, data={})
    writer.repository.decide_rung(writer.lease, ended)
    other = begin(database, num_trials=2, spec=a_spec("high"))
    finish(other, dict(zip(other.ids, (0.5, 0.2), strict=True)))
    writer.repository.create_search(a_spec("new"), PROVENANCE)
    frame = Frames(writer.repository).searches().set_index("name")
    assert list(frame.index) == ["low", "high", "new"]
    assert frame["best"].to_list()[:2] == [0.2, 0.5]
    assert math.isnan(frame["best"]["new"])
    counts = frame[["trials", "complete", "pruned", "failed"]].to_numpy().tolist()
    assert counts == [[7, 3, 2, 1], [2, 2, 0, 0], [0, 0, 0, 0]]
    assert (frame["seed"]["low"], frame["user"]["low"]) == (3, "me")
    assert str(frame["created_at"].dtype) == TIME

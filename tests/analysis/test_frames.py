"""Frames: their rows, their order, and the same columns and dtypes whatever is stored."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from stored_searches import PROVENANCE, SPACE, a_spec, a_stage, begin, finish

from hpsearch.analysis.frames import Frames
from hpsearch.analysis.layout import BEST, CURVES, DIAGNOSES, SEARCHES, STAGES, TIME, TRIALS, WIDTHS
from hpsearch.coordinator.speeds import Speeds
from hpsearch.spec.reason import Reason
from hpsearch.spec.reserved import RESERVED
from hpsearch.spec.search import Objective, Pruner, Stage
from hpsearch.spec.space import Branch, Choice, Range
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import NewDiagnosis, ReportCommit, RungCommit, SpeedRecord
from hpsearch.storage.repository import Repository

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


def test_a_stage_runs_only_while_its_search_does(database: Database) -> None:
    writer, frames = begin(database), Frames(Repository(database))
    assert list(frames.status("digits")["state"]) == ["running"]
    writer.repository.release(writer.lease, "stopped")
    assert list(frames.status("digits")["state"]) == ["stopped"]
    assert frames.status("digits").dtypes["state"] == "category"


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

"""Reading a part of a search: filters, columns and pieces give what pandas takes from the whole."""

from __future__ import annotations

import io
import json
import math
import sqlite3
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import event
from stored_searches import PARAMS, Writer, a_report, a_stage, a_trial, begin

from hpsearch.analysis.frames import Frames
from hpsearch.errors import HpsearchError
from hpsearch.storage import numbers
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import ReportCommit


@pytest.fixture
def writer(database: Database) -> Writer:
    """Two stages: 6 trials of 1 to 6 epochs, and 3 of which the first continues one of them."""
    writer = begin(database, num_trials=0)
    drawn = [
        a_trial(
            number,
            stage_id=writer.stage_id,
            branch=f"optimizer={optimizer}",
            params={**PARAMS, "learning_rate": 10.0**-number, "optimizer": optimizer},
        )
        for number, optimizer in enumerate(["sgd", "momentum", "sgd", "sgd", "momentum", "sgd"])
    ]
    first = [t.id for t in writer.repository.add_trials(writer.lease, drawn)]
    fine = a_stage(1, name="fine", epochs=9)
    stage, _ = writer.repository.open_stage(writer.lease, fine, [])
    begun = {"parent_id": first[2], "start_epoch": 3, "epochs": 3}
    later = [a_trial(6, stage_id=stage.id, **begun)]
    later += [a_trial(number, stage_id=stage.id) for number in (7, 8)]
    second = [t.id for t in writer.repository.add_trials(writer.lease, later)]
    for epoch in range(1, 7):
        values = {id: epoch + id / 100 for id in first if first.index(id) + 1 >= epoch}
        ends = {id: value for id, value in values.items() if first.index(id) + 1 == epoch}
        writer.repository.commit_report(writer.lease, a_report(epoch, values))
        writer.repository.commit_report(writer.lease, a_report(epoch, ends, state="complete"))
    writer.repository.commit_report(writer.lease, a_report(4, {second[0]: 0.5}))
    writer.repository.fail_trials(writer.lease, {second[1]: ("diverged", "x")})
    return writer


FILTERS = {
    "state": ({"state": "complete"}, "state == 'complete'"),
    "states": ({"state": ["failed", "running"]}, "state in ['failed', 'running']"),
    "stage": ({"stage": "fine"}, "stage == 'fine'"),
    "where": (
        {"where": "value > 2 AND learning_rate < 0.01"},
        "value > 2 and learning_rate < 0.01",
    ),
    "text": ({"where": "optimizer = 'momentum' -- the better"}, "optimizer == 'momentum'"),
    "percent": ({"where": "branch LIKE '%sgd'"}, "branch.str.endswith('sgd')"),
    "all": (
        {"state": "complete", "stage": ["coarse", "fine"], "where": "trial > 0 AND number < 3"},
        "state == 'complete' and number < 3",
    ),
    "none": ({"where": "number > 100"}, "number > 100"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_give_what_pandas_takes_from_the_whole(writer: Writer, name: str) -> None:
    given, query = FILTERS[name]
    frames = Frames(writer.repository)
    whole = frames.trials("digits")
    expected = whole.query(query, engine="python").reset_index(drop=True)
    assert bool(len(expected)) == (name != "none")
    found = frames.trials("digits", **given)
    assert found["number"].tolist() == expected["number"].tolist()
    curves = frames.curves("digits")
    of_them = curves[curves["number"].isin(expected["number"])].reset_index(drop=True)
    assert_frame_equal(frames.curves("digits", **given), of_them)


@pytest.mark.parametrize("chunksize", [1, 3, 4, 7, 100])
def test_pieces_together_are_the_whole(writer: Writer, chunksize: int) -> None:
    frames = Frames(writer.repository)
    pieces = list(frames.iter_trials("digits", chunksize))
    assert [len(piece) for piece in pieces[:-1]] == [chunksize] * (len(pieces) - 1)
    whole = frames.trials("digits")
    together = pd.concat(pieces, ignore_index=True)
    assert together["number"].tolist() == whole["number"].tolist()
    curves = list(frames.iter_curves("digits", chunksize))
    assert_frame_equal(pd.concat(curves, ignore_index=True), frames.curves("digits"))
    of_one = [piece["number"].nunique() == 1 for piece in curves]
    assert all(len(p) <= chunksize or one for p, one in zip(curves, of_one, strict=True))
    assert len(curves) == {1: 7, 3: 6, 4: 6, 7: 5, 100: 1}[chunksize]  # whole trials


def test_of_the_metrics_only_those_that_are_named_are_read(writer: Writer) -> None:
    frames = Frames(writer.repository)
    found = frames.curves("digits", columns=["val_loss", "number", "by_fold"])
    names = ["number", "trial", "epoch", "val_loss", "by_fold"]
    assert list(found.columns) == names
    assert_frame_equal(found, frames.curves("digits")[names])


def test_columns_that_only_later_rows_fill_are_read_too(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = int(Frames(writer.repository).trials("digits")["trial"].iloc[6])
    late = {"trial_id": last, "val_mae": 0.5, "by_fold": [0.25, math.nan]}
    report = ReportCommit(epoch=9, metrics=[late], progress=())
    writer.repository.commit_report(writer.lease, report)
    whole = Frames(writer.repository).curves("digits")
    row = whole[whole["val_mae"].notna()].iloc[0]
    assert (row["trial"], row["epoch"], row["val_mae"]) == (last, 9, 0.5)
    assert str(row["by_fold"]) == "[0.25, nan]"
    monkeypatch.setattr(numbers, "SAMPLE", 1)
    assert_frame_equal(Frames(writer.repository).curves("digits"), whole)


def test_lists_are_written_to_csv_to_the_last_digit(writer: Writer) -> None:
    norms = [0.1234567890123456 + i for i in range(3000)]
    last = int(Frames(writer.repository).trials("digits")["trial"].iloc[6])
    row = {"trial_id": last, "layer_gradient_norms": norms}
    report = ReportCommit(epoch=9, metrics=[row], progress=())
    writer.repository.commit_report(writer.lease, report)
    written = io.StringIO(Frames(writer.repository).curves("digits").to_csv())
    found = pd.read_csv(written)["layer_gradient_norms"].dropna()
    assert json.loads(found.iloc[0]) == norms


@pytest.mark.parametrize("given", [math.nan, None])
def test_what_only_a_later_row_has_is_read(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, given: float | None
) -> None:
    """NaN and None in a column of which the sample tells nothing cost one more query."""
    monkeypatch.setattr(numbers, "SAMPLE", 1)
    last = int(Frames(writer.repository).trials("digits")["trial"].iloc[6])
    rows = [{"trial_id": last, "train_loss": given, "val_accuracy": 0.5}]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=9, metrics=rows, progress=()))
    curves = Frames(writer.repository).curves("digits", columns=["train_loss", "val_accuracy"])
    of_it = curves[(curves["trial"] == last) & (curves["epoch"] == 9)]
    assert of_it["train_loss"].isna().tolist() == [True]
    assert of_it["val_accuracy"].tolist() == [0.5]


def limit_of_sqlite(database: Database) -> None:
    @event.listens_for(database.engine, "checkout")
    def limit(connection: Any, *rest: Any) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)


def limit_of_postgresql(database: Database) -> None:
    """Its limit cannot be set: of more than 3 trials the server raises what it does beyond it."""
    error = "DO $$ BEGIN RAISE EXCEPTION 'too long' USING ERRCODE = '54000'; END $$"

    @event.listens_for(database.engine, "before_cursor_execute", retval=True)
    def limit(_: Any, __: Any, statement: str, given: Any, *rest: Any) -> tuple[str, Any]:
        is_many = "string_agg" in statement and any(str(v).count(",") > 2 for v in given.values())
        return (error, {}) if is_many else (statement, given)


def test_lists_that_are_too_long_for_one_value_are_read_in_parts(database: Database) -> None:
    writer = begin(database, num_trials=8)
    for epoch in (1, 2):
        metrics = [{"trial_id": id, "layer_gradient_norms": [float(id)] * 400} for id in writer.ids]
        report = ReportCommit(epoch=epoch, metrics=metrics, progress=())
        writer.repository.commit_report(writer.lease, report)
    limited = {"sqlite": limit_of_sqlite, "postgresql": limit_of_postgresql}
    limited[database.engine.dialect.name](database)
    curves = Frames(writer.repository).curves("digits")
    assert curves["trial"].tolist() == [id for id in writer.ids for _ in range(2)]
    assert [norms[399] for norms in curves["layer_gradient_norms"]] == curves["trial"].tolist()


def test_every_float_comes_back_as_it_was_stored(database: Database) -> None:
    values = [0.1, math.nan, math.inf, -math.inf, None, 5e-324, 1e308, 0.0, 2.0, 1 / 3]
    writer = begin(database, num_trials=len(values))
    rows = [
        {"trial_id": id, "val_loss": value, "train_loss": 1.0}
        for id, value in zip(writer.ids, values, strict=True)
    ]
    writer.repository.commit_report(writer.lease, ReportCommit(epoch=1, metrics=rows, progress=()))
    found = Frames(writer.repository).curves("digits", columns=["val_loss", "train_loss"])
    expected = np.array([math.nan if value is None else value for value in values])
    np.testing.assert_array_equal(found["val_loss"].to_numpy(), expected)
    assert set(found["train_loss"]) == {1.0}


BAD = {
    "state": ({"state": "completed"}, "state must be one that .* did you mean 'complete'"),
    "stage": (
        {"stage": ["coarse", "fin"]},
        "stage must be one that .* did you mean 'fine'",
    ),
    "column": ({"where": "learning_rat < 1"}, "where must .*: did you mean 'learning_rate'"),
    "prefix": ({"where": "best_value > 0.5"}, "where must .*best_value.*: did you mean 'value'"),
    "syntax": ({"where": "number ="}, "where must be a condition"),
    "parentheses": ({"where": "1)) or ((1"}, "where must be a condition"),
    "a parenthesis": ({"where": "1) or (1"}, "where must be a condition"),
    "write": ({"where": "1 = 1); DELETE FROM trials; --"}, "where must be a condition"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_filter_that_cannot_be_is_refused_in_a_sentence(writer: Writer, name: str) -> None:
    given, rule = BAD[name]
    frames = Frames(writer.repository)
    for read in (frames.trials, frames.curves):
        with pytest.raises(StorageError, match=rule) as told:
            read("digits", **given)
        assert "\n" not in str(told.value)
    assert len(frames.trials("digits")) == 9


@pytest.mark.parametrize("pieces", ["iter_trials", "iter_curves"])
def test_pieces_tell_at_the_call_what_is_wrong(writer: Writer, pieces: str) -> None:
    read = getattr(Frames(writer.repository), pieces)
    for given, rule in BAD.values():
        with pytest.raises(StorageError, match=rule):
            read("digits", **given)
    with pytest.raises(StorageError, match="no search 'digit'"):
        read("digit")
    for size in (0, "5", 1.5, True):
        with pytest.raises(HpsearchError, match="chunksize must be a whole number >= 1, but got"):
            read("digits", size)


READS = ("best", "trials", "curves", "stages", "status", "diagnoses", "importance", "events")
NO_SEARCH = (None, 1.5, True, ["digits"], b"digits", pd.DataFrame())
NO_NAMES = (5, 1.5, True, b"fine", ["fine", 1], [None], {1: "fine"}, np.array("fine"))


@pytest.mark.parametrize("read", [*READS, "best_of_n", "iter_trials", "iter_curves"])
def test_what_is_no_search_is_refused_in_a_sentence(writer: Writer, read: str) -> None:
    for given in NO_SEARCH:
        with pytest.raises(StorageError, match="must be given by its name or its id, but") as told:
            getattr(Frames(writer.repository), read)(given)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("what", ["state", "stage", "columns"])
def test_what_are_no_names_is_refused_in_a_sentence(writer: Writer, what: str) -> None:
    frames = Frames(writer.repository)
    for given in NO_NAMES:
        with pytest.raises(HpsearchError, match=f"{what} must be a name or a list of names, but"):
            frames.curves("digits", **{what: given})


def test_other_wrong_types_are_refused_in_a_sentence(writer: Writer) -> None:
    frames = Frames(writer.repository)
    for where in (1, True, ["number < 3"], pd.Series([True])):
        with pytest.raises(HpsearchError, match="where must be a condition in SQL") as told:
            frames.trials("digits", where=where)
        assert "\n" not in str(told.value)
    with pytest.raises(HpsearchError, match="n must be a whole number >= 0, but got None"):
        frames.best("digits", n=None)
    with pytest.raises(StorageError, match=r"must be one SELECT .* but got None"):
        frames.sql(None)


def test_one_name_or_names_of_any_kind_are_taken(writer: Writer) -> None:
    frames = Frames(writer.repository)
    one = frames.curves("digits", columns="val_loss")
    assert_frame_equal(one, frames.curves("digits", columns=["val_loss"]))
    whole = frames.trials("digits", stage="fine")
    for names in (("fine",), {"fine"}, pd.Series(["fine"]), np.array(["fine"]), iter(["fine"])):
        assert_frame_equal(frames.trials("digits", stage=names), whole)
    (id,) = frames.searches()["search"]
    for ref in (id, np.int64(id), int(id)):
        assert_frame_equal(frames.trials(ref, stage="fine"), whole)
    assert frames.trials("digits", stage=[]).empty


def test_a_name_like_none_is_told_with_those_that_there_are(writer: Writer) -> None:
    frames = Frames(writer.repository)
    with pytest.raises(StorageError, match=r"but got 'zzz': there are 'coarse', 'fine'$"):
        frames.trials("digits", stage="zzz")
    with pytest.raises(HpsearchError, match=r"got 'zzz': there are 'train_loss', .* and \d+ more$"):
        frames.curves("digits", columns="zzz")
    with pytest.raises(StorageError, match="'zzz': there are 'digits'; `hpsearch list` shows all"):
        frames.trials("zzz")


def test_a_column_that_there_is_not_is_told_with_the_closest(writer: Writer) -> None:
    frames = Frames(writer.repository)
    with pytest.raises(HpsearchError, match="did you mean 'val_loss'"):
        frames.curves("digits", columns=["val_los"])

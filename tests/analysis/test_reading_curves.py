"""Curves out of the database: every number as it was stored, whatever else the rows hold."""

from __future__ import annotations

import io
import json
import math
import signal
import sqlite3
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import event
from stored_searches import Writer, begin

from hpsearch.analysis.frames import Frames
from hpsearch.storage import numbers
from hpsearch.storage.curves import read_curves
from hpsearch.storage.database import Database
from hpsearch.storage.records import ReportCommit
from hpsearch.storage.tables import TrialRow


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


def test_ctrl_c_while_curves_are_read_is_ctrl_c(sqlite_url: str) -> None:
    """A KeyboardInterrupt in a function of ours would be an error of the database."""
    writer = begin(Database(sqlite_url), num_trials=2000)
    for epoch in range(1, 4):
        rows = [{"trial_id": id, "train_loss": 0.5} for id in writer.ids]
        report = ReportCommit(epoch=epoch, metrics=rows, progress=())
        writer.repository.commit_report(writer.lease, report)
    interrupted, of_it = 0, TrialRow.search_id == writer.search.id
    earlier = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    try:
        for place in range(1, 30):
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, place * 1e-3)
                with writer.repository.database.read() as connection:
                    list(read_curves(connection, of_it))
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, earlier)
    assert interrupted
    assert len(Frames(writer.repository).curves("digits")) == 6000


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

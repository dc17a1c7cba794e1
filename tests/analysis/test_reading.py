"""Reading a part of a search: filters, columns and pieces give what pandas takes from the whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from stored_searches import Writer

from hpsearch.analysis.frames import Frames
from hpsearch.errors import HpsearchError
from hpsearch.storage.errors import StorageError

FILTERS = {
    "state": ({"state": "complete"}, "state == 'complete'"),
    "states": ({"state": ["failed", "running"]}, "state in ['failed', 'running']"),
    "stage": ({"stage": "fine"}, "stage == 'fine'"),
    "where": (
        {"where": "value > 2 AND learning_rate < 0.01"},
        "value > 2 and learning_rate < 0.01",
    ),
    "text": ({"where": "optimizer = 'momentum' -- the better"}, "optimizer == 'momentum'"),
    "quoted": (
        {"where": """"learning_rate" < 0.01 and branch <> 'a "b"' -- of "these\""""},
        "learning_rate < 0.01",
    ),
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


BAD = {
    "state": ({"state": "completed"}, "state must be one that .* did you mean 'complete'"),
    "stage": (
        {"stage": ["coarse", "fin"]},
        "stage must be one that .* did you mean 'fine'",
    ),
    "column": ({"where": "learning_rat < 1"}, "where must .*: did you mean 'learning_rate'"),
    "prefix": ({"where": "best_value > 0.5"}, "where must .*best_value.*: did you mean 'value'"),
    "quoted": ({"where": '"lerning_rate" > 1'}, "no column 'lerning_rate': did you mean 'learning"),
    "quoted text": ({"where": 'optimizer = \'a "b"\' or "value_" > 0.9'}, "no column 'value_'"),
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

"""Searches side by side, and the log of one."""

from __future__ import annotations

from typing import Any

import pytest
from stored_searches import a_report, a_spec, begin

from hpsearch.analysis.frames import Frames
from hpsearch.analysis.layout import COMPARED, EVENTS
from hpsearch.errors import HpsearchError
from hpsearch.spec.search import Objective
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import DATA_READ


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_better_search_comes_first_and_one_without_a_result_last(
    database: Database, mode: str
) -> None:
    objective = Objective(metric="val_loss", mode=mode)  # type: ignore[arg-type]
    values = {"none": [], "low": [0.2, 0.3], "high": [0.7, 0.9]}
    for name, of in values.items():
        writer = begin(database, num_trials=3, spec=a_spec(name, objective=objective))
        ends = dict(zip(writer.ids, of, strict=False))
        writer.repository.commit_report(writer.lease, a_report(5, ends, state="complete"))
        writer.repository.fail_trials(writer.lease, {writer.ids[2]: ("diverged", "x")})
    frame = Frames(writer.repository).compare(list(values))
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == COMPARED
    best = {"max": ["high", "low"], "min": ["low", "high"]}[mode]
    assert frame["name"].tolist() == [*best, "none"]
    assert frame["mean"].tolist()[:2] == ([0.9, 0.3] if mode == "max" else [0.2, 0.7])
    assert frame["behind"].tolist()[:2] == pytest.approx([0, 0.6 if mode == "max" else 0.5])
    assert frame["within_noise"].tolist()[:2] == [True, False]
    assert frame["number"].tolist()[:2] == ([1, 1] if mode == "max" else [0, 0])
    assert frame["number"].isna().tolist() == [False, False, True]
    spent = frame.set_index("name")[["trials", "complete", "failed", "trained", "seconds"]]
    assert spent.loc["low"].tolist() == [3, 2, 1, 10, 5.0]
    assert spent.loc["none"].tolist() == [3, 0, 1, 0, 0.0]


def test_searches_of_different_data_are_told(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    noted: dict[str, dict[str, Any]] = {
        "a": {"fingerprint": "0123456789abcdef", "sample": "77"},
        "same": {"fingerprint": "0123456789abcdef", "sample": "77"},
        "other": {"fingerprint": "fedcba9876543210", "sample": "88"},
        "streamed": {"fingerprint": None, "sample": "77"},
        "unknown": {},
    }
    for name, read in noted.items():
        writer = begin(database, spec=a_spec(name))
        if read:
            writer.repository.add_event(writer.lease, DATA_READ, {"rows": 9, **read})
    frames = Frames(writer.repository)

    def data(*names: str) -> list[str]:
        return frames.compare(names).set_index("name").loc[list(names), "data"].tolist()

    assert data("a", "same") == ["digits 01234567"] * 2
    assert data("a", "other", "unknown") == ["digits 01234567", "digits fedcba98", "digits"]
    assert data("a", "streamed", "other") == ["digits 77", "digits 77", "digits 88"]


def test_what_cannot_be_compared_is_said(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    begin(database, spec=a_spec("a"))
    loss = Objective(metric="val_loss", mode="min")
    frames = Frames(begin(database, spec=a_spec("b", objective=loss)).repository)
    with pytest.raises(HpsearchError, match="two different searches or more"):
        frames.compare(["a", 1])
    with pytest.raises(HpsearchError, match=r"a \(id 1\) has val_accuracy \(max\) and b \(id 2\)"):
        frames.compare(["a", "b"])
    with pytest.raises(HpsearchError, match="two different searches or more, but got 1"):
        frames.compare("a")
    for given in (None, 1.5, [None, "a"], ["a", 1.5], b"a"):
        with pytest.raises(HpsearchError, match="compare must be given a list of searches"):
            frames.compare(given)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="no search 'bb': did you mean 'b'"):
        frames.compare(["a", "bb"])


def test_events_are_the_log_with_its_data(database: Database) -> None:
    writer = begin(database)
    writer.repository.fail_trials(writer.lease, {writer.ids[0]: ("diverged", "x")})
    begin(database, spec=a_spec("other"))
    frame = Frames(writer.repository).events(writer.search.id)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == EVENTS
    assert frame["kind"].tolist() == ["acquired", "stage_opened", "trials_failed"]
    assert frame["data"][1]["name"] == "coarse"
    assert frame["created_at"].is_monotonic_increasing

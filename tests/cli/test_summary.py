"""What a search that has ended says, where words of others are in it."""

from __future__ import annotations

import pytest
from stored_searches import a_report, begin

from hpsearch.analysis.frames import Frames
from hpsearch.api import Result
from hpsearch.cli.outcome import standing, why_nothing
from hpsearch.cli.summary import print_summary
from hpsearch.storage.database import Database

RED, SHOWN = "a\n\x1b[31mred", "a\\n\\x1b[31mred"


def test_why_nothing_ranks_is_one_line(database: Database) -> None:
    writer = begin(database, num_trials=1)
    message = "Traceback\nValueError: \x1b[31mred"
    writer.repository.fail_trials(writer.lease, {writer.ids[0]: ("error", message)})
    said = why_nothing(Frames(writer.repository), writer.search.id)
    assert "1 failed as error, all with: ValueError: \\x1b[31mred" in said


def test_where_a_search_stands_is_one_line(database: Database) -> None:
    writer = begin(database, num_trials=1)
    writer.repository.release(writer.lease, "failed", message=RED)
    record = writer.repository.find_search(writer.search.id)
    assert standing(record) == f"digits (id {record.id}): failed ({SHOWN})"


def test_a_summary_has_a_line_each(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    writer = begin(database, num_trials=1)
    report = a_report(1, {writer.ids[0]: 0.5}, state="complete")
    writer.repository.commit_report(writer.lease, report)
    writer.repository.release(writer.lease, "complete", message=RED)
    frames = Frames(writer.repository)
    print_summary(
        Result(db=frames, id=writer.search.id, name="digits", parameters=(), mode="max"), None
    )
    assert f"It ended early: {SHOWN}.\n" in capsys.readouterr().out

"""What ``hpsearch diagnose --trial`` says of trials in every state, of a search filled by hand."""

from __future__ import annotations

import json

import pytest
from command_line import Hpsearch
from stored_searches import Writer, a_report, begin

from hpsearch.analysis.diagnosis import searching
from hpsearch.storage.database import Database
from hpsearch.storage.records import ReportCommit
from hpsearch.storage.repository import Repository

RISING = (2.3, 2.6, 2.9, 3.3)


@pytest.fixture(autouse=True)
def _wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def writer(hpsearch: Hpsearch) -> Writer:
    """Trials: complete after 3 epochs, running in the 2nd, pruned after 1, waiting, and out of
    memory; and one that runs with a loss that rises."""
    writer = begin(Database("sqlite:///hpsearch.db"), num_trials=6)
    complete, running, pruned, _, failed, rising = writer.ids
    for epoch in (1, 2, 3):
        writer.repository.commit_report(writer.lease, a_report(epoch, {complete: 0.5}))
    writer.repository.commit_report(writer.lease, a_report(3, {complete: 0.5}, state="complete"))
    writer.repository.commit_report(writer.lease, a_report(1, {running: 0.5}))
    writer.repository.commit_report(writer.lease, a_report(1, {pruned: 0.5}, state="pruned"))
    writer.repository.fail_trials(writer.lease, {failed: ("out_of_memory", "x")})
    for epoch, loss in enumerate(RISING, start=1):
        report = a_report(epoch, {rising: 0.1})
        rows = [{**row, "train_loss": loss} for row in report.metrics]
        commit = ReportCommit(epoch=epoch, metrics=rows, progress=report.progress)
        writer.repository.commit_report(writer.lease, commit)
    return writer


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "is complete, and no rule fired over its 3 epochs"),
        (1, "is running, and no rule fired over its 1 epoch so far"),
        (2, "is pruned, and no rule fired over its 1 epoch"),
        (3, "is waiting, and has no epoch yet that a rule could look at"),
        (4, "is failed (out_of_memory), and has no epoch yet that a rule could look at"),
    ],
)
def test_a_trial_of_which_no_rule_fired_is_told_with_its_state_and_epochs(
    hpsearch: Hpsearch, writer: Writer, number: int, said: str
) -> None:
    code, out, _ = hpsearch("diagnose", "digits", "--trial", str(number))
    assert (code, out) == (0, f"Trial {number} of digits (id 1) {said}\n")
    code, out, _ = hpsearch("diagnose", "digits", "--trial", str(number), "--format", "json")
    assert (code, json.loads(out)) == (0, [])


def test_a_running_trial_is_told_what_its_curve_shows_so_far(
    hpsearch: Hpsearch, writer: Writer
) -> None:
    code, out, _ = hpsearch("diagnose", "digits", "--trial", "5", "--format", "json")
    (found,) = json.loads(out)
    assert (code, found["number"], found["kind"]) == (0, 5, "rate_too_high")


def test_one_trial_is_told_without_loading_all_again(
    hpsearch: Hpsearch, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read once, for a trial is compared with those of its stage."""
    read: list[str] = []
    load, curves = Repository.load, searching.read_curves
    monkeypatch.setattr(Repository, "load", lambda *of: (read.append("trials"), load(*of))[1])
    monkeypatch.setattr(
        searching, "read_curves", lambda *of: (read.append("curves"), curves(*of))[1]
    )
    for number in ("0", "1"):
        assert hpsearch("diagnose", "digits", "--trial", number)[0] == 0
        assert read == ["trials", "curves"]
        read.clear()

"""Diagnoses of whole searches: what is read, what is stored, and how it is summed up."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from coordinated import PROVENANCE, a_search, coordinate, curve, finished_table
from pandas.testing import assert_frame_equal
from sqlalchemy import event
from stored_searches import a_report, a_trial, begin

from hpsearch.analysis.diagnosis import one_trial, tables
from hpsearch.analysis.diagnosis.reading import read_curves
from hpsearch.analysis.diagnosis.searching import search_diagnoses, stage_contexts
from hpsearch.analysis.frames import Frames
from hpsearch.coordinator.events import Advanced, Event
from hpsearch.coordinator.loop import Coordinator
from hpsearch.errors import HpsearchError
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.report.findings import findings
from hpsearch.report.reading import read
from hpsearch.report.section import Table
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.records import ReportCommit
from hpsearch.storage.repository import Repository
from workers.messages import Member

SPACE = {"learning_rate": {"log_uniform": [1e-5, 100.0]}}
STAGES = [{"name": "only", "trials": 24, "epochs": 8, "sampler": "qmc", "expand": 0}]


def simulated(member: Member, epoch: int) -> dict[str, float]:
    """Rates above 1 diverge, those below 1e-3 crawl, and the others learn."""
    rate = member.config.learning_rate
    if rate > 1:
        loss = 2.3 if epoch < 2 else math.nan
    elif rate < 1e-3:
        loss = 2.3 - 0.02 * epoch
    else:
        loss = 0.02 + 2.0 * math.exp(-epoch)
    score = 1 - min(loss / 2.5, 0.9)
    return {
        **{"train_loss": loss, "val_loss": loss, "val_accuracy": score, "train_accuracy": score},
        **{"learning_rate": rate},
    }


@pytest.fixture
def repository(database: Database) -> Repository:
    database.check_revision()
    return Repository(database)


def search_of_rates() -> Any:
    return a_search(space=SPACE, stages=STAGES)


def test_each_finished_trial_is_diagnosed_once_at_the_end(repository: Repository) -> None:
    view = coordinate(repository, search_of_rates(), SimulatedExecutor(simulated))
    expected = {
        trial.id: "rate_too_high" if rate > 1 else "rate_too_low"
        for trial in view.trials.values()
        if not 1e-3 <= (rate := trial.params["learning_rate"]) <= 1
    }
    assert set(expected.values()) == {"rate_too_high", "rate_too_low"}
    stored = repository.diagnoses(view.search.id)
    assert {d.trial_id: d.kind for d in stored if d.trial_id is not None} == expected
    assert all(d.stage_id == view.stages[0].id for d in stored if d.trial_id is not None)
    coordinate(repository, search_of_rates(), SimulatedExecutor(simulated))
    again = repository.diagnoses(view.search.id)
    assert [d.id for d in again] == [d.id for d in stored]


class _Crash(BaseException):
    """Stands for the death of the process."""


def test_the_findings_after_a_crash_are_those_without(
    repository: Repository, tmp_path: Path
) -> None:
    search = search_of_rates()
    advanced = 0

    def crash(event: Event) -> None:
        nonlocal advanced
        advanced += isinstance(event, Advanced)
        if advanced == 9:
            raise _Crash

    record = repository.create_search(search, PROVENANCE)
    dead = Owner(host=Owner.current().host, pid=2**22 + 1, started_s=1.0)
    lease = repository.acquire(record.id, dead)
    with pytest.raises(_Crash):
        Coordinator(repository, lease, record, SimulatedExecutor(simulated), tmp_path, crash).run()
    coordinate(repository, search, SimulatedExecutor(simulated), tmp_path)
    crashed = finished_table(repository)
    again = a_search(space=SPACE, stages=STAGES, name="undisturbed")
    coordinate(repository, again, SimulatedExecutor(simulated))
    assert crashed[-1][0].startswith("rate_too")
    assert [row for row in crashed if len(row) == 2] == [
        row for row in finished_table(repository, "undisturbed") if len(row) == 2
    ]


def test_the_curves_of_all_trials_are_read_at_once(repository: Repository) -> None:
    view = coordinate(repository, search_of_rates(), SimulatedExecutor(simulated))
    asked: list[str] = []

    @event.listens_for(repository.database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, *rest):  # type: ignore[no-untyped-def]
        asked.append(statement)

    curves = read_curves(repository, view.search.id, view.search.spec, view.trials.values())
    assert len(curves) == len(view.trials)
    # What a few rows hold; all; and all again, where others hold what these do not.
    assert sum("metrics" in statement for statement in asked) <= 3 < len(curves)


def test_a_curve_has_what_was_stored_and_the_epochs_that_it_inherited(database: Database) -> None:
    writer = begin(database, num_trials=2)
    first, other = writer.ids
    for epoch in (1, 2):
        row = {"train_loss": 1.0 / epoch, "layer_gradient_norms": [0.5, math.inf, epoch]}
        metrics = [{"trial_id": first, **row}, {"trial_id": other, "train_loss": math.nan}]
        report = ReportCommit(epoch=epoch, metrics=metrics, progress=())
        writer.repository.commit_report(writer.lease, report)
    child = a_trial(2, stage_id=writer.stage_id, parent_id=first, start_epoch=2)
    (stored,) = writer.repository.add_trials(writer.lease, [child])
    writer.repository.commit_report(writer.lease, a_report(3, {stored.id: 0.5}))
    search = writer.search
    curves = read_curves(writer.repository, search.id, search.spec, writer.stored())
    assert curves[stored.id].series["train_loss"][:2].tolist() == [1.0, 0.5]
    assert len(curves[stored.id]) == 3
    assert curves[stored.id].series["val_accuracy"][2] == 0.5
    assert curves[first].layers_NL.tolist() == [[0.5, math.inf, 1.0], [0.5, math.inf, 2.0]]
    assert curves[first].settings["optimizer"] == "sgd"
    assert np.isnan(curves[other].series["train_loss"]).all()
    assert curves[other].layers_NL.size == 0


def test_a_trial_that_raised_is_not_diagnosed(database: Database) -> None:
    writer = begin(database, num_trials=2)
    bad, diverged = writer.ids
    metrics = [{"trial_id": id, "train_loss": math.nan} for id in (bad, diverged)]
    writer.repository.commit_report(
        writer.lease, ReportCommit(epoch=1, metrics=metrics, progress=())
    )
    writer.repository.fail_trials(
        writer.lease, {bad: ("error", "x"), diverged: ("diverged", "nan")}
    )
    stages, trials = writer.repository.load(writer.search.id)
    found = search_diagnoses(writer.repository, writer.search, stages, trials, ended=False)
    assert [d.trial_id for d in found] == [diverged]


def test_the_spread_that_was_stored_is_held_against_the_folds_of_the_search(
    repository: Repository,
) -> None:
    def spread(member: Member, epoch: int) -> dict[str, float]:
        return {**simulated(member, epoch), "spread": 0.1 if epoch == 8 else 9.0}

    data = {"source": "digits", "validation": {"folds": 5}}
    view = coordinate(
        repository, a_search(space=SPACE, stages=STAGES, data=data), SimulatedExecutor(spread)
    )
    (noise,) = [d for d in repository.diagnoses(view.search.id) if d.kind == "noise"]
    assert noise.evidence["noise"] == pytest.approx(2 * math.sqrt(2 / 5) * 0.1)


def test_a_trial_is_compared_with_the_highest_rate_of_the_better_ones_of_its_stage(
    database: Database,
) -> None:
    writer = begin(database, num_trials=4)
    rates = dict(zip(writer.ids, (0.3, 0.1, 0.01, 0.9), strict=True))
    writer.repository.commit_report(
        writer.lease,
        ReportCommit(
            epoch=1,
            metrics=[
                {"trial_id": id, "train_loss": 1.0, "learning_rate": rate}
                for id, rate in rates.items()
            ],
            progress=(),
        ),
    )
    values = dict(zip(writer.ids, (0.5, 0.9, 0.8, 0.2), strict=True))
    report = a_report(2, values, state="complete")
    writer.repository.commit_report(writer.lease, report)
    trials, search = writer.stored(), writer.search
    curves = read_curves(writer.repository, search.id, search.spec, trials)
    contexts = stage_contexts(trials, curves, "max", 10)
    assert [contexts[id].better_rate for id in writer.ids] == [0.1, None, 0.1, 0.3]
    turned = stage_contexts(trials, curves, "min", 10)
    assert [turned[id].better_rate for id in writer.ids] == [0.9, 0.9, 0.9, None]
    assert {context.best for context in contexts.values()} == {0.9}


# The summaries


def test_findings_are_summed_up_by_kind_with_the_best_example(repository: Repository) -> None:
    view = coordinate(repository, search_of_rates(), SimulatedExecutor(simulated))
    frames = Frames(repository)
    found = tables.findings(frames, "simulated")
    kinds = Counter(found.loc[found["number"].notna(), "kind"])
    assert tables.counts(found) == dict(kinds)
    summary = tables.summary(frames, "simulated", found).set_index("kind")
    total = len(view.trials)
    assert tables.num_diagnosed(frames, "simulated") == total
    for kind, n in kinds.items():
        assert summary.loc[kind, "trials"] == f"{n} of {total}"
    values = {trial.number: trial.value for trial in view.trials.values()}
    slow = found.loc[found["kind"] == "rate_too_low", "number"]
    example = summary.loc["rate_too_low", "number"]
    assert values[example] == max(values[number] for number in slow)


def test_the_example_of_a_kind_is_the_same_in_the_report_and_no_repeat(
    repository: Repository,
) -> None:
    """Of a trial that ranks and its repeats, which do not and have the better values."""
    coordinate(repository, a_search(), SimulatedExecutor(curve))
    frames = Frames(repository)
    trials = frames.trials("simulated")
    best = frames.best("simulated", n=1)
    repeats = trials.loc[trials["parent"] == best["trial"][0], "number"]
    assert len(repeats) == 2
    alone = trials.loc[(trials["replicate"] > 0), "number"].iloc[0]
    numbers = [*repeats, best["number"][0], alone]
    kinds = ["dead_units"] * 3 + ["overfitting"]
    found = pd.DataFrame({"number": numbers, "kind": kinds, "stage": "s", "message": "m"})
    found = found.astype({"number": "Int64"})
    shown = tables.summary(frames, "simulated", found).set_index("kind")["number"]
    assert dict(shown) == {"dead_units": best["number"][0], "overfitting": alone}
    section = findings(replace(read(frames, "simulated"), findings=found))
    table = next(part for part in section.parts if isinstance(part, Table))
    assert list(table.frame["number"]) == list(shown)


def test_the_findings_of_one_trial_can_be_asked_for(repository: Repository) -> None:
    coordinate(repository, search_of_rates(), SimulatedExecutor(simulated))
    frames = Frames(repository)
    found = tables.findings(frames, "simulated")
    number = int(found["number"].dropna().iloc[0])
    mine = one_trial.findings(frames, *one_trial.find(frames, "simulated", number))
    assert_frame_equal(mine, found[found["number"] == number].reset_index(drop=True))
    with pytest.raises(HpsearchError, match="0 to 23, but got 24"):
        one_trial.find(frames, "simulated", 24)


def test_before_its_end_a_search_may_have_nothing_to_show(database: Database) -> None:
    frames = Frames(begin(database).repository)
    found = tables.findings(frames, "digits")
    assert found.empty
    assert list(found.columns) == tables.COLUMNS
    assert tables.summary(frames, "digits", found).empty


def test_before_its_end_a_search_shows_what_its_trials_show_so_far(database: Database) -> None:
    writer = begin(database, num_trials=2)
    metrics = [{"trial_id": writer.ids[0], "train_loss": math.nan}]
    writer.repository.commit_report(
        writer.lease, ReportCommit(epoch=1, metrics=metrics, progress=())
    )
    writer.repository.fail_trials(writer.lease, {writer.ids[0]: ("diverged", "nan")})
    frames = Frames(writer.repository)
    found = tables.findings(frames, "digits")
    assert found[["number", "stage", "kind"]].values.tolist() == [[0, "coarse", "rate_too_high"]]
    mine = one_trial.findings(frames, *one_trial.find(frames, "digits", 0))
    assert_frame_equal(mine, found, check_dtype=False)

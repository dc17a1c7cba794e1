"""The frame of curves: whose epochs a trial has, and a column a metric."""

from __future__ import annotations

import math

from stored_searches import a_report, a_spec, a_trial, begin, continue_trial, finish

from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Objective
from hpsearch.storage.database import Database
from hpsearch.storage.records import ReportCommit
from workers.metrics import OBJECTIVES, WATCHED


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
    assert curves["layer_gradient_norms"][1] is None
    assert list(curves["by_fold"]) == [[0.25, 1.0], None]


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


def test_a_repeated_trial_has_its_own_epochs_only(database: Database) -> None:
    writer = begin(database, num_trials=1)
    (first,) = writer.ids
    finish(writer, {first: 0.5}, epoch=1)
    repeat = a_trial(1, stage_id=writer.stage_id, parent_id=first, replicate=1)
    writer.repository.add_trials(writer.lease, [repeat])
    assert list(Frames(writer.repository).curves("digits")["trial"]) == [first]

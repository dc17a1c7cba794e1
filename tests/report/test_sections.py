"""Sections: what is stored comes out of them, by the formula that the trials follow."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import plotly.graph_objects as go
import pytest
import yaml
from reported import (
    EPOCHS,
    NARROW,
    NUM_TRIALS,
    SPACE,
    WIDE,
    a_search,
    has_diverged,
    params,
    stored,
    the_best,
    value,
)

from hpsearch.report import axes, coordinates, curves, pairs, progress, stages
from hpsearch.report.document import SECTIONS
from hpsearch.report.findings import findings
from hpsearch.report.interactive import Figure, figure
from hpsearch.report.overview import overview, result, state
from hpsearch.report.panel import Panel
from hpsearch.report.reading import Reading, sampled
from hpsearch.report.section import Section, Table, Text
from hpsearch.report.values import places_of
from hpsearch.report.winner import best_trials, winner, winning_spec
from hpsearch.spec import load
from hpsearch.spec.reason import Reason
from hpsearch.spec.search import Objective
from hpsearch.spec.space import Branch, Choice, Range, Space
from hpsearch.storage.records import NewDiagnosis

ENDED = [number for number in range(NUM_TRIALS) if not has_diverged(number)]
DIVERGED = [number for number in range(NUM_TRIALS) if has_diverged(number)]


@pytest.fixture
def reading(sqlite_url: str) -> Reading:
    return stored(sqlite_url)


def words(section: Section) -> str:
    return "\n".join(part.words for part in section.parts if isinstance(part, Text))


def panels(section: Section) -> list[Panel]:
    return [part for part in section.parts if isinstance(part, Panel)]


def themed(found: Figure) -> Any:
    """With colours for the page's words for them."""
    return json.loads(re.sub("__(ink|grid|paper)__", "#123456", json.dumps(found)))


def drawn_numbers(panel: Panel, *, on_border: bool) -> set[int]:
    return {
        number
        for marks in panel.marks
        if bool(marks.border) == on_border
        for number in marks.numbers or ()
    }


# Each parameter


def test_each_parameter_that_varies_has_a_panel_with_every_trial_and_crosses_for_the_failed(
    reading: Reading,
) -> None:
    found = {panel.title: panel for panel in panels(axes.axes(reading))}
    assert list(found) == [name for name in SPACE.parameters if name != "activation"]
    for name, panel in found.items():
        has_it = {n for n in range(NUM_TRIALS) if name in params(n)}
        assert drawn_numbers(panel, on_border=False) == has_it & set(ENDED), name
        assert drawn_numbers(panel, on_border=True) == has_it & set(DIVERGED), name


def test_a_point_of_an_axis_plot_stands_where_its_trial_is(reading: Reading) -> None:
    panel = axes.panel(reading, "learning_rate")
    for marks in panel.marks:
        for number, x, y in zip(marks.numbers or (), marks.x, marks.y, strict=False):
            if not marks.border:
                assert x == pytest.approx(params(number)["learning_rate"], rel=1e-4)
                assert y == pytest.approx(value(number), rel=1e-3)
    assert panel.x.is_log


def test_a_parameter_that_is_constant_is_told_in_a_sentence(reading: Reading) -> None:
    assert "activation has one value in all trials that ended, relu" in words(axes.axes(reading))


def test_the_best_of_each_choice_is_marked(reading: Reading) -> None:
    best = axes.best_of_choices(reading.ranked, "batch_size", [32, 64], True)
    by_choice = {c: max(value(n) for n in ENDED if params(n)["batch_size"] == c) for c in (32, 64)}
    assert best == [(0.0, by_choice[32]), (1.0, by_choice[64])]


def test_numbers_and_booleans_are_different_choices() -> None:
    choices = [1, True, (64, 32), "a", None]
    assert places_of(choices, [True, 1, 1.0, (64, 32), None, "b"]) == [1, 0, 0, 2, 4, None]


# Stages


def test_ranges_are_drawn_with_the_best_trials_within_and_their_reasons(sqlite_url: str) -> None:
    reason = Reason(
        branch="optimizer=sgd",
        parameter="learning_rate",
        action="narrowed",
        old=None,
        new=None,
        text="the best lie there",
        evidence={},
    )
    branches = [
        Branch(
            key=f"optimizer={name}", fixed={"optimizer": name}, parameters={"learning_rate": own}
        )
        for name, own in (("sgd", NARROW), ("adam", WIDE))
    ]
    reading = stored(sqlite_url, reasons=[reason], branches=branches)
    by_branch = {bar.branch: bar for bar in stages.bars(reading, "learning_rate")}
    assert (by_branch["optimizer=sgd"].low, by_branch["optimizer=sgd"].high) == (1e-3, 1e-1)
    assert (by_branch["optimizer=adam"].low, by_branch["optimizer=adam"].high) == (1e-4, 1.0)
    own = sorted((n for n in ENDED if n % 2 == 0), key=lambda n: -value(n))
    assert by_branch["optimizer=sgd"].numbers == own[: stages.ELITE]
    assert by_branch["optimizer=sgd"].reason == "the best lie there"
    (table,) = [
        part
        for part in stages.stages(reading).parts
        if isinstance(part, Table) and "reason" in part.frame
    ]
    assert table.frame[["branch", "reason"]].to_numpy().tolist() == [["sgd", "the best lie there"]]


def test_ten_thousand_branches_are_drawn_as_the_best_of_them(sqlite_url: str) -> None:
    names = tuple(f"choice{i}" for i in range(10_000))
    space = Space(
        parameters={
            "optimizer": Choice(choices=names),
            "learning_rate": Range(kind="log_uniform", low=1e-4, high=1.0),
        }
    )
    reading = stored(
        sqlite_url,
        spec=a_search(space=space),
        params_of=lambda n: {
            "optimizer": names[n],
            "learning_rate": params(n)["learning_rate"],
        },
    )
    (panel,) = stages.panels(reading)
    assert len(panel.y.ticks or ()) == stages.MOST_BRANCHES
    assert "6 best branches of 40" in words(stages.stages(reading))
    text = "".join(str(figure(each)) for make in SECTIONS for each in panels(make(reading)))
    assert len(text) < 500_000


# Curves and progress


def test_the_best_trials_have_curves_in_validation_and_training(reading: Reading) -> None:
    panel = curves.panel(reading, "val_accuracy")
    assert panel is not None
    lines = {(m.name, m.dashed): m for m in panel.marks}
    line, training = (lines[f"number {the_best()}", dashed] for dashed in (False, True))
    expected = [value(the_best()) * epoch / EPOCHS for epoch in (1, 2, 3)]
    assert line.x == [1.0, 2.0, 3.0]
    assert line.y == pytest.approx(expected, rel=1e-3)
    assert training.y == pytest.approx([each + 0.05 for each in expected], rel=1e-3)
    best, others = curves.chosen(reading.ranked, reading.trials)
    assert best == sorted(ENDED, key=lambda n: (-value(n), n))[: curves.BEST]
    assert not set(best) & set(others)


def test_an_objective_of_the_user_s_own_has_curves_by_its_name(sqlite_url: str) -> None:
    spec = a_search(objective=Objective(metric="learning_rate"))  # a column of ours is called so
    panel = curves.panel(stored(sqlite_url, spec=spec), "value")
    assert panel is not None
    assert (panel.title, panel.y.title) == ("learning_rate by epoch", "learning_rate")


def test_a_long_curve_keeps_its_last_epoch(reading: Reading) -> None:
    rows = reading.curves.loc[reading.curves.index.repeat(500)].reset_index(drop=True)
    thin = curves.thinned(rows)
    assert len(thin) <= curves.MOST_EPOCHS
    assert thin.index[-1] == len(rows) - 1


def test_best_so_far_is_the_running_best_over_epochs_spent(reading: Reading) -> None:
    ended = progress.order(reading)
    best = -math.inf
    for row in ended.itertuples():
        best = max(best, value(row.number))
        assert row.best == pytest.approx(best)
    assert ended["spent"].iloc[-1] == EPOCHS * len(ENDED)
    changed = progress.steps(ended)
    assert changed["best"].is_monotonic_increasing
    assert changed["best"].iloc[-1] == pytest.approx(value(the_best()))


def test_where_no_epochs_are_told_trials_are_counted_instead(reading: Reading) -> None:
    ended = progress.order(reading)
    (of_epochs, *_) = progress.panels(reading, ended)
    assert of_epochs.x.title == "epochs spent, of all trials"
    (only,) = progress.panels(reading, ended.assign(spent=0.0, since_s=1.0))
    assert only.x.title == "trials that had ended"
    assert only.marks[-1].x[-1] == len(ended)


# Two and all parameters


def test_the_map_is_of_rate_and_decay_for_each_optimizer(reading: Reading) -> None:
    assert pairs.pair_of(reading) == ("learning_rate", "weight_decay")
    found = {panel.title: panel for panel in pairs.maps(reading)}
    assert set(found) == {"sgd", "adam"}
    for name, panel in found.items():
        crosses, points = panel.marks
        own = {n for n in range(NUM_TRIALS) if params(n)["optimizer"] == name}
        assert set(crosses.numbers or ()) == own & set(DIVERGED)
        assert set(points.numbers or ()) == own & set(ENDED)
    assert len({panel.x.limits for panel in found.values()}) == 1


def test_without_two_numbers_to_compare_the_map_says_so(sqlite_url: str) -> None:
    space = Space(parameters={"learning_rate": WIDE})
    reading = stored(
        sqlite_url,
        spec=a_search(space=space),
        params_of=lambda n: {"learning_rate": params(n)["learning_rate"]},
    )
    assert pairs.maps(reading) == []
    told = words(pairs.pairs(reading))
    assert "this search has one, learning_rate. Give weight_decay a range under space" in told
    assert f"among the {len(ENDED)} of this search only learning_rate varies" in words(
        coordinates.coordinates(reading)
    )


def test_why_there_is_no_map_is_told_of_each_parameter(sqlite_url: str) -> None:
    space = Space(
        parameters={
            "learning_rate": WIDE,
            "momentum": Range(kind="uniform", low=0.8, high=0.9),
            "batch_size": Choice(choices=(32, 64)),
        }
    )
    reading = stored(
        sqlite_url,
        spec=a_search(space=space),
        params_of=lambda n: {"learning_rate": 0.01, "momentum": 0.8 + n / 500, "batch_size": 32},
        value_of=lambda n: n / 100,
        fails=lambda n: None,
    )
    besides = "learning_rate (the same in all), batch_size (choices)"
    told = words(pairs.pairs(reading))
    assert f"has one, momentum (besides: {besides}). Give weight_decay a range" in told


def test_a_choice_of_a_long_name_is_short_at_its_axis_and_whole_at_a_pointer(
    sqlite_url: str,
) -> None:
    long = ("attention_of_eight_heads_and_dropout", "convolution\nwith_batch_normalization", "mlp")
    whole = {long[0], long[1].replace("\n", "\\n"), "mlp"}
    space = Space(parameters={"block": Choice(choices=long), "learning_rate": WIDE})
    reading = stored(
        sqlite_url,
        spec=a_search(space=space),
        params_of=lambda n: {"block": long[n % 3], "learning_rate": params(n)["learning_rate"]},
    )
    drawn = figure(axes.panel(reading, "block"))
    axis = drawn["layout"]["xaxis"]
    assert max(map(len, axis["ticktext"])) <= 18
    assert axis["ticktext"][0].startswith("attention_")
    assert axis["ticklabeloverflow"] == "allow"
    points, best, crosses = drawn["data"]
    assert set(points["text"]) == set(best["text"]) == whole
    assert {text.partition(",")[0] for text in crosses["text"]} <= whole
    assert {text.partition(", ")[2] for text in crosses["text"]} == {"diverged"}
    lines = coordinates.panel(reading)
    assert lines is not None
    labels = figure(lines)["layout"]["annotations"]
    assert whole - {"mlp"} <= {each.get("hovertext") for each in labels}


def test_parameters_that_are_whole_numbers_have_whole_ticks(sqlite_url: str) -> None:
    space = Space(parameters={"depth": Range(kind="int", low=1, high=3), "learning_rate": WIDE})
    reading = stored(
        sqlite_url,
        spec=a_search(space=space),
        params_of=lambda n: {"depth": 1 + n % 3, "learning_rate": params(n)["learning_rate"]},
    )
    assert figure(axes.panel(reading, "depth"))["layout"]["xaxis"]["dtick"] == 1
    for panel in curves.panels(reading):
        assert figure(panel)["layout"]["xaxis"]["dtick"] == 1


def test_parallel_lines_cross_each_axis_at_the_value_on_its_scale(reading: Reading) -> None:
    shown = reading.ranked
    places = coordinates.placed(reading, shown, shown, "learning_rate")
    rates = [math.log10(params(n)["learning_rate"]) for n in shown["number"]]
    low, high = min(rates), max(rates)
    assert places == pytest.approx([(r - low) / (high - low) for r in rates], abs=1e-3)
    absent = coordinates.placed(reading, shown, shown, "dropout")
    assert [place is None for place in absent] == [n % 2 == 0 for n in shown["number"]]
    panel = coordinates.panel(reading)
    assert panel is not None
    lines = sum(marks.x.count(None) + 1 for marks in panel.marks if marks.x)
    assert lines == len(ENDED)


# The winner


def test_the_winner_is_the_best_and_its_spec_can_be_run(reading: Reading) -> None:
    assert winner(reading) == the_best()
    text = next(part.text for part in winning_spec(reading).parts if hasattr(part, "text"))
    spec = load(yaml.safe_load(text))
    found = {name: one.choices for name, one in spec.space.parameters.items()}  # type: ignore[union-attr]
    assert found == {name: (each,) for name, each in params(the_best()).items()}
    assert (spec.stages[0].epochs, spec.stages[0].trials) == (EPOCHS, 1)
    assert spec.data == reading.record.spec.data
    assert spec.objective == reading.record.spec.objective


def test_the_winner_of_trials_that_were_repeated_has_the_best_mean(sqlite_url: str) -> None:
    first, second = sorted(ENDED, key=lambda n: -value(n))[:2]
    reading = stored(sqlite_url, repeats={first: [0.5, 0.7], second: [0.65, 0.75, 0.7]})
    assert winner(reading) == second
    table = best_trials(reading).parts[-1]
    assert isinstance(table, Table)
    assert table.frame["number"].tolist() == [second, first]
    assert table.frame["mean"].tolist() == pytest.approx([0.7, 0.6])
    assert table.frame["std"].tolist() == pytest.approx([0.05, 0.1 * math.sqrt(2)])
    assert table.frame["size"].tolist() == [3, 2]


def test_repeats_are_no_trials_of_their_own_in_the_plots(sqlite_url: str) -> None:
    reading = stored(sqlite_url, repeats={the_best(): [0.99, 0.99]})
    assert set(reading.ranked["number"]) == set(ENDED)
    assert drawn_numbers(axes.panel(reading, "learning_rate"), on_border=False) == set(ENDED)


def test_the_spec_of_a_winner_with_folds_has_them(sqlite_url: str) -> None:
    data = a_search().data.model_copy(update={"folds": 3})
    reading = stored(sqlite_url, spec=a_search(data=data))
    text = next(part.text for part in winning_spec(reading).parts if hasattr(part, "text"))
    assert load(yaml.safe_load(text)).data.folds == 3


def test_the_best_trials_are_those_of_the_frame(reading: Reading) -> None:
    (table,) = [part for part in best_trials(reading).parts if isinstance(part, Table)]
    order = sorted(ENDED, key=lambda n: (-value(n), n))[:10]
    assert table.frame["number"].tolist() == order


def test_a_loss_is_good_when_it_is_low(sqlite_url: str) -> None:
    spec = a_search(objective=Objective(metric="val_loss", mode="min"))
    reading = stored(sqlite_url, spec=spec)
    worst = min(ENDED, key=value)
    assert winner(reading) == worst
    assert reading.ranked["number"].iloc[0] == worst
    assert progress.order(reading)["best"].is_monotonic_decreasing


# Findings and failures


def test_findings_about_the_search_are_sentences_and_those_about_trials_a_table(
    sqlite_url: str,
) -> None:
    about_all = NewDiagnosis(kind="budget_spent", message="half of it", evidence={})
    about_one = NewDiagnosis(kind="rate_too_high", message="it jumps", evidence={}, trial_id=3)
    reading = stored(sqlite_url, findings=[about_all, about_one])
    section = findings(reading)
    assert "Budget spent: half of it" in words(section)
    tables = [part for part in section.parts if isinstance(part, Table)]
    assert tables[0].frame["message"].tolist() == ["it jumps"]
    assert tables[1].frame["number"].tolist() == [2]  # the third id


# Bad searches: each section has something to say, and every figure is one of plotly's


def sick_value(number: int) -> float | None:
    return (math.nan, None, math.inf, 0.5)[number % 4]


CASES: dict[str, dict[str, Any]] = {
    "complete": {},
    "running": {"state": None},
    "failed": {"state": "failed"},
    "without trials": {"num_trials": 0},
    "one trial": {"num_trials": 1},
    "all failed": {"fails": lambda number: "boom"},
    "values that are none": {"value_of": sick_value},
    "equal values": {"value_of": lambda number: 0.5},
}


@pytest.mark.parametrize("case", CASES)
def test_every_section_tells_something_and_its_figures_are_plotly_s(
    sqlite_url: str, case: str
) -> None:
    reading = stored(sqlite_url, **CASES[case])
    for make in SECTIONS:
        section = make(reading)
        assert section.parts, section.key
        for panel in panels(section):
            assert all(len(marks.x) == len(marks.y) for marks in panel.marks), section.key
            go.Figure(themed(figure(panel)))  # raises ValueError for what is none


def test_the_state_of_a_search_is_said_on_top(sqlite_url: str) -> None:
    running = stored(sqlite_url, state=None)
    assert "The search is running and so far has 40 trials" in state(running)
    assert f"`hpsearch report {running.record.id}" in state(running)
    of_all = f" so far, with {len(DIVERGED) + len(ENDED)} of {NUM_TRIALS} trials ended, is number "
    assert f"The trial to take{of_all}" in result(running)
    complete = stored(sqlite_url)
    assert "The trial to take is number" in result(complete)
    assert state(complete).startswith("The search is complete: 40 trials (")
    assert f"{len(DIVERGED)} failed) in {EPOCHS * len(ENDED)} epochs" in state(complete)


def test_failures_are_counted_with_the_first_message(sqlite_url: str) -> None:
    reading = stored(
        sqlite_url, fails=lambda n: f"Traceback\n  line\nValueError: {n}\nframe #0: c10"
    )
    section = overview(reading)
    (table,) = [part for part in section.parts if isinstance(part, Table)]
    assert table.frame.to_numpy().tolist() == [["diverged", NUM_TRIALS, "ValueError: 0"]]
    assert "All trials failed" in words(section)


def test_a_sample_keeps_the_best_and_is_always_the_same(reading: Reading) -> None:
    many = reading.ranked.loc[reading.ranked.index.repeat(100)]
    found = sampled(many, 500)
    assert len(found) == 500
    assert found.iloc[:300].equals(many.iloc[:300])
    assert found.equals(sampled(many, 500))

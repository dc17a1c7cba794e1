"""What plots show where less is better, of few epochs, and of values that lie decades apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from reported import NUM_TRIALS, SPACE, a_search, has_diverged, params, stored

from hpsearch.report import axes, curves, pairs, progress, winner
from hpsearch.report.images import drawn
from hpsearch.report.interactive import figure
from hpsearch.report.panel import Marks, Panel, alone
from hpsearch.report.reading import Reading, short
from hpsearch.report.section import Code, Text
from hpsearch.spec.search import Objective
from hpsearch.spec.space import Choice, Space


def a_loss(number: int) -> float:
    """From 1e-4 at a rate of 0.01 up to 1."""
    return 10 ** (-4 + (math.log10(params(number)["learning_rate"]) + 2) ** 2)


@pytest.fixture
def reading(sqlite_url: str) -> Reading:
    spec = a_search(objective=Objective(metric="val_loss", mode="min"))
    return stored(sqlite_url, spec=spec, value_of=a_loss)


def crosses(panel: Panel) -> Marks:
    (found,) = [marks for marks in panel.marks if marks.border]
    return found


def test_failed_trials_stand_at_the_worse_edge(reading: Reading) -> None:
    panel = axes.panel(reading, "learning_rate")
    assert crosses(panel).border == "upper"
    (trace,) = [t for t in figure(panel)["data"] if t.get("yaxis") == "y2"]
    assert set(trace["y"]) == {0.94}
    (caption, *_) = [part.words for part in axes.axes(reading).parts if isinstance(part, Text)]
    assert "Crosses at the upper edge" in caption


def test_an_axis_holds_its_crosses(reading: Reading) -> None:
    panel = axes.panel(reading, "learning_rate")
    assert panel.x.limits is not None
    low, high = panel.x.limits
    rates = [params(number)["learning_rate"] for number in range(NUM_TRIALS)]
    assert any(map(has_diverged, range(NUM_TRIALS)))
    assert low < min(rates)
    assert max(rates) < high


def test_the_colours_of_a_map_over_decades_are_logarithmic(reading: Reading) -> None:
    panel = pairs.maps(reading)[0]
    assert panel.scale_is_log
    trace = figure(panel)["data"][-1]
    assert trace["marker"]["color"] == pytest.approx(
        [math.log10(value) for value in panel.marks[-1].values or () if value is not None]
    )
    bar = trace["marker"]["colorbar"]
    assert len(bar["tickvals"]) == len(bar["ticktext"]) >= 3
    assert drawn([panel], "png").startswith(b"\x89PNG")


def test_a_map_of_an_accuracy_has_even_colours(sqlite_url: str) -> None:
    panel = pairs.maps(stored(sqlite_url))[0]
    assert not panel.scale_is_log
    marks = panel.marks[-1]
    assert figure(panel)["data"][-1]["marker"]["color"] == list(marks.values or ())


def test_a_curve_of_one_epoch_is_a_dot(sqlite_url: str) -> None:
    (panel, *_) = curves.panels(stored(sqlite_url, epochs=1))
    for marks, trace in zip(panel.marks, figure(panel)["data"], strict=True):
        points = [i for i, value in enumerate(marks.y) if value is not None]
        assert alone(marks) == points
        assert [bool(size) for size in trace["marker"]["size"]] == [
            value is not None for value in marks.y
        ]


def test_a_line_has_no_dots_but_for_points_without_neighbours() -> None:
    line = Marks(x=[1, 2, None, 3, None, 4, 5], y=[1, 1, None, 1, None, None, 1], kind="line")
    assert alone(line) == [3, 6]
    assert alone(replace(line, x=[1, 2], y=[1, 1])) == []


def test_one_bad_curve_does_not_flatten_the_best(sqlite_url: str) -> None:
    worst = max(n for n in range(NUM_TRIALS) if not has_diverged(n))
    found = stored(sqlite_url, value_of=lambda n: -1e8 if n == worst else 0.5 + n / 100)
    for panel, bad in zip(curves.panels(found), (-1e8, 1e8), strict=True):  # accuracy and loss
        assert panel.y.limits is not None
        assert -1 < panel.y.limits[0] < panel.y.limits[1] < 3
        values = {value for marks in panel.marks for value in marks.y}
        assert bad in values  # it leaves the plot, and is there for who zooms out


def test_epochs_of_repeats_are_spent_too(sqlite_url: str) -> None:
    found = stored(sqlite_url, repeats={0: [0.5, 0.6]})
    ended = progress.order(found)
    assert ended["spent"].max() == found.trials["own_epochs"].sum()
    repeats = found.trials[found.trials["replicate"] > 0]
    assert len(repeats) == 2
    panel = progress.panels(found, ended)[0]
    points, line = panel.marks
    assert set(points.numbers or ()).isdisjoint(repeats["number"])
    assert max(x for x in line.x if x is not None) == ended["spent"].max()
    assert max(y for y in line.y if y is not None) == pytest.approx(
        found.ranked["value"].max(), rel=1e-4
    )


def of_batch_sizes(
    url: str, count: int, value_of: Callable[[int], float], fails: Callable[[int], str | None]
) -> Panel:
    """The panel of a choice of that many sizes, with a trial of each."""
    sizes = Choice(choices=tuple(range(1, count + 1)))
    found = stored(
        url,
        spec=a_search(space=Space(parameters={**SPACE.parameters, "batch_size": sizes})),
        num_trials=count,
        params_of=lambda n: {**params(n), "batch_size": n + 1},
        value_of=value_of,
        fails=fails,
    )
    return axes.panel(found, "batch_size")


def test_of_many_choices_those_of_the_best_trials_are_drawn(sqlite_url: str) -> None:
    panel = of_batch_sizes(sqlite_url, 100, lambda n: n / 100, lambda n: None)
    assert panel.x.ticks is not None
    assert [words for _, words in panel.x.ticks] == [str(size) for size in range(61, 101)]
    assert "60 more choices are not drawn" in panel.note


def test_choices_that_failed_are_drawn_where_there_is_room(sqlite_url: str) -> None:
    panel = of_batch_sizes(
        sqlite_url, 60, lambda n: 0.5, lambda n: "the loss is NaN" if n >= 30 else None
    )
    assert len(panel.x.ticks or ()) == axes.MOST_CHOICES
    assert "20 more choices are not drawn" in panel.note
    assert len(crosses(panel).x) == 10


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("optimizer=adam", "adam"),
        ("batch_size=32", "batch_size=32"),
        ("nesterov=True", "nesterov=True"),
        ("optimizer=adam, loss=mse", "optimizer=adam, loss=mse"),
    ],
)
def test_a_branch_is_called_by_a_word_that_tells(branch: str, expected: str) -> None:
    assert short(branch) == expected


def test_a_network_without_checkpoint_is_not_offered(reading: Reading) -> None:
    parts = winner.winning_spec(reading).parts
    assert not any("export" in part.text for part in parts if isinstance(part, Code))
    said = [part.words for part in parts if isinstance(part, Text)]
    assert any("The network that was trained is not at hand" in words for words in said)

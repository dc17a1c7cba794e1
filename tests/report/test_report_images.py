"""Plots for papers: an image of each kind, and sentences for what cannot be drawn."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from reported import WIDE, a_search, params, stored

from hpsearch.errors import HpsearchError
from hpsearch.report.images import PLOT_KINDS, TURNED, PlotKind, draw, drawn, write_plot
from hpsearch.report.interactive import figure, label
from hpsearch.report.panel import Axis, Marks, Panel
from hpsearch.report.reading import Reading
from hpsearch.report.ticks import shortened
from hpsearch.spec.space import Range, RangeKind, Space


@pytest.fixture
def reading(sqlite_url: str) -> Reading:
    return stored(sqlite_url)


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_each_kind_is_drawn(reading: Reading, kind: PlotKind, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}.png"
    write_plot(reading.frames, reading.record.id, kind, file)
    pixels = imread(file)
    assert pixels.shape[0] > 500
    assert pixels[..., :3].std() > 0.01  # something is drawn


@pytest.mark.parametrize(("ending", "begin"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_vectors_are_drawn_as_well(
    reading: Reading, tmp_path: Path, ending: str, begin: bytes
) -> None:
    file = tmp_path / f"map.{ending}"
    write_plot(reading.frames, reading.record.id, "map", file)
    assert file.read_bytes().startswith(begin)


def test_words_with_dollars_are_no_formulas() -> None:
    marks = Marks(x=[1.0, 2.0], y=[1.0, None], name="$\\frac{$")
    axis = Axis(title="$x^{$", ticks=((1.0, "$a$b$"),))
    panel = Panel(title="$_$^", x=axis, y=axis, marks=(marks, marks))
    assert imread(io.BytesIO(drawn([panel], "png"))).std() > 0.01


def test_another_ending_is_refused_with_those_that_there_are(
    reading: Reading, tmp_path: Path
) -> None:
    with pytest.raises(HpsearchError, match=r"one of \.png, \.pdf, \.svg"):
        write_plot(reading.frames, reading.record.id, "axes", tmp_path / "x.bmp")


@pytest.mark.parametrize("kind", ["curves", "axes", "map"])
def test_a_search_without_trials_has_nothing_to_draw(
    sqlite_url: str, tmp_path: Path, kind: PlotKind
) -> None:
    reading = stored(sqlite_url, num_trials=0)
    with pytest.raises(HpsearchError, match="has 0 trials"):
        write_plot(reading.frames, reading.record.id, kind, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_axes_of_papers_have_the_ticks_of_the_page() -> None:
    names = ["attention_of_eight_heads", "convolution_with_normalization", "mixture_of_experts"]
    marks = (Marks(x=[0.0, 1.0, 2.0], y=[2e-3, 1e-2, 3e-2]),)
    x = Axis(ticks=tuple((float(i), name) for i, name in enumerate(names)))
    y = Axis(is_log=True, limits=(2e-3, 3e-2))
    ax = Figure().subplots()
    draw(Panel(title="", x=x, y=y, marks=marks), ax, has_legend=False)
    texts = [text.get_text() for text in ax.get_xticklabels()]
    assert texts == [shortened(name) for name in names]
    assert {text.get_rotation() for text in ax.get_xticklabels()} == {TURNED}
    numbers = [text.get_text() for text in ax.get_yticklabels()]
    assert numbers == ["0.002", "0.005", "0.01", "0.02"]
    assert not any(text.get_text() for text in ax.get_yticklabels(minor=True))


@pytest.mark.parametrize(("length", "is_turned"), [(18, False), (30, True)])
def test_names_are_turned_by_the_letters_that_are_seen(length: int, is_turned: bool) -> None:
    names = [letter * length for letter in "<$&"[: 2 + is_turned]]
    marks = (Marks(x=[0.0, 1.0], y=[1.0, 2.0]),)
    x = Axis(ticks=tuple((float(i), name) for i, name in enumerate(names)))
    panel, ax = Panel(title="", x=x, y=Axis(), marks=marks), Figure().subplots()
    draw(panel, ax, has_legend=False)
    assert {text.get_rotation() for text in ax.get_xticklabels()} == {is_turned * TURNED}
    drawn_axis = figure(panel)["layout"]["xaxis"]
    assert ("tickangle" in drawn_axis) == is_turned
    assert drawn_axis["ticktext"] == [label(shortened(name)) for name in names]


@pytest.mark.parametrize("kind", ["int", "log_int"])
def test_whole_numbers_are_drawn_on_either_scale(
    sqlite_url: str, tmp_path: Path, kind: RangeKind
) -> None:
    space = Space(parameters={"units": Range(kind=kind, low=1, high=8), "learning_rate": WIDE})
    reading = stored(
        sqlite_url,
        spec=a_search(space=space),
        params_of=lambda n: {"units": 1 + n % 8, "learning_rate": params(n)["learning_rate"]},
    )
    for name in PLOT_KINDS:
        write_plot(reading.frames, reading.record.id, name, tmp_path / f"{name}.png")


def test_why_there_is_no_map_is_said(sqlite_url: str, tmp_path: Path) -> None:
    reading = stored(
        sqlite_url,
        spec=a_search(space=Space(parameters={"learning_rate": WIDE})),
        params_of=lambda n: {"learning_rate": params(n)["learning_rate"]},
    )
    with pytest.raises(HpsearchError, match=r"has no map: .* has one, learning_rate\. Give weight"):
        write_plot(reading.frames, reading.record.id, "map", tmp_path / "x.png")

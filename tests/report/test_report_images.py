"""Plots for papers: an image of each kind, and sentences for what cannot be drawn."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib.image import imread
from reported import stored

from hpsearch.errors import HpsearchError
from hpsearch.report.images import PLOT_KINDS, PlotKind, drawn, write_plot
from hpsearch.report.panel import Axis, Marks, Panel
from hpsearch.report.reading import Reading


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

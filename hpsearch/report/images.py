"""The report's plots as image files for papers, drawn by matplotlib.

Called by ``hpsearch plot``. The panels are those of the page.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from hpsearch.errors import HpsearchError
from hpsearch.report import axes, curves, pairs, stages
from hpsearch.report.files import check_writable, write
from hpsearch.report.panel import HEIGHT_OF, INK, SCALE, Marks, Numbers, Panel, alone
from hpsearch.report.reading import Reading, read
from hpsearch.report.ticks import in_tex, log_ticks, named

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef

PlotKind = Literal["curves", "axes", "stages", "map"]
PLOT_KINDS: tuple[PlotKind, ...] = get_args(PlotKind)
ENDINGS = (".png", ".pdf", ".svg")
COLUMNS = 3  # of panels
WIDTH, HEIGHT = 4.2, 3.2  # inches of one
LINE = 0.28  # inches of each line of a panel of ranges
DPI = 200
MOST_LEVEL = 44  # letters of names at an x axis; more are turned
TURNED = 35  # degrees
AREA = 0.6  # of matplotlib's marks, in points, for a pixel of the page's
SYMBOLS = {"circle": "o", "x": "x", "diamond": "D", "bar": "_"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.solid_capstyle": "butt",  # a range ends where it ends
    "svg.hashsalt": "hpsearch",  # so that the same search gives the same file
}
_BLACK = "#1f2328"

OF_VALUES = ("axes", "map")  # kinds that show where values lie
PANELS: dict[PlotKind, Callable[[Reading], list[Panel]]] = {
    "curves": curves.panels,
    "axes": axes.panels,
    "stages": stages.panels,
    "map": pairs.maps,
}


def write_plot(frames: Frames, search: SearchRef, kind: PlotKind, file: Path) -> None:
    """Draw the panels of ``kind`` into ``file``: PNG, PDF or SVG, by its ending.

    Raises StorageError if there is no such search, HpsearchError if it has nothing of the kind to
    draw, or the file cannot be written.
    """
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        known = ", ".join(ENDINGS)
        raise HpsearchError(f"--output must end in one of {known}, but got {str(file)!r}")
    check_writable(file)
    reading = read(frames, search)
    panels = PANELS[kind](reading)
    if kind == "map" and pairs.pair_of(reading) is None and len(reading.ranked):
        raise HpsearchError(
            f"search {reading.record.name} (id {reading.record.id}) has no map: "
            f"{pairs.why_none(reading)}"
        )
    if not panels or (kind in OF_VALUES and reading.ranked.empty):
        raise HpsearchError(
            f"search {reading.record.name} (id {reading.record.id}) must have what a plot of "
            f"{kind} shows, but has {len(reading.trials)} trials, {len(reading.ranked)} of them "
            "with a value, and no such panel: `hpsearch report` shows what there is"
        )
    write(file, drawn(panels, ending.removeprefix(".")))


def drawn(panels: Sequence[Panel], form: str) -> bytes:
    """The panels side by side, as a file of that form."""
    from matplotlib import rc_context  # half a second
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = ceil(len(panels) / columns)
    height = max(_height(panel) for panel in panels)
    with rc_context(STYLE):
        figure = Figure(figsize=(columns * WIDTH, rows * height), layout="constrained")
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for i, (place, panel) in enumerate(zip(places, panels, strict=False)):
            draw(panel, place, has_legend=panel.legend or i == 0)
        for place in places[len(panels) :]:
            place.set_axis_off()
        out = io.BytesIO()
        figure.savefig(out, format=form, dpi=DPI)
    return out.getvalue()


def draw(panel: Panel, ax: Any, *, has_legend: bool) -> None:
    """One panel on matplotlib's axes ``ax``."""
    ax.set_title(plain(panel.title), loc="left", fontsize=9)
    for marks in panel.marks:
        _DRAW[marks.kind](ax, marks, panel)
    for axis, name in ((panel.x, "x"), (panel.y, "y")):
        if axis.is_log:
            ax.set(**{f"{name}scale": "log"})
        if axis.ticks is not None:
            _name(ax, name, axis.ticks)
        if axis.is_int and axis.ticks is None and not axis.is_log:
            getattr(ax, f"{name}axis").get_major_locator().set_params(integer=True)
        if axis.limits is not None:
            ax.set(**{f"{name}lim": axis.limits})
        if axis.is_log:
            _number(ax, name, is_int=axis.is_int)
        ax.set(**{f"{name}label": plain(axis.title)})
    ax.grid(alpha=0.25, linewidth=0.5)
    handles, labels = ax.get_legend_handles_labels()
    is_scaled = any(marks.values is not None for marks in panel.marks)
    if has_legend and len(labels) > 1 and not is_scaled:
        ax.legend(handles, labels, fontsize=6, edgecolor="none", framealpha=0.85)


def _name(ax: Any, name: str, ticks: Sequence[tuple[float, str]]) -> None:
    """Names cut short; turned where an x axis has no room for them beside one another."""
    texts, is_long = named(ticks, MOST_LEVEL)
    ax.set(**{f"{name}ticks": [place for place, _ in ticks]})
    ax.set(**{f"{name}ticklabels": list(map(plain, texts))})
    if name == "x" and is_long:
        ax.tick_params(axis="x", rotation=TURNED)
        for text in ax.get_xticklabels():
            text.set(horizontalalignment="right", rotation_mode="anchor")


def _number(ax: Any, name: str, *, is_int: bool) -> None:
    """The ticks of the page, within what is shown."""
    low, high = sorted(getattr(ax, f"get_{name}lim")())
    ticks = log_ticks(low, high, in_tex, is_int=is_int)
    ax.set(**{f"{name}ticks": [place for place, _ in ticks]})
    ax.set(**{f"{name}ticklabels": [words for _, words in ticks]})
    getattr(ax, f"{name}axis").set_minor_formatter("")


def plain(text: str) -> str:
    """A user's words for matplotlib, which would read what stands between dollars as TeX."""
    return text.replace("$", r"\$")


def _height(panel: Panel) -> float:
    is_lines = panel.y.ticks is not None
    return max(HEIGHT, 1.0 + LINE * len(panel.y.ticks or ())) if is_lines else HEIGHT


def _line(ax: Any, marks: Marks, panel: Panel) -> None:
    ax.plot(
        _floats(marks.x),
        _floats(marks.y),
        color=_color(marks),
        linewidth=marks.width * 0.7,
        linestyle=":" if marks.dashed else "-",
        alpha=marks.opacity,
        drawstyle="steps-post" if marks.kind == "steps" else "default",
        marker="o",
        fillstyle="none" if marks.dashed else "full",
        markersize=marks.size * AREA,
        markevery=alone(marks),
        label=_label(marks),
    )


def _points(ax: Any, marks: Marks, panel: Panel) -> None:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize

    look: dict[str, Any] = {
        "s": (marks.size * AREA) ** 2,
        "marker": SYMBOLS[marks.symbol],
        "alpha": marks.opacity,
        "label": _label(marks),
    }
    if marks.symbol in ("circle", "diamond"):
        look["linewidths"] = 0
    if marks.border:
        look |= {"transform": ax.get_xaxis_transform(), "clip_on": False}
        height = np.full(len(marks.x), HEIGHT_OF[marks.border])
        ax.scatter(_floats(marks.x), height, color=_color(marks), **look)
    elif marks.values is None:
        ax.scatter(_floats(marks.x), _floats(marks.y), color=_color(marks), **look)
    else:
        scale = SCALE[::-1] if panel.best_is_low else SCALE
        colors = LinearSegmentedColormap.from_list("values", scale)
        norm = (LogNorm if panel.scale_is_log else Normalize)(*(panel.scale or ()))
        values = _floats(marks.values)
        drawn = ax.scatter(
            _floats(marks.x), _floats(marks.y), c=values, cmap=colors, norm=norm, **look
        )
        ax.figure.colorbar(drawn, ax=ax, label=plain(panel.scale_title))


def _bars(ax: Any, marks: Marks, panel: Panel) -> None:
    ax.barh(_floats(marks.y), _floats(marks.x), color=_color(marks))


_DRAW = {"line": _line, "steps": _line, "points": _points, "bars": _bars}


def _label(marks: Marks) -> str:
    """Names that begin with _ are not in a legend."""
    return plain(marks.name) if marks.in_legend and marks.name else "_"


def _color(marks: Marks) -> str:
    return _BLACK if marks.color == INK else marks.color


def _floats(values: Numbers) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)

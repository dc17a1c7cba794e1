"""A Panel as a figure of plotly.js: plain data, which the page's script draws.

Called by ``hpsearch.report.page``. Without plotly's own Python classes, whose checks of thousands
of points take seconds; the tests have them check what is made here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hpsearch.report.panel import HEIGHT_OF, INK, SCALE, Axis, Cells, Marks, Numbers, Panel, alone
from hpsearch.report.ticks import log_ticks, named, shortened, whole_step

# Words that the page's script replaces by the colours of the theme that it is seen in.
THEME_INK, THEME_GRID, THEME_PAPER = "__ink__", "__grid__", "__paper__"
SYMBOLS = {"circle": "circle", "x": "x-thin", "diamond": "diamond", "bar": "line-ew"}
MOST_LEVEL = 40  # letters at an x axis that stand beside one another on a phone; more are turned
PHONE = 46  # letters across a plot on a phone, which labels between its axes share
LEAST_LETTERS = 10
TURNED = -40  # degrees
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

Figure = dict[str, Any]


def label(text: str) -> str:
    """A user's words for plotly, which reads tags in every text that it draws."""
    return html.escape(text, quote=False)


def figure(panel: Panel) -> Figure:
    """``{"data": [...], "layout": {...}}``."""
    border = any(marks.border for marks in panel.marks)
    told = [marks.in_legend and bool(marks.name) for marks in panel.marks]
    layout: Figure = {
        "height": panel.height,
        "margin": {"l": 52, "r": 12, "t": 12, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": THEME_INK, "size": 12, "family": FONT},
        "xaxis": _axis(panel.x, [value for marks in panel.marks for value in marks.x], turns=True),
        "yaxis": _axis(panel.y, [value for marks in panel.marks for value in marks.y]),
        "showlegend": panel.legend and sum(told) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "barmode": "overlay",
        "dragmode": False,
    }
    if panel.labels:
        room = max(LEAST_LETTERS, PHONE // len(panel.x.ticks or (0,)))
        layout["annotations"] = [_annotation(*each, room) for each in panel.labels]
    if border:
        hidden = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        layout["yaxis2"] = hidden
    traces = [] if panel.cells is None else [_heatmap(panel.cells)]
    traces += [_trace(marks, panel) for marks in panel.marks]
    return {"data": traces, "layout": layout}


def _heatmap(cells: Cells) -> Figure:
    """On the paper's colour where nothing is, so that figures are legible in either theme."""
    return {
        "type": "heatmap",
        "z": [list(row) for row in cells.values],
        "text": [list(row) for row in cells.words],
        "texttemplate": "%{text}",
        "textfont": {"color": THEME_INK},
        "customdata": [[label(words) for words in row] for row in cells.places],
        "hovertemplate": "%{customdata}<br>%{text} examples, %{z:.1%}<extra></extra>",
        "colorscale": [[0, "rgba(59,130,196,0)"], [1, "rgba(59,130,196,0.75)"]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }


def _annotation(x: float, y: float, words: str, room: int) -> Figure:
    """Beside its place, on what stands behind it, in at most ``room`` letters."""
    plain = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 11}}
    short = shortened(words, room)
    whole = {"hovertext": label(words)} if short != words else {}
    shown = {"text": label(short), **whole}
    return {"x": x, "y": y, "bgcolor": THEME_PAPER, "opacity": 0.85, **shown, **plain}


def _axis(axis: Axis, values: Numbers, *, turns: bool = False) -> Figure:
    made: Figure = {
        "title": {"text": label(axis.title), "standoff": 8},
        "type": "log" if axis.is_log else "linear",
        "gridcolor": THEME_GRID,
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power",
    }
    if axis.limits is not None:
        made["range"] = [math.log10(v) if axis.is_log else v for v in axis.limits]
    if axis.ticks is not None:
        return made | _named(axis.ticks, turns=turns)
    found = axis.limits or [v for v in values if v is not None and not (axis.is_log and v <= 0)]
    return made | (_numbered(axis, min(found), max(found)) if found else {})


def _named(ticks: Sequence[tuple[float, str]], *, turns: bool) -> Figure:
    """Names, cut short; of an x axis turned where they have no room beside one another."""
    texts, is_long = named(ticks, MOST_LEVEL)
    turned = {"tickangle": TURNED} if turns and is_long else {}
    shown = {"tickvals": [place for place, _ in ticks], "ticktext": list(map(label, texts))}
    return {**shown, "ticklabeloverflow": "allow", **turned}


def _numbered(axis: Axis, low: float, high: float) -> Figure:
    """What plotly would not choose itself: it mixes 2 with 10³, and cuts epochs in parts."""
    if axis.is_log:
        ticks = log_ticks(low, high, is_int=axis.is_int)
        return {"tickvals": [place for place, _ in ticks], "ticktext": [text for _, text in ticks]}
    step = whole_step(low, high) if axis.is_int else None
    return {} if step is None else {"tick0": 0, "dtick": step}


def _trace(marks: Marks, panel: Panel) -> Figure:
    color = THEME_INK if marks.color == INK else marks.color
    trace: Figure = {
        "x": list(marks.x),
        "y": [HEIGHT_OF[marks.border]] * len(marks.y) if marks.border else list(marks.y),
        "name": label(marks.name),
        "opacity": marks.opacity,
        "showlegend": marks.in_legend and bool(marks.name),
        "hovertemplate": _hover(marks, panel),
    }
    if marks.words is not None:
        trace["text"] = [label(words) for words in marks.words]
    if marks.kind == "bars":
        bars = {"type": "bar", "orientation": "h", "marker": {"color": color}}
        return trace | bars | {"textposition": "none"}
    trace["type"] = "scatter"
    if marks.numbers is not None:
        trace["customdata"] = list(marks.numbers)
    if marks.border:
        trace["yaxis"] = "y2"
    if marks.kind == "points":
        return trace | {"mode": "markers", "marker": _marker(marks, panel, color)}
    line: Figure = {"color": color, "width": marks.width}
    line |= {"dash": "dot"} if marks.dashed else {}
    line |= {"shape": "hv"} if marks.kind == "steps" else {}
    dots = {i: marks.size for i in alone(marks)}
    if not dots:
        return trace | {"mode": "lines", "line": line}
    sizes = [dots.get(i, 0) for i in range(len(marks.x))]
    symbol = "circle-open" if marks.dashed else "circle"
    marker = {"size": sizes, "symbol": symbol}
    return trace | {"mode": "lines+markers", "line": line, "marker": marker}


def _marker(marks: Marks, panel: Panel, color: str) -> Figure:
    marker: Figure = {"size": marks.size, "symbol": SYMBOLS[marks.symbol]}
    if marks.values is not None:
        places = [i / (len(SCALE) - 1) for i in range(len(SCALE))]
        scale = [[place, color] for place, color in zip(places, SCALE, strict=True)]
        bar = {"title": {"text": label(panel.scale_title)}, "thickness": 10, "outlinewidth": 0}
        values, ends = list(marks.values), panel.scale
        if panel.scale_is_log and ends is not None:  # plotly has no such scale
            ticks = log_ticks(*ends)
            bar |= {"tickvals": _logs(place for place, _ in ticks)}
            bar |= {"ticktext": [text for _, text in ticks]}
            values, ends = _logs(values), (math.log10(ends[0]), math.log10(ends[1]))
        low, high = ends or (None, None)
        return marker | {
            "color": values,
            "cmin": low,
            "cmax": high,
            "colorscale": scale,
            "reversescale": panel.best_is_low,
            "showscale": True,
            "colorbar": bar,
        }
    if marks.symbol in ("x", "bar"):  # thin symbols have an outline only
        return marker | {"line": {"color": color, "width": marks.width}}
    return marker | {"color": color}


def _logs(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else math.log10(value) for value in values]


def _hover(marks: Marks, panel: Panel) -> str:
    """What a pointer shows; users' words come in as data, never in the template."""
    number = "number %{customdata}<br>" if marks.numbers is not None else ""
    words = "%{text}<br>" if marks.words is not None else ""
    x = "%{x:.4g}" if panel.x.ticks is None else ""
    y = "" if marks.border or panel.y.ticks is not None else "%{y:.5g}"
    places = ", ".join(place for place in (x, y) if place)
    return f"{number}{words}{places}<extra></extra>"

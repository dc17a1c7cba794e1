"""A Panel as a figure of plotly.js: plain data, which the page's script draws.

Called by ``hpsearch.report.page``. Without plotly's own Python classes, whose checks of thousands
of points take seconds; the tests have them check what is made here.
"""

from __future__ import annotations

import html
import math
from typing import Any

from hpsearch.report.panel import BORDER, INK, SCALE, Axis, Cells, Marks, Numbers, Panel

# Words that the page's script replaces by the colours of the theme that it is seen in.
THEME_INK, THEME_GRID, THEME_PAPER = "__ink__", "__grid__", "__paper__"
SYMBOLS = {"circle": "circle", "x": "x-thin", "diamond": "diamond", "bar": "line-ew"}
MOST_POWERS = 6  # that are written at an axis, so that they stand upright on a phone too
LEAST_POWERS = 3
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

Figure = dict[str, Any]


def label(text: str) -> str:
    """A user's words for plotly, which reads tags in every text that it draws."""
    return html.escape(text, quote=False)


def figure(panel: Panel) -> Figure:
    """``{"data": [...], "layout": {...}}``."""
    border = any(marks.on_border for marks in panel.marks)
    told = [marks.in_legend and bool(marks.name) for marks in panel.marks]
    layout: Figure = {
        "height": panel.height,
        "margin": {"l": 52, "r": 12, "t": 12, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": THEME_INK, "size": 12, "family": FONT},
        "xaxis": _axis(panel.x, [value for marks in panel.marks for value in marks.x]),
        "yaxis": _axis(panel.y, [value for marks in panel.marks for value in marks.y]),
        "showlegend": panel.legend and sum(told) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "barmode": "overlay",
        "dragmode": False,
    }
    if panel.labels:
        layout["annotations"] = [_annotation(*each) for each in panel.labels]
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
        "hovertemplate": "%{text} examples, %{z:.1%}<extra></extra>",
        "colorscale": [[0, "rgba(59,130,196,0)"], [1, "rgba(59,130,196,0.75)"]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }


def _annotation(x: float, y: float, words: str) -> Figure:
    """Beside its place, on what stands behind it."""
    plain = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 11}}
    return {"x": x, "y": y, "text": label(words), "bgcolor": THEME_PAPER, "opacity": 0.85, **plain}


def _axis(axis: Axis, values: Numbers) -> Figure:
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
        made["tickvals"] = [place for place, _ in axis.ticks]
        made["ticktext"] = [label(words) for _, words in axis.ticks]
    elif axis.is_log:
        found = axis.limits or [value for value in values if value is not None and value > 0]
        made |= _powers(min(found), max(found)) if found else {}
    return made


def _powers(low: float, high: float) -> Figure:
    """Ticks at powers of ten; none where fewer than three lie there, for plotly's own are finer."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, -(-(last - first + 1) // MOST_POWERS))
    powers = list(range(first, last + 1, step))
    if len(powers) < LEAST_POWERS:
        return {}
    texts = [f"10<sup>{power}</sup>" if abs(power) > 1 else f"{10.0**power:g}" for power in powers]
    return {"tickvals": [10.0**power for power in powers], "ticktext": texts}


def _trace(marks: Marks, panel: Panel) -> Figure:
    color = THEME_INK if marks.color == INK else marks.color
    trace: Figure = {
        "x": list(marks.x),
        "y": [BORDER] * len(marks.y) if marks.on_border else list(marks.y),
        "name": label(marks.name),
        "opacity": marks.opacity,
        "showlegend": marks.in_legend and bool(marks.name),
        "hovertemplate": _hover(marks, panel),
    }
    if marks.kind == "bars":
        return trace | {"type": "bar", "orientation": "h", "marker": {"color": color}}
    trace["type"] = "scatter"
    if marks.numbers is not None:
        trace["customdata"] = list(marks.numbers)
    if marks.words is not None:
        trace["text"] = [label(words) for words in marks.words]
    if marks.on_border:
        trace["yaxis"] = "y2"
    if marks.kind == "points":
        return trace | {"mode": "markers", "marker": _marker(marks, panel, color)}
    line: Figure = {"color": color, "width": marks.width}
    line |= {"dash": "dot"} if marks.dashed else {}
    line |= {"shape": "hv"} if marks.kind == "steps" else {}
    return trace | {"mode": "lines", "line": line}


def _marker(marks: Marks, panel: Panel, color: str) -> Figure:
    marker: Figure = {"size": marks.size, "symbol": SYMBOLS[marks.symbol]}
    if marks.values is not None:
        places = [i / (len(SCALE) - 1) for i in range(len(SCALE))]
        scale = [[place, color] for place, color in zip(places, SCALE, strict=True)]
        bar = {"title": {"text": label(panel.scale_title)}, "thickness": 10, "outlinewidth": 0}
        low, high = panel.scale or (None, None)
        return marker | {
            "color": list(marks.values),
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


def _hover(marks: Marks, panel: Panel) -> str:
    """What a pointer shows; users' words come in as data, never in the template."""
    number = "number %{customdata}<br>" if marks.numbers is not None else ""
    words = "%{text}<br>" if marks.words is not None else ""
    x = "%{x:.4g}" if panel.x.ticks is None else ""
    y = "" if marks.on_border or panel.y.ticks is not None else "%{y:.5g}"
    places = ", ".join(place for place in (x, y) if place)
    return f"{number}{words}{places}<extra></extra>"

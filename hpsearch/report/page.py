"""The page: sections written as one HTML file that needs no network.

Called by ``hpsearch.report.document``. Everything that comes from a search is escaped here.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import count, groupby
from numbers import Number
from string import Template
from typing import Any

import pandas as pd

from hpsearch.plain_text import one_line
from hpsearch.report.interactive import figure
from hpsearch.report.panel import Panel
from hpsearch.report.section import Code, Legend, Part, PngImage, Section, Table, Text


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    ids = count()
    return Template(_file("page.html")).substitute(
        title=escaped(title),
        subtitle=escaped(subtitle),
        style=_file("page.css"),
        script=_file("page.js"),
        plotly=plotly_script(),
        contents="\n".join(_entry(section) for section in sections),
        sections="\n".join(_section(section, ids) for section in sections),
    )


def escaped(text: object) -> str:
    """For a text or an attribute of HTML."""
    return html.escape(str(text), quote=True)


def embedded(value: Any) -> str:
    """JSON that can stand in a <script>: no < in it, so nothing there can end it or open a tag."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


@cache
def plotly_script() -> str:
    """plotly.js, as the plotly of this machine has it."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")


@cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath("page_files", name).read_text(encoding="utf-8")


def _entry(section: Section) -> str:
    return f'<li><a href="#{escaped(section.key)}">{escaped(section.title)}</a></li>'


def _section(section: Section, ids: Iterator[int]) -> str:
    parts = "\n".join(
        _beside(list(run), ids) if together else "\n".join(_part(part, ids) for part in run)
        for together, run in groupby(section.parts, _is_narrow)
    )
    return (
        f'<section id="{escaped(section.key)}">\n<h2>{escaped(section.title)}</h2>\n'
        f"{parts}\n</section>"
    )


def _is_narrow(part: Part) -> bool:
    return isinstance(part, Panel) and not part.wide


def _beside(panels: Sequence[Part], ids: Iterator[int]) -> str:
    """Panels side by side where the screen has room for two."""
    shown = "\n".join(_part(panel, ids) for panel in panels)
    return f'<div class="panels">{shown}</div>' if len(panels) > 1 else shown


def _part(part: Part, ids: Iterator[int]) -> str:
    match part:
        case Text():
            return f"<p>{escaped(part.words)}</p>"
        case Code():
            return f'<pre tabindex="0"><code>{escaped(part.text)}</code></pre>'
        case Legend():
            return _legend(part)
        case PngImage():
            data = base64.b64encode(part.png).decode()
            words = escaped(part.words)
            return (
                f'<figure><img class="pixels" alt="{words}" src="data:image/png;base64,{data}">'
                f"<figcaption>{words}</figcaption></figure>"
            )
        case Table():
            return _table(part)
        case Panel():
            return _plot(part, next(ids))


def _plot(panel: Panel, number: int) -> str:
    note = f"<p class=note>{escaped(panel.note)}</p>" if panel.note else ""
    return (
        f"<figure><figcaption>{escaped(panel.title)}</figcaption>"
        f'<div class="plot" id="plot-{number}" role="img" aria-label="{escaped(panel.title)}" '
        f'style="height:{panel.height}px"></div>'
        f'<script type="application/json">{embedded(figure(panel))}</script>{note}</figure>'
    )


def _legend(legend: Legend) -> str:
    entries = "".join(
        f'<li><span style="background:{escaped(color)}"></span>{escaped(name)}</li>'
        for color, name in legend.entries
    )
    return f'<ul class="legend">{entries}</ul>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in table.frame.columns)
    names = [str(name) for name in table.frame.columns]
    body = "\n".join(_row(row, names) for row in table.frame.itertuples(index=False))
    stacks = ' class="stacks"' if 'class="prose"' in body else ""
    rows = f"<table{stacks}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"
    scrolled = f'<div class="table" tabindex="0">{rows}</div>'
    if table.summary is None:
        return scrolled
    return f"<details><summary>{escaped(table.summary)}</summary>{scrolled}</details>"


def _row(row: Any, names: Sequence[str]) -> str:
    cells = (_cell(value, name) for value, name in zip(row, names, strict=True))
    return "<tr>" + "".join(cells) + "</tr>"


def _cell(value: Any, name: str) -> str:
    """With its column's name, which a narrow screen shows beside it."""
    text = cell(value)
    kind = "number" if isinstance(value, Number) and not isinstance(value, bool) else ""
    kind = "prose" if len(text) > 40 else kind
    of = f' class="{kind}"' if kind else ""
    return f'<td data-of="{escaped(name)}"{of}>{escaped(text)}</td>'


def cell(value: Any) -> str:
    """A value as a person wants to read it; nothing where there is none."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(cell(item) for item in value) + "]"
    if value is None or pd.isna(value):
        return ""
    return f"{value:.5g}" if isinstance(value, float) else one_line(str(value))

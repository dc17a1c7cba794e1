"""Which parameters matter, by PED-ANOVA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpsearch.report.panel import PALETTE, Axis, Marks, Panel, numbers
from hpsearch.report.section import Part, Section, Table, Text

if TYPE_CHECKING:
    from hpsearch.report.reading import Reading

KEY, TITLE = "importance", "What matters"
CAPTION = (
    "How far the values of the best trials are from those of all, one parameter at a time "
    "(PED-ANOVA, Watanabe, Bansal and Hutter 2023); the shares add up to 1. A parameter of little "
    "importance may be fixed in the next search."
)
ROW = 28  # pixels


def importance(reading: Reading) -> Section:
    """Bars, and in words those of which nothing can be said."""
    from hpsearch.analysis.importance import importance_frame  # it needs Optuna

    found = importance_frame(reading.record, *reading.stored)
    told, untold = found[found["importance"].notna()], found[found["importance"].isna()]
    parts: list[Part] = []
    if len(told):
        shares = told.iloc[::-1]  # bars go up, the most important one is on top
        ticks = tuple((float(i), str(name)) for i, name in enumerate(shares["parameter"]))
        bars = Marks(
            x=numbers(shares["importance"]),
            y=[float(i) for i in range(len(shares))],
            kind="bars",
            color=PALETTE[0],
            words=[str(name) for name in shares["parameter"]],
        )
        x, y = Axis(title="share of importance"), Axis(ticks=ticks)
        height = 80 + ROW * len(shares)
        drawn = Panel(title="Importance", x=x, y=y, marks=(bars,), height=height, wide=True)
        parts = [Text(CAPTION), drawn]
    if len(untold):
        parts += [Text("Nothing can be told of:"), Table(untold[["parameter", "n", "note"]])]
    return Section(key=KEY, title=TITLE, parts=tuple(parts) or (Text("No parameter was varied."),))

"""Which parameters matter, by PED-ANOVA, and which chance alone may have put there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpsearch.report.panel import INK, OTHERS, PALETTE, Axis, Marks, Panel, numbers
from hpsearch.report.section import Part, Section, Table, Text

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from hpsearch.report.reading import Reading

KEY, TITLE = "importance", "What matters"
CAPTION = (
    "How far the values of the best trials are from those of all, one parameter at a time "
    "(PED-ANOVA, Watanabe, Bansal and Hutter 2023); the shares add up to 1, whether or not "
    "anything matters. A diamond is chance: of 100 shuffles of the parameter's values among the "
    "trials, 95 give no more. A grey bar is within it: these trials tell neither that the "
    "parameter matters nor that it does not. Of 20 parameters without any effect, about one is "
    "beyond chance all the same."
)
ROW = 28  # pixels


def importance(reading: Reading) -> Section:
    """Bars with what chance gives, and in words those of which nothing can be said."""
    from hpsearch.analysis.importance import importance_frame  # it needs SciPy

    found = importance_frame(reading.record, *reading.stored)
    told, untold = found[found["importance"].notna()], found[found["importance"].isna()]
    parts: list[Part] = []
    if len(told):
        parts = [Text(CAPTION), _drawn(told)]
    if len(untold):
        parts += [Text("Nothing can be told of:"), Table(untold[["parameter", "n", "note"]])]
    if merged := max(found["merged"], default=0):
        parts.append(Text(_merged(merged)))
    return Section(key=KEY, title=TITLE, parts=tuple(parts) or (Text("No parameter was varied."),))


def _drawn(told: DataFrame) -> Panel:
    """A bar a parameter, the first on top, and a diamond at what chance gives."""
    shares = told.iloc[::-1]  # bars go up
    names, beyond = [str(name) for name in shares["parameter"]], shares["beyond_chance"]
    y = [float(i) for i in range(len(names))]
    chance = Marks(
        x=numbers(shares["chance"]),
        y=y,
        name="chance",
        color=INK,
        words=names,
        symbol="diamond",
        size=8,
    )
    return Panel(
        title="Importance",
        x=Axis(title="share of importance"),
        y=Axis(ticks=tuple(zip(y, names, strict=True))),
        marks=(
            _bars(shares["importance"].where(beyond), names, "beyond chance", PALETTE[0]),
            _bars(shares["importance"].where(~beyond), names, "within chance", OTHERS),
            chance,
        ),
        height=80 + ROW * len(names),
        wide=True,
    )


def _bars(shares: Series[float], names: list[str], name: str, color: str) -> Marks:
    """One a parameter, of no length where there is no share: so all are of one width."""
    y = [float(i) for i in range(len(names))]
    return Marks(x=numbers(shares), y=y, name=name, kind="bars", color=color, words=names)


def _merged(count: int) -> str:
    if count == 1:
        return "1 more trial repeats one that counts here, or goes on with it: nothing new."
    return f"{count} more trials repeat some that count here, or go on with them: nothing new."

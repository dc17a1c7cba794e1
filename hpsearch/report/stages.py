"""The story of the stages: how each range narrowed and moved, where its best lay, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpsearch.report.panel import Axis, Marks, Panel, numbers
from hpsearch.report.reading import short
from hpsearch.report.section import Part, Section, Table, Text
from hpsearch.report.values import padded
from hpsearch.spec.reason import TOLD

if TYPE_CHECKING:
    import pandas as pd

    from hpsearch.report.reading import Reading

MOST_BRANCHES = 6  # in the plots, those with the best trials
MOST_ROWS = 300  # of a table
ELITE = 5  # trials that are marked in a stage's range
ROW = 24  # pixels


def stages(reading: Reading) -> Section:
    """The stages as they went, the ranges of each numeric parameter, and the reasons."""
    parts: list[Part] = []
    if len(reading.status):
        parts.append(Table(_status(reading)))
    drawn = panels(reading)
    if drawn:
        parts += [Text(_caption(reading)), *drawn]
    parts += _reasons(reading)
    return Section(key="stages", title="The story of the stages", parts=tuple(parts))


def panels(reading: Reading) -> list[Panel]:
    """A panel a numeric parameter that a stage has a range of."""
    found = (panel(reading, name) for name in reading.ranges())
    return [each for each in found if each is not None]


@dataclass(frozen=True, slots=True)
class Bar:
    """The range of a parameter in one stage of a branch, and where its best trials lay."""

    branch: str
    stage: str
    low: float
    high: float
    best: list[float]
    numbers: list[int]
    reason: str


def bars(reading: Reading, name: str) -> list[Bar]:
    """Those of one numeric parameter: branch by branch, the best first, each in stage order."""
    rows = reading.stages[(reading.stages["parameter"] == name) & reading.stages["low"].notna()]
    shown = list(reading.colors)[:MOST_BRANCHES]
    return [
        _bar(reading, row, name)
        for branch in shown
        for row in rows[rows["branch"].astype(str) == branch].itertuples()
    ]


def panel(reading: Reading, name: str) -> Panel | None:
    """The ranges of a numeric parameter, a line each; None where no stage has one."""
    found = bars(reading, name)
    if not found:
        return None
    last = len(found) - 1  # lines go down, axes go up
    ticks = tuple((float(last - i), _name(bar)) for i, bar in enumerate(found))
    return Panel(
        title=name,
        x=_axis(reading, name, found),
        y=Axis(ticks=ticks, limits=(-0.7, last + 0.7)),
        marks=tuple(mark for i, bar in enumerate(found) for mark in _marks(reading, bar, last - i)),
        height=80 + ROW * len(found),
        wide=True,
    )


def _bar(reading: Reading, row: Any, name: str) -> Bar:
    of_stage = reading.trials["stage"].astype(str) == str(row.stage)
    of_branch = reading.trials["branch"].astype(str) == str(row.branch)
    own = reading.trials[of_stage & of_branch & reading.trials["ranks"]].dropna(subset=[name])
    best = own.sort_values(["value", "number"], ascending=[not reading.is_max, True]).iloc[:ELITE]
    return Bar(
        branch=str(row.branch),
        stage=str(row.stage),
        low=float(row.low),
        high=float(row.high),
        best=[float(value) for value in best[name]],
        numbers=best["number"].tolist(),
        reason=str(row.reason) if isinstance(row.reason, str) else "as the spec says",
    )


def _marks(reading: Reading, bar: Bar, place: float) -> Iterator[Marks]:
    color = reading.colors[bar.branch]
    yield Marks(
        x=numbers([bar.low, bar.high]),
        y=[place, place],
        kind="line",
        width=7,
        opacity=0.45,
        color=color,
        words=[f"{_name(bar)}: {bar.reason}"] * 2,
        in_legend=False,
    )
    yield Marks(
        x=numbers(bar.best),
        y=[place] * len(bar.best),
        color=color,
        symbol="diamond",
        numbers=bar.numbers,
        words=[_name(bar)] * len(bar.best),
        size=6,
        in_legend=False,
    )


def _name(bar: Bar) -> str:
    return bar.stage if bar.branch == "all" else f"{short(bar.branch)} · {bar.stage}"


def _axis(reading: Reading, name: str, found: Sequence[Bar]) -> Axis:
    """From the lowest to the highest that any stage searched, and a little more."""
    low, high = min(bar.low for bar in found), max(bar.high for bar in found)
    return reading.axis(name, padded(low, high, is_log=reading.ranges()[name]))


def _status(reading: Reading) -> pd.DataFrame:
    names = ["stage", "kind", "state", "epochs", "trials", "complete", "pruned", "failed", "best"]
    return reading.status[names]


def _caption(reading: Reading) -> str:
    text = (
        "Each line is the range that a stage searched, one below the other as they went; diamonds "
        f"are the best {ELITE} trials within it."
    )
    num_branches = len(reading.colors)
    if num_branches > MOST_BRANCHES:
        text += f" Drawn are the {MOST_BRANCHES} best branches of {num_branches}."
    return text


def _reasons(reading: Reading) -> Iterator[Part]:
    told = reading.stages[reading.stages["reason"].notna()]
    told = told.assign(branch=told["branch"].astype("string").map(short, na_action="ignore"))
    changed = told["action"].fillna("").str.contains("|".join(TOLD))
    columns = ["stage", "branch", "reason"]  # which names the parameter, and old and new range
    if changed.any():
        yield Table(told.loc[changed, columns].iloc[:MOST_ROWS])
    elif len(reading.stages):
        yield Text("No range was changed.")
    if (~changed).any():
        rest = told.loc[~changed, columns].iloc[:MOST_ROWS]
        yield Table(rest, f"What was kept, allocated and repeated ({len(rest)} rows)")
    if len(told) > MOST_ROWS:
        yield Text(f"`hpsearch stages {reading.record.id}` has all {len(told)} reasons.")

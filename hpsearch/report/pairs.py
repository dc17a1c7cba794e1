"""The map of two parameters for each branch: rate against weight decay, where both are searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpsearch.report.axes import MOST_CROSSES
from hpsearch.report.panel import FAILED, Axis, Marks, Panel, numbers
from hpsearch.report.reading import sampled
from hpsearch.report.section import Part, Section, Text
from hpsearch.report.values import padded, within

if TYPE_CHECKING:
    import pandas as pd

    from hpsearch.report.reading import Reading

WANTED = ("learning_rate", "weight_decay")
MOST_POINTS = 600  # of a branch
HEIGHT = 340


def pair_of(reading: Reading) -> tuple[str, str] | None:
    """The two parameters: the rate and the weight decay, else the first numeric ones that vary."""
    ranges = reading.ranges()
    varied = [name for name in reading.varied if name in ranges]
    first = [name for name in WANTED if name in varied]
    pair = [*first, *(name for name in varied if name not in first)][:2]
    return (pair[0], pair[1]) if len(pair) == 2 else None


def pairs(reading: Reading) -> Section:
    """A map a branch, the best branches first; the others together."""
    pair = pair_of(reading)
    if pair is None:
        return Section(key="map", title="Two parameters at once", parts=(Text(why_none(reading)),))
    panels = maps(reading)
    caption = (
        f"{pair[1]} against {pair[0]}, a map for each branch; the colour is {reading.metric}. "
        "Crosses failed."
    )
    parts: tuple[Part, ...] = (Text(caption), *panels)
    return Section(key="map", title=f"{pair[0]} and {pair[1]}", parts=parts)


def why_none(reading: Reading) -> str:
    """Why there is no map: which parameters the search has, and what would give one."""
    numeric, space = reading.ranges(), reading.record.spec.space.parameters
    varied = [name for name in reading.varied if name in numeric]
    has = f"one, {varied[0]}" if varied else "none"
    others = [f"{name} ({_why_not(reading, name)})" for name in space if name not in varied]
    besides = f" (besides: {', '.join(others)})" if others else ""
    wanted = next((name for name in WANTED if name not in numeric), "another parameter")
    return (
        "A map needs two numeric parameters that vary among the trials that ended, and this search "
        f"has {has}{besides}. Give {wanted} a range under space to "
        "see how two act together."
    )


def _why_not(reading: Reading, name: str) -> str:
    if name not in reading.ranges():
        return "choices"
    return "the same in all" if name in reading.constant else "no such trial has it"


def maps(reading: Reading) -> list[Panel]:
    """The maps alone; none where there is no pair, or no trial that has both."""
    pair = pair_of(reading)
    if pair is None:
        return []
    ended = reading.trials[reading.trials["ranks"] | reading.trials["is_infeasible"]]
    parts = reading.by_color(ended.dropna(subset=list(pair)))
    x, y = (_axis(reading, ended, name) for name in pair)
    return [_map(reading, name, own, x, y) for name, _, own in parts]


def _axis(reading: Reading, ended: pd.DataFrame, name: str) -> Axis:
    """The same for all maps."""
    values, is_log = ended[name].dropna().astype("float64"), reading.ranges()[name]
    return reading.axis(name, padded(values.min(), values.max(), is_log=is_log))


def _map(reading: Reading, title: str, own: pd.DataFrame, x: Axis, y: Axis) -> Panel:
    ranked = own[own["ranks"]].sort_values("value", ascending=not reading.is_max)
    shown = sampled(ranked, MOST_POINTS).iloc[::-1]  # the best in front
    crosses = own[own["is_infeasible"]].iloc[:MOST_CROSSES]
    values = reading.ranked["value"].tolist()
    scale = reading.value_axis(values)
    marks = [
        Marks(
            x=numbers(crosses[x.title]),
            y=numbers(crosses[y.title]),
            name="failed",
            symbol="x",
            color=FAILED,
            size=7,
            numbers=crosses["number"].tolist(),
        )
    ] * bool(len(crosses))
    if len(shown):
        marks.append(
            Marks(
                x=numbers(shown[x.title]),
                y=numbers(shown[y.title]),
                values=numbers(within(scale, shown["value"].tolist())),
                numbers=shown["number"].tolist(),
                words=[f"{reading.metric} {value:.5g}" for value in shown["value"]],
                size=8,
                name="trials",
            )
        )
    return Panel(
        title=title,
        x=x,
        y=y,
        marks=tuple(marks),
        height=HEIGHT,
        scale_title=reading.metric,
        scale=_ends(within(scale, values)),
        scale_is_log=scale.is_log,
        best_is_low=not reading.is_max,
        legend=False,
    )


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None

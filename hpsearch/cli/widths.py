"""What people are told of widths: of each kind of trial, how many rows at once are fastest.

Called by ``summary`` at a search's end, and by ``hpsearch widths``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpsearch.plain_text import one_line

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from hpsearch.api import Result

MOST_KINDS = 6  # that are told one by one


MANY = 10_000  # from which on four digits would be written as 1.234e+04


def widths_shown(frame: DataFrame) -> DataFrame:
    """``db.widths()`` as a person reads it: microseconds, megabytes, and the best marked."""
    fits = frame["seconds"].notna()
    return frame.assign(
        best=frame["best"].map({True: "best", False: ""}).where(fits, "no memory"),
        **{
            "µs a row and step": _readable(1e6 * frame["seconds_per_row"]),
            "µs a step": _readable(1e6 * frame["seconds"]),
            "MB": _readable(frame["bytes"].astype("float64") / 1e6),
        },
    )[["kind", "device", "width", "µs a row and step", "best", "µs a step", "MB", "measured_at"]]


def _readable(values: Series) -> Series:
    return values.round().astype("Int64") if values.max() >= MANY else values


def is_auto(result: Result) -> bool:
    """Whether the search left it to what is measured."""
    return result.db.repository.find_search(result.id).spec.resources.width == "auto"


def widths_known(result: Result) -> list[dict[str, Any]]:
    """The ``width`` of each ``kind`` and ``device`` that the search trained on.

    Where it is auto, that is the best that the database knows by now, with its ``seconds_per_row``
    and how many were ``tried``: groups that began before it was known had another. If it is a
    number, or none was measured, that of the last group, with neither. JSON can hold all of it.
    """
    repository, auto = result.db.repository, is_auto(result)
    used = {(group.kind, group.device): group.width for group in repository.groups(result.id)}
    measured = result.db.widths()
    found = []
    for (kind, device), width in used.items():
        known: dict[str, Any] = {"width": width, "seconds_per_row": None, "tried": 0}
        of_kind = measured[(measured["kind"] == kind) & (measured["device"] == device)]
        if auto and of_kind["best"].any():
            best = of_kind[of_kind["best"]].iloc[0]
            known = {
                "width": int(best["width"]),
                "seconds_per_row": float(best["seconds_per_row"]),
                "tried": len(of_kind),
            }
        found.append({"kind": kind, "device": device, **known})
    return found


def width_lines(result: Result) -> list[str]:
    """:func:`widths_known` in words, a line a kind."""
    found = widths_known(result)
    lines = [_line(**one) for one in found[:MOST_KINDS]]
    if len(found) > MOST_KINDS:
        lines.append(f"and of {len(found) - MOST_KINDS} more kinds (`hpsearch widths`)")
    return lines


def _line(
    kind: str, device: str, width: int | None, seconds_per_row: float | None, tried: int
) -> str:
    place = one_line(f"{kind}, on {device}")
    if width is None:
        return f"{place}: all rows at once, since none was measured"
    said = f"{place}: {width} row{'s' * (width > 1)} at once"
    if seconds_per_row is None:
        return said
    return f"{said}, {1e6 * seconds_per_row:.3g} µs a row and step; {tried} widths tried"

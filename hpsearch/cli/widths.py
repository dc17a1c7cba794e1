"""What a search found out of widths: of each kind of trial, how many rows were trained at once.

Called by ``summary``; `hpsearch widths` has the frame of all that the database knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpsearch.api import Result

MOST_KINDS = 6  # that are told one by one


def widths_used(result: Result) -> list[dict[str, Any]]:
    """The ``width`` of each ``kind`` and ``device`` that the search trained on.

    That is the best that is known, with its ``seconds_per_row`` and how many were ``tried``; where
    none was measured, that of the last group, with neither. JSON can hold all of it.
    """
    repository = result.db.repository
    is_auto = repository.find_search(result.id).spec.resources.width == "auto"
    used = {(group.kind, group.device): group.width for group in repository.groups(result.id)}
    tried = result.db.widths().groupby(["kind", "device"])
    found = []
    for (kind, device), width in used.items():
        known: dict[str, Any] = {"width": width, "seconds_per_row": None, "tried": 0}
        if is_auto and (kind, device) in tried.groups:
            of_kind = tried.get_group((kind, device))
            best = of_kind[of_kind["best"]].iloc[0]
            known = {
                "width": int(best["width"]),
                "seconds_per_row": float(best["seconds_per_row"]),
                "tried": len(of_kind),
            }
        found.append({"kind": kind, "device": device, **known})
    return found


def width_lines(result: Result) -> list[str]:
    """:func:`widths_used` in words, a line a kind."""
    found = widths_used(result)
    lines = [_line(**one) for one in found[:MOST_KINDS]]
    if len(found) > MOST_KINDS:
        lines.append(f"and of {len(found) - MOST_KINDS} more kinds (`hpsearch widths`)")
    return lines


def _line(
    kind: str, device: str, width: int | None, seconds_per_row: float | None, tried: int
) -> str:
    rows = "all rows" if width is None else "1 row" if width == 1 else f"{width} rows"
    said = f"{kind}, on {device}: {rows} at once"
    if seconds_per_row is None:
        return said
    return f"{said}, {1e6 * seconds_per_row:.3g} µs a row and step; {tried} widths tried"

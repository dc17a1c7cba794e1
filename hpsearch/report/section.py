"""Section: a heading of the report and what stands under it, as plain values.

Made by the files of this room that are named for what they show; ``page`` writes them as HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpsearch.report.panel import Panel

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True, slots=True)
class Table:
    """A frame as rows; with a ``summary`` it is folded away under these words."""

    frame: DataFrame
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied."""

    text: str


@dataclass(frozen=True, slots=True)
class Legend:
    """What the colours of the panels below mean: (colour, name) each."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PngImage:
    """A picture; ``png`` is its file, and ``words`` say what is on it. It is drawn large."""

    png: bytes
    words: str


Part = Text | Table | Code | Legend | PngImage | Panel


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the report; ``key`` is its anchor."""

    key: str
    title: str
    parts: tuple[Part, ...]

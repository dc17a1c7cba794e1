"""``write_report``: the page of a search, from the database to a file.

Called by ``hpsearch report``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch import __version__
from hpsearch.report.axes import axes
from hpsearch.report.coordinates import coordinates
from hpsearch.report.curves import curves
from hpsearch.report.files import check_writable, write
from hpsearch.report.findings import findings
from hpsearch.report.importance import importance
from hpsearch.report.network import network
from hpsearch.report.overview import overview
from hpsearch.report.page import page
from hpsearch.report.pairs import pairs
from hpsearch.report.progress import progress
from hpsearch.report.reading import Reading, read
from hpsearch.report.section import Section
from hpsearch.report.stages import stages
from hpsearch.report.winner import best_trials, winning_spec

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef

SECTIONS: tuple[Callable[[Reading], Section], ...] = (
    overview,
    best_trials,
    findings,
    stages,
    importance,
    axes,
    pairs,
    coordinates,
    curves,
    progress,
    network,
    winning_spec,
)


def write_report(frames: Frames, search: SearchRef, file: Path) -> None:
    """Write the page of ``search`` to ``file``, which is there whole or not at all.

    Raises StorageError if there is no such search, HpsearchError if the file cannot be written.
    """
    check_writable(file)
    reading = read(frames, search)
    text = page(
        f"{reading.record.name}: report", subtitle(reading), [make(reading) for make in SECTIONS]
    )
    write(file, text.encode())


def subtitle(reading: Reading) -> str:
    """Which search it is, and when the page was written."""
    record = reading.record
    good = "highest" if reading.is_max else "lowest"
    return (
        f"Search {record.id}, {record.state}. Objective: the {good} {reading.metric}. Data: "
        f"{record.spec.data.source}. Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by hpsearch "
        f"{__version__}."
    )

"""``write_report``: the page of a search, from the database to a file.

Called by ``hpsearch report``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch import __version__
from hpsearch.errors import HpsearchError
from hpsearch.report.axes import axes
from hpsearch.report.coordinates import coordinates
from hpsearch.report.curves import curves
from hpsearch.report.findings import findings
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
    axes,
    pairs,
    coordinates,
    curves,
    progress,
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


def check_writable(file: Path) -> None:
    """Before the work is done. Raises HpsearchError."""
    folder = file.absolute().parent
    if file.is_dir():
        raise HpsearchError(
            f"--output must be the path of a file, but {str(file)!r} is a folder: name a file in it"
        )
    if not folder.is_dir():
        raise HpsearchError(
            f"the folder of --output must exist, but {str(folder)!r} does not: create it, or give "
            "another path"
        )


def write(file: Path, content: bytes) -> None:
    """By another name first, which is renamed. Raises HpsearchError."""
    unfinished = file.with_name(f".{file.name}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise HpsearchError(
            f"--output must be a file that can be written, but {str(file)!r} cannot "
            f"({error.strerror}): give another path"
        ) from error

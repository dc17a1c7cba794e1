"""The diagnoses: what should be known of the search before it is believed, and of its trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpsearch.analysis.diagnosis import tables
from hpsearch.analysis.diagnosis.searching import is_diagnosed
from hpsearch.report.section import Part, Section, Table, Text

if TYPE_CHECKING:
    from hpsearch.report.reading import Reading

MOST = 300  # findings about single trials


def findings(reading: Reading) -> Section:
    """All about the search in sentences, those about trials summed up by kind, and one by one."""
    found = reading.findings
    general = found[found["number"].isna()]
    single = found[found["number"].notna()]
    parts: list[Part] = [
        Text(f"{tables.words(str(row.kind)).capitalize()}: {row.message}")
        for row in general.itertuples()
    ]
    if len(single):
        total = sum(is_diagnosed(trial) for trial in reading.stored[1])
        parts.append(
            Text(f"Of {total:,} trials, each kind of finding with the best trial that shows it:")
        )
        kinds = tables.by_kind(single, tables.places(reading.frames, reading.record.id))
        parts.append(Table(kinds.assign(kind=kinds["kind"].map(tables.words))))
        shown = single[["number", "stage", "kind", "message"]].iloc[:MOST]
        parts.append(Table(shown, f"Trial by trial ({len(shown)} of {len(single)})"))
    if not parts:
        parts.append(Text("Nothing was found that should be told."))
    return Section(key="findings", title="Diagnoses", parts=tuple(parts))

"""The diagnoses: what should be known of the search before it is believed, and of its trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

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
        parts.append(Table(by_kind(reading, single)))
        shown = single[["number", "stage", "kind", "message"]].iloc[:MOST]
        parts.append(Table(shown, f"Trial by trial ({len(shown)} of {len(single)})"))
    if not parts:
        parts.append(Text("Nothing was found that should be told."))
    return Section(key="findings", title="Diagnoses", parts=tuple(parts))


def by_kind(reading: Reading, single: pd.DataFrame) -> pd.DataFrame:
    """A row a kind, the most frequent first, with the best trial that shows it as the example."""
    examples = tables.examples(reading.frames, reading.record.id, single)
    rows = [
        (tables.words(kind), count, examples.loc[kind, "number"], examples.loc[kind, "message"])
        for kind, count in tables.counts(single).items()
    ]
    return pd.DataFrame(rows, columns=["kind", "trials", "number", "message"])

"""Several searches side by side: what each found, for how much, and whether they differ at all.

Called by ``Frames.compare``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hpsearch.analysis.chance import Sample, within_noise
from hpsearch.analysis.columns import to_frame
from hpsearch.analysis.layout import COMPARED
from hpsearch.analysis.ranking import objective_of, samples_of
from hpsearch.errors import HpsearchError
from hpsearch.storage import queries
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository

DIGITS = 8  # of the 32 of a fingerprint


def check_comparable(searches: Sequence[SearchRecord]) -> None:
    """Raises HpsearchError unless they are two or more that rank by the same objective."""
    if len({search.id for search in searches}) < 2:
        raise HpsearchError(
            "compare must be given two different searches or more, but got "
            f"{len({search.id for search in searches})}: name others, which `hpsearch list` shows"
        )
    first = searches[0]
    for search in searches[1:]:
        if search.spec.objective != first.spec.objective:
            told = [f"{s.spec.objective.metric} ({s.spec.objective.mode})" for s in (first, search)]
            raise HpsearchError(
                f"searches that are compared must have the same objective, but {first.name} (id "
                f"{first.id}) has {told[0]} and {search.name} (id {search.id}) has {told[1]}"
            )


def compared(repository: Repository, searches: Sequence[SearchRecord]) -> pd.DataFrame:
    """A row a search, the best first; those without a result last, in the order given."""
    check_comparable(searches)
    mode = searches[0].spec.objective.mode
    sign = -1.0 if mode == "max" else 1.0
    with repository.database.read() as connection:
        spent = {row.search: row for row in queries.spent(connection, [s.id for s in searches])}
        found = {s.id: samples_of(connection, s, n=1) for s in searches}
        ended = [search for search in searches if found[search.id]]
        ended.sort(key=lambda search: sign * found[search.id][0][1].mean)
        samples = [found[search.id][0][1] for search in ended]
        trial = found[ended[0].id][0][0] if ended else None
        values = objective_of(connection, ended[0].spec, trial.trial) if trial else np.empty(0)
        data = _data(searches, queries.data_read(connection, [s.id for s in searches]))
    near = within_noise(samples, mode, values)
    more = {search.id: (*spent[search.id][1:], data[search.id]) for search in searches}
    rows = [
        (*_about(s), found[s.id][0][0].number, *_result(of, samples[0]), is_near, *more[s.id])
        for s, of, is_near in zip(ended, samples, near, strict=True)
    ]
    nothing = (None,) * 7
    rest = [(*_about(s), *nothing, *more[s.id]) for s in searches if not found[s.id]]
    return to_frame([*rows, *rest], COMPARED)


def _about(search: SearchRecord) -> tuple[int, str, str]:
    return search.id, search.name, search.state


def _data(
    searches: Sequence[SearchRecord], noted: Mapping[int, Mapping[str, Any]]
) -> dict[int, str | None]:
    """The source of each search's data, with what tells its examples from others, if it is noted.

    Of data that are streamed some inputs are known: then it is that of some of all searches.
    """
    whole = all(read.get("fingerprint") for read in noted.values())
    digests = {id: read.get("fingerprint" if whole else "sample") for id, read in noted.items()}
    return {s.id: _source(s, digests.get(s.id)) for s in searches}


def _source(search: SearchRecord, digest: str | None) -> str | None:
    if search.spec.trainable is not None:
        return None  # it has its own
    return f"{search.spec.data.source} {(digest or '')[:DIGITS]}".strip()


def _result(sample: Sample, best: Sample) -> tuple[float, float, int, bool, float]:
    behind = abs(sample.mean - best.mean)
    return sample.mean, sample.spread, sample.n, sample.confirmed, behind

"""Ending: whether a search that was carried out to its end came to something, and why not.

Asked when it is given back, by all that do that, and by the command line, which says the same.
"""

from __future__ import annotations

import math
from collections import Counter

from hpsearch.settings import command
from hpsearch.storage.failures import in_common
from hpsearch.storage.records import SearchRecord, SearchState, TrialRecord
from hpsearch.storage.repository import Repository
from hpsearch.storage.upkeep import RETRIED


def ending(repository: Repository, search_id: int) -> tuple[SearchState, str | None]:
    """Complete; or, of a search of which no trial came to an end with a value, failed, and why."""
    if repository.has_value(search_id):
        return "complete", None
    record = repository.find_search(search_id)
    why = why_nothing(repository, record)
    return "failed", f"{record.message}; {why}" if record.message else why


def why_nothing(repository: Repository, search: SearchRecord) -> str:
    """That all was pruned or diverged, if it was found so; else how most failed, if any did.

    Or that the objective was never finite: a metric of the user's own may be so.
    """
    found = repository.diagnoses(search.id)
    if told := [one.message for one in found if one.kind == "nothing_complete"]:
        return told[0]
    trials = repository.load(search.id)[1]
    none = f"none of its {len(trials)} trials ended with a value"
    if failed := [trial for trial in trials if trial.state == "failed"]:
        return f"{none}; {_how_most_failed(repository, search, failed)}"
    metric = search.spec.objective.metric
    curves = repository.curves(search.id, metric).values()
    measured = [value for curve in curves for value in curve.values()]
    if measured and not any(map(math.isfinite, measured)):
        mend = "mend the metric, or choose another objective.metric"
        return f"{none}, for {metric} was {measured[0]} in each epoch: {mend}"
    states = Counter(trial.state for trial in trials)
    return f"{none} that ranks: {', '.join(f'{n} {state}' for state, n in states.items())}"


def _how_most_failed(
    repository: Repository, search: SearchRecord, failed: list[TrialRecord]
) -> str:
    ((kind, count),) = Counter(trial.failure_kind for trial in failed).most_common(1)
    most = [trial for trial in failed if trial.failure_kind == kind]
    told = f"{count} failed as {kind}, {in_common(most)}"
    if kind not in RETRIED or search.spec.is_from_elsewhere:
        return told
    again = command(f"retry-failed {search.id}", repository.database.url)
    return f"{told}; mend it, and try them again with {again}"

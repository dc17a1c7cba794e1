"""The verdict: what a person should know about a finished search before believing its result.

Called by the loop at the end of a search; stored as diagnoses and shown as warnings.
"""

from __future__ import annotations

from hpsearch.analysis.diagnosis.searching import search_diagnoses
from hpsearch.coordinator.view import SearchView
from hpsearch.storage.records import NewDiagnosis
from hpsearch.storage.repository import Repository


def final_diagnoses(repository: Repository, view: SearchView) -> list[NewDiagnosis]:
    """What the rules say of the search and of each trial's curves; little of a healthy one."""
    trials = list(view.trials.values())
    return search_diagnoses(repository, view.search, view.stages, trials, ended=True)

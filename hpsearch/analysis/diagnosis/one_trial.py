"""Findings about one trial, of any state: of one that waits, runs, was pruned or failed too.

Called by ``hpsearch diagnose --trial``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hpsearch.analysis.diagnosis import tables
from hpsearch.analysis.diagnosis.searching import is_diagnosed, trial_diagnoses
from hpsearch.errors import HpsearchError
from hpsearch.storage.records import SearchRecord, TrialRecord

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef


def find(frames: Frames, search: SearchRef, number: int) -> tuple[SearchRecord, TrialRecord]:
    """The trial of that number, with its search. Raises HpsearchError if there is none."""
    record = frames.repository.find_search(search)
    trial = frames.repository.find_trial(record.id, number)
    if trial is not None:
        return record, trial
    last = max((trial.number for trial in frames.repository.load(record.id)[1]), default=-1)
    raise HpsearchError(
        f"--trial must be a trial's number, 0 to {last}, but got {number}; `hpsearch trials "
        f"{search}` lists them"
    )


def findings(frames: Frames, search: SearchRecord, trial: TrialRecord) -> pd.DataFrame:
    """The findings about the trial: those stored at the search's end, else what its curve shows."""
    stored = frames.diagnoses(search.id)
    if is_diagnosed(trial) and tables.are_of_end(search, stored):
        mine = stored.loc[stored["number"] == trial.number, tables.COLUMNS]
        return mine.reset_index(drop=True)
    stages, trials = frames.repository.load(search.id)
    return tables.frame_of(
        trial_diagnoses(frames.repository, search, trials, trial), stages, trials
    )

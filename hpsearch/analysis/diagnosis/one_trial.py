"""Findings about one trial, of one that has not ended too.

Called by ``hpsearch diagnose --trial``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hpsearch.analysis.diagnosis import tables
from hpsearch.analysis.diagnosis.searching import is_diagnosed, trial_diagnoses

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef


def findings_so_far(
    frames: Frames, search: SearchRef, found: pd.DataFrame, number: int
) -> pd.DataFrame:
    """Those of ``found`` that are about the trial; of one that runs or was pruned, by its curve.

    Raises HpsearchError if there is no trial of that number.
    """
    stored = tables.of_trial(frames, search, found, number)
    record = frames.repository.find_search(search)
    stages, trials = frames.repository.load(record.id)
    (trial,) = [trial for trial in trials if trial.number == number]
    if is_diagnosed(trial):
        return stored
    so_far = trial_diagnoses(frames.repository, record, trials, trial)
    return tables.frame_of(so_far, stages, trials)

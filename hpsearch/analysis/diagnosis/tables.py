"""Findings as frames for people: with the trials' numbers, and summed up by kind.

Called by ``hpsearch diagnose``, with ``one_trial`` of one trial, by what ``hpsearch run`` prints at
its end, and by the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hpsearch.analysis.diagnosis.searching import is_diagnosed, search_diagnoses
from hpsearch.storage.records import (
    CHECK_KIND,
    NewDiagnosis,
    SearchRecord,
    StageRecord,
    TrialRecord,
)

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames, SearchRef

NOTES = ("train_longer", "train_shorter", "trade_off", "no_effect", "known_already")  # no doubts
PASSED = ("pass", "skip")  # verdicts of checks that nobody need be told
COLUMNS = ["number", "stage", "kind", "message", "evidence"]


def findings(frames: Frames, search: SearchRef) -> pd.DataFrame:
    """All findings about a search, a row each; ``number`` is NA for those about no single trial.

    Those that were stored at its end; before it, those about the trials that have ended so far. Of
    the checks that were made before it, those that did not pass.
    """
    record = frames.repository.find_search(search)
    stored = frames.diagnoses(record.id)
    if not are_of_end(record, stored):
        stages, trials = frames.repository.load(record.id)
        found = search_diagnoses(frames.repository, record, stages, trials, ended=False)
        stored = pd.concat([stored[COLUMNS], frame_of(found, stages, trials)])
    told = [evidence.get("verdict") not in PASSED for evidence in stored["evidence"]]
    return stored.loc[np.array(told, dtype=bool), COLUMNS]  # [] would select columns, not rows


def are_of_end(search: SearchRecord, stored: pd.DataFrame) -> bool:
    """Whether the stored findings are those of the search's end, and not of its checks alone."""
    is_check = stored["kind"].astype("string").str.startswith(CHECK_KIND)
    return search.state == "complete" or not is_check.all()


def summary(frames: Frames, search: SearchRef, found: pd.DataFrame) -> pd.DataFrame:
    """What is found of the search, then a row a kind of what is found of trials."""
    total, kinds = num_diagnosed(frames, search), by_kind(found, places(frames, search))
    counted = kinds.assign(trials=[f"{n} of {total}" for n in kinds["trials"]])
    general = found[found["number"].isna()]
    rows = [(row.kind, None, None, row.message) for row in general.itertuples()]
    frame = pd.DataFrame([*rows, *counted.to_numpy()], columns=kinds.columns)
    return frame.astype({"number": "Int64"})


def places(frames: Frames, search: SearchRef) -> dict[int, int]:
    """Where each trial stands as an example of what was found, by number: as `best` ranks them.

    Then come those that do not rank there, by value; and last the repeats, which `best` has as the
    trial that they repeat.
    """
    record, trials = frames.repository.find_search(search), _trials(frames, search)
    sign = -1.0 if record.spec.objective.mode == "max" else 1.0
    ranked = [int(number) for number in frames.best(record.id, n=len(trials))["number"]]
    known = set(ranked)
    rest = [trial for trial in trials if trial.number not in known]
    rest.sort(key=lambda trial: (trial.replicate > 0, _place(trial, sign), trial.number))
    ordered = [*ranked, *(trial.number for trial in rest)]
    return {number: place for place, number in enumerate(ordered)}


def _place(trial: TrialRecord, sign: float) -> float:
    value = trial.value
    return math.inf if value is None or math.isnan(value) else sign * value


def by_kind(found: pd.DataFrame, places: Mapping[int, float]) -> pd.DataFrame:
    """A row a kind, the most frequent first, with the best trial that shows it as the example.

    ``places`` are of trials by number, lower is better; one that has none comes after the others.
    """
    about = found[found["number"].notna()]
    ordered = about.assign(place=about["number"].map(places)).sort_values(["place", "number"])
    examples = ordered.drop_duplicates("kind").set_index("kind")
    rows = [
        (kind, count, examples.loc[kind, "number"], examples.loc[kind, "message"])
        for kind, count in counts(found).items()
    ]
    return pd.DataFrame(rows, columns=["kind", "trials", "number", "message"])


def counts(found: pd.DataFrame) -> dict[str, int]:
    """How many trials each kind was found in, the most frequent first."""
    about = found[found["number"].notna()]
    pairs = [(str(kind), int(n)) for kind, n in about["kind"].value_counts().items() if n]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def num_diagnosed(frames: Frames, search: SearchRef) -> int:
    """Of how many trials the curves were looked at."""
    return sum(is_diagnosed(trial) for trial in _trials(frames, search))


def words(kind: str) -> str:
    """The kind as it is read: rate too high."""
    return kind.replace("_", " ")


def frame_of(
    found: Sequence[NewDiagnosis], stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> pd.DataFrame:
    """Findings that are not stored, with their trial's number and their stage's name."""
    numbers = {trial.id: trial.number for trial in trials}
    names = {stage.id: stage.name for stage in stages}
    rows: list[tuple[object, ...]] = [
        (
            numbers.get(d.trial_id or -1),
            names.get(d.stage_id or -1),
            *(d.kind, d.message, dict(d.evidence)),
        )
        for d in found
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"number": "Int64"})


def _trials(frames: Frames, search: SearchRef) -> list[TrialRecord]:
    return frames.repository.load(frames.repository.find_search(search).id)[1]

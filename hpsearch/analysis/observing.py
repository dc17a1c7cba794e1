"""``observe``: stored trials as samplers, the refiner and the rules about a whole search see them.

Called by the coordinator and by this room; storage and sampling know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpsearch.sampling.observations import Observation
from hpsearch.storage.records import TrialRecord


def observe(trials: Iterable[TrialRecord]) -> list[Observation]:
    """Finished trials, pruned ones too."""
    return [
        Observation(
            branch=trial.branch,
            params=trial.params,
            value=trial.value,
            state=trial.state,
            failure_kind=trial.failure_kind,
            number=trial.number,
        )
        for trial in trials
        if trial.state == "complete" or trial.state == "pruned" or trial.state == "failed"
    ]

"""What must hold once a disturbed service was left alone: nothing is lost, nothing is left over.

Used by ``soak.py``; each function gives a sentence for each rule that is broken.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from lab import Lab
from record import verdict

from hpsearch.analysis.frames import Frames
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository

LEAVE_S = 30.0  # for workers to end after their search


def not_complete(records: Sequence[SearchRecord], cancelled: Collection[int]) -> list[str]:
    """Searches that have not come to their end, though nobody has ``cancelled`` them."""
    return [
        f"search {r.id} must be complete, but is {r.state}: {r.message}"
        for r in records
        if r.state != "complete" and r.id not in cancelled
    ]


def other_tables(
    repository: Repository, records: Sequence[SearchRecord], undisturbed: Collection[int]
) -> list[str]:
    """Searches whose results are not those of the undisturbed search of the same name."""
    expected = {r.name: table(repository, r.id) for r in records if r.id in undisturbed}
    complete = [r for r in records if r.state == "complete" and r.id not in undisturbed]
    compared = [record for record in complete if not _lost_trials(repository, record.id)]
    other = [r for r in compared if table(repository, r.id) != expected[r.name]]
    said = verdict(f"{len(compared)}, and any", reached=not other and bool(compared))
    print(f"tables as those of an undisturbed search: {len(compared) - len(other)}{said}")
    return [f"search {r.id} ({r.name}) has another table" for r in other]


def _lost_trials(repository: Repository, search_id: int) -> bool:
    """Whether a trial was given up, its worker killed three times: what followed did without it."""
    return any("(worker_lost)" in str(event.data) for event in repository.events(search_id))


def table(repository: Repository, search_id: int) -> list[tuple[object, ...]]:
    """All that a search found out, without times."""
    trials = repository.load(search_id)[1]
    numbers = {trial.id: trial.number for trial in trials}
    curves = Frames(repository).curves(search_id).drop(columns=["seconds"])
    curves["trial"] = curves["trial"].map(numbers)
    rows = curves.sort_values(["trial", "epoch"]).map(repr)  # nan is not nan
    ended = ((t.number, t.params, t.state, t.value, t.best_epoch, t.epochs) for t in trials)
    return [*ended, *map(tuple, rows.values.tolist())]


def left_over(lab: Lab) -> list[str]:
    """Workers that nobody needs, and errors that nobody foresaw."""
    end_s = time.monotonic() + LEAVE_S
    while lab.workers() and time.monotonic() < end_s:
        time.sleep(1)
    workers = [f"a worker is left: {process.cmdline()}" for process in lab.workers()]
    logs = {"hpsearch serve": lab.log("serve"), **lab.logs_of_jobs()}
    said = [f"{name} raised:\n{log[-2000:]}" for name, log in logs.items() if "Traceback" in log]
    return workers + said

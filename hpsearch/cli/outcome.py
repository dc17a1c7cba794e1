"""What became of a search's trials, in words: how many ended how, and why none ranks.

Called by ``summary``, ``progress`` and ``hpsearch best``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from hpsearch.coordinator.failures import headline
from hpsearch.plain_text import one_line
from hpsearch.settings import command

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames
    from hpsearch.storage.records import SearchRecord, TrialRecord, TrialState

TOLD: tuple[TrialState, ...] = (
    "complete",
    "pruned",
    "running",
    "waiting",
    "failed",
)  # the states, in this order


def by_state(trials: Collection[TrialRecord]) -> dict[str, int]:
    """How many trials have each state; states that none has are left out."""
    counted = Counter(trial.state for trial in trials)
    return {state: counted[state] for state in TOLD if counted[state]}


def epochs(trials: Collection[TrialRecord]) -> tuple[int, int]:
    """The epochs that were trained, and those to which all trials would have come.

    Those that a trial took over from the one that it continues count in neither.
    """
    trained = sum(trial.epochs - trial.start_epoch for trial in trials)
    return trained, sum(trial.target_epochs - trial.start_epoch for trial in trials)


def line(trials: Collection[TrialRecord]) -> str:
    """As in: 134 complete, 17 failed (12 diverged, 5 error); 5,356 of 6,660 epochs trained."""
    trained, in_all = epochs(trials)
    return f"{counts(by_state(trials))}{kinds(trials)}; {trained:,} of {in_all:,} epochs trained"


def kinds(trials: Collection[TrialRecord]) -> str:
    """What became of those that failed, to stand after their number; nothing if none did."""
    counted = Counter(trial.failure_kind for trial in trials if trial.failure_kind)
    told = [f"{n} {kind.replace('_', ' ')}" for kind, n in counted.most_common()]
    return f" ({', '.join(told)})" * bool(told)


def counts(states: dict[str, int]) -> str:
    """As in: 134 complete, 665 pruned, 17 failed."""
    return ", ".join(f"{n} {state}" for state, n in states.items())


def standing(search: SearchRecord) -> str:
    """As: digits (id 3): failed (its data are gone)."""
    return f"{search.name} (id {search.id}): {_state(search)}"


def _state(search: SearchRecord) -> str:
    return search.state + (f" ({search.message})" if search.message else "")


def not_begun(frames: Frames, search: SearchRecord) -> str:
    """Of a search without a stage: what it waits for."""
    name = f"{search.name} (id {search.id})"
    if search.state != "submitted":
        return f"{name} is {_state(search)}, and no stage of it was opened"
    url = frames.repository.database.url
    if not search.served:
        return f"{name} has not begun: {command(f'resume {search.id}', url)} carries it out"
    log = frames.repository.events(search.id)
    submitted = [event.created_at for event in log if event.kind == "submitted"]
    since = max(submitted, default=search.created_at)
    return (
        f"{name} waits for the service since {since:%Y-%m-%d %H:%M:%S} UTC, with priority "
        f"{search.priority}: {command('serve', url)} takes it up"
    )


def no_finding_of_search(frames: Frames, search: SearchRecord) -> str:
    """Of a search of which no rule says anything: of how many trials the curves were looked at."""
    from hpsearch.analysis.diagnosis.searching import is_diagnosed

    trials = frames.repository.load(search.id)[1]
    return (
        f"{standing(search)}, and no rule fired; {sum(map(is_diagnosed, trials))} of "
        f"{len(trials)} trials were looked at, those that are complete or diverged"
    )


def no_finding_of_trial(search: SearchRecord, trial: TrialRecord) -> str:
    """Of a trial of which no rule says anything: its state, and how many epochs were looked at."""
    state = trial.state + (f" ({trial.failure_kind})" if trial.failure_kind else "")
    told = f"Trial {trial.number} of {search.name} (id {search.id}) is {state}"
    if not trial.epochs:
        return f"{told}, and has no epoch yet that a rule could look at"
    so_far = " so far" * (trial.state in ("waiting", "running"))
    epochs = f"{trial.epochs} epoch{'s' * (trial.epochs != 1)}{so_far}"
    return f"{told}, and no rule fired over its {epochs}"


def no_best(frames: Frames, search: SearchRecord) -> str:
    """Of a search without a trial that ranks: how far it is, or what became of its trials."""
    states = frames.status(search.id)
    if states.empty:
        return not_begun(frames, search)
    if search.state == "running" and not states["complete"].sum():
        sums = {str(state): int(states[state].sum()) for state in TOLD}
        counted = {state: n for state, n in sums.items() if n}
        told = counts(counted) or "none yet"
        return f"{standing(search)}, and no trial has ended with a value: its trials are {told}"
    return why_nothing(frames, search.id)


def why_nothing(frames: Frames, search_id: int) -> str:
    """That all was pruned or diverged, if it was found so; else how most failed, if any did.

    Or that the objective was never finite: a metric of the user's own may be so. One line, whatever
    is in a metric's name or an exception's message.
    """
    return one_line(_why_nothing(frames, search_id))


def _why_nothing(frames: Frames, search_id: int) -> str:
    has_all = f"(`hpsearch trials {search_id} --format csv` has all)"
    record = frames.repository.find_search(search_id)
    name, metric = record.name, record.spec.objective.metric
    found = frames.diagnoses(search_id)
    said = found.loc[found["kind"] == "nothing_complete", "message"]
    if len(said):
        return f"{name}: {said.iloc[0]} {has_all}"
    trials = frames.repository.load(search_id)[1]
    none = f"none of the {len(trials)} trials of {name} ended with a value"
    failed = [trial for trial in trials if trial.state == "failed"]
    if not failed:
        curves = frames.repository.curves(search_id, metric).values()
        measured = [value for curve in curves for value in curve.values()]
        if measured and not any(map(math.isfinite, measured)):
            mend = "mend the metric, or choose another objective.metric"
            return f"{none}, for {metric} was {measured[0]} in each epoch: {mend} {has_all}"
        return f"{none} that ranks: {counts(by_state(trials))} {has_all}"
    ((kind, _),) = Counter(trial.failure_kind for trial in failed).most_common(1)
    message = next(t.failure_message for t in failed if t.failure_kind == kind)
    return (
        f"{none}; most failed as {kind}, the first with: {headline(message or str(kind))} {has_all}"
    )

"""What became of a search's trials, in words: how many ended how, and why none ranks.

Called by ``summary``, ``progress`` and ``hpsearch best``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from hpsearch.coordinator import ending
from hpsearch.plain_text import one_line
from hpsearch.settings import command
from hpsearch.storage.records import ENDED, FINISHED

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
    return search.state + (f" ({one_line(search.message)})" if search.message else "")


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


def so_far(frames: Frames, search: SearchRecord) -> str | None:
    """Of a search that has not ended: on how many of its trials that rests which is best."""
    if search.state in ENDED:
        return None
    stages = frames.status(search.id)
    ended = sum(int(stages[state].sum()) for state in FINISHED)
    told = f"so far {ended} of {stages['trials'].sum()} trials have ended"
    return f"{standing(search)}; {told}: the best may change"


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
    """Of a search that has ended, or whose trials have: why none of them has a value.

    One line, whatever is in a metric's name or an exception's message.
    """
    record = frames.repository.find_search(search_id)
    has_all = f"(`hpsearch trials {search_id} --format csv` has all)"
    why = ending.why_nothing(frames.repository, record)
    return one_line(f"{record.name}: {why} {has_all}")

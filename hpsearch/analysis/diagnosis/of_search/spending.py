"""How the budget was spent: a branch cut too early to judge, and trials of what was known already.

Rules of ``of_search.rules``. Sources: Godbole et al., Deep Learning Tuning Playbook (2023); Li et
al., "Hyperband", JMLR 18 (2018), section 3: how early curves can be told apart is not known
beforehand.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hpsearch.analysis.diagnosis.of_search.edges import clearest_edge
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.observing import new_ones
from hpsearch.storage.records import NewDiagnosis, TrialRecord

LEAST_EPOCHS = 4  # to see what the last half of a curve gained
LOOKED_AT = 3  # of a branch's best trials
FASTER = 3.0  # times what the leader gained meanwhile
LEAST_PRUNED = 5  # trials of a branch that were all pruned
REPEATED = 0.2  # of the trials
LEAST_REPEATED = 5
KNOWN = 0.1  # of a stage's trials
LEAST_KNOWN = 5


def cut_early(picture: Picture) -> Iterator[NewDiagnosis]:
    """A branch was dropped, or pruned away, while it caught up with the leader."""
    for planned in picture.planned:
        trials = picture.of(planned)
        for branch, how in _cut(picture, planned, trials).items():
            race = _race(picture, branch, trials)
            if race is not None and race.catches_up:
                yield _too_early(picture, planned, f"{branch} {how}", race)


def _cut(picture: Picture, planned: int, trials: Sequence[TrialRecord]) -> dict[str, str]:
    """The branches that ended with a stage, and how."""
    later = (stage for stage in picture.stages if stage.planned == planned + 1)
    reasons = [reason for stage in later for reason in stage.reasons]
    dropped = {r.branch for r in reasons if r.action == "dropped" and r.parameter is None}
    states: dict[str, list[str]] = defaultdict(list)
    for trial in trials:
        states[trial.branch].append(trial.state)
    pruned = [b for b, of in states.items() if len(of) >= LEAST_PRUNED and {*of} == {"pruned"}]
    cut = {branch: "was dropped" for branch in states if branch in dropped}
    return {**cut, **dict.fromkeys(pruned, "was pruned away")}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Race:
    """A branch's best trials against the stage's best one, up to where the branch was cut.

    ``gap`` is how far they were behind after ``epochs``, ``gain`` what they gained in the last half
    of them, ``leading`` what the leader gained meanwhile; medians over the branch's best trials.
    """

    epochs: int
    gap: float
    gain: float
    leading: float

    @property
    def catches_up(self) -> bool:
        """Whether another half like the last would have closed the gap."""
        return self.gain >= self.gap > 0 and self.gain >= FASTER * self.leading


def _race(picture: Picture, branch: str, trials: Sequence[TrialRecord]) -> _Race | None:
    records = {trial.id: _record(picture, trial) for trial in trials}
    ordered = _by_value(picture, trials)
    own = [records[t.id] for t in ordered if t.branch == branch][:LOOKED_AT]
    others = [records[t.id] for t in ordered if t.branch != branch]
    if not own or not others or min(map(len, own)) < LEAST_EPOCHS:
        return None
    epochs = min(map(len, own))
    leader, half = others[0], epochs // 2
    if len(leader) < epochs:
        return None
    return _Race(
        epochs=epochs,
        gap=statistics.median(picture.gain(one[epochs - 1], leader[epochs - 1]) for one in own),
        gain=statistics.median(picture.gain(one[half - 1], one[epochs - 1]) for one in own),
        leading=picture.gain(leader[half - 1], leader[epochs - 1]),
    )


def _by_value(picture: Picture, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Complete and pruned trials, best first."""
    known = [t for t in trials if t.state in ("complete", "pruned") and t.id in picture.curves]
    sign = -1.0 if picture.spec.objective.mode == "max" else 1.0
    return sorted(known, key=lambda t: (sign * (t.value or 0.0), t.number))


def _record(picture: Picture, trial: TrialRecord) -> list[float]:
    """The best value up to each epoch; nothing of a trial that reported none."""
    curve = picture.curves.get(trial.id)
    if curve is None:
        return []
    best = np.maximum if picture.spec.objective.mode == "max" else np.minimum
    record: list[float] = best.accumulate(curve.known(curve.objective)).tolist()
    return record


def _too_early(picture: Picture, planned: int, cut: str, race: _Race) -> NewDiagnosis:
    name = picture.name(planned)
    return NewDiagnosis(
        kind="cut_early",
        message=f"{cut} {race.gap:.2g} behind the leader after {race.epochs} epochs, while its "
        f"best trials still gained {race.gain:.2g} in the last half of them, and the leader "
        f"{race.leading:.2g}: that was too early to judge it; epochs: {2 * race.epochs} for stage "
        f"{name}, or let what prunes wait longer",
        evidence={
            **{"epochs": race.epochs, "gap": race.gap, "gain": race.gain},
            "leader_gain": race.leading,
        },
        stage_id=picture.stages_of(planned)[0].id,
    )


def known_already(picture: Picture) -> Iterator[NewDiagnosis]:
    """Trials with the params of others, or where an earlier stage had shown that trials diverge."""
    yield from _repeated(picture)
    for before, planned in pairwise(picture.planned):
        for branch in dict.fromkeys(trial.branch for trial in picture.tried(planned)):
            yield from _past_edge(picture, branch, before, planned)


def _repeated(picture: Picture) -> Iterator[NewDiagnosis]:
    tried = new_ones(picture.stages, picture.trials)
    distinct = len({repr(sorted(trial.params.items())) for trial in tried})
    repeated = len(tried) - distinct
    if repeated < max(LEAST_REPEATED, REPEATED * len(tried)):
        return
    yield NewDiagnosis(
        kind="known_already",
        message=f"{repeated} of {len(tried)} trials had the very values of an earlier one, and "
        f"there were {distinct} different ones: sampler: grid takes each once, and a confirm stage "
        "repeats those that are worth it",
        evidence={"repeated": repeated, "trials": len(tried), "distinct": distinct},
    )


def _past_edge(picture: Picture, branch: str, before: int, planned: int) -> Iterator[NewDiagnosis]:
    earlier = [trial for trial in picture.of(before) if trial.branch == branch]
    later = [trial for trial in picture.tried(planned) if trial.branch == branch]
    edge = clearest_edge(picture, branch, earlier, "diverged")
    if edge is None:
        return
    there = [trial for trial in later if edge.holds(trial.params)]
    lost = sum(trial.failure_kind == "diverged" for trial in there)
    if len(there) < max(LEAST_KNOWN, KNOWN * len(later)) or 2 * lost < len(there):
        return
    name, first = picture.name(planned), picture.name(before)
    yield NewDiagnosis(
        kind="known_already",
        message=f"{branch}: {len(there)} of {len(later)} trials of stage {name} lie where stage "
        f"{first} had shown that trials diverge, at {edge.where}, and {lost} diverged again: "
        f"narrow: true for stage {name} leaves that out, or {edge.advice}",
        evidence={"branch": branch, "there": len(there), "diverged": lost, "trials": len(later)},
        stage_id=picture.stages_of(planned)[0].id,
    )

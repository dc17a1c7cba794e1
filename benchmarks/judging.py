"""What is said of a contest: each tool's time, how many times ours it is, whether targets are met.

Called by ``peers.py``; ``docs/tools/make_speed_table.py`` reads the lines that are printed here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from record import IDLE, verdict

RESULTS_TARGET = 0.02  # by how much accuracies may differ between tools
TOOLS = {
    "optuna": f"Optuna, SQLite, {os.cpu_count()} processes",
    "ray_reused": "Ray Tune, actors reused",
    "ray": "Ray Tune as it comes",
    "plain": "plain PyTorch loop",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """A search; ``targets`` are how many times faster ours must be, ``better_target`` is that of
    the better of Optuna and Ray Tune with reused actors. ``samples`` are trials that scale.
    """

    name: str
    data: dict[str, Any]
    train: dict[str, Any]
    trials: int
    epochs: int
    targets: dict[str, float] = field(default_factory=dict)
    better_target: float | None = None
    samples: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one tool took for all trials, and ``how`` that was found.

    ``training_s`` of the ``seconds`` grow with the trials. ``values`` are the best validation
    accuracies of the trials that it trained, which are all of them if it ``is_whole``; ``idle`` is
    the share of the cores that nobody used just before.
    """

    seconds: float
    training_s: float
    values: list[float]
    epochs: int
    idle: float
    is_whole: bool = True
    how: str = ""


def judge(
    contest: Contest,
    both: tuple[Outcome, Outcome],
    outcomes: dict[str, Outcome],
    *,
    pruned: bool,
) -> None:
    """All that is said of ours in one way: its times, those of the others, the verdicts."""
    before, after = both
    print_outcome("this project", before)
    for tool, outcome in outcomes.items():
        print_outcome(TOOLS[tool], outcome)
    print_outcome("this project once more", after)
    contest = _judged(contest, min(o.idle for o in (before, *outcomes.values(), after)))
    ours = max(before, after, key=lambda outcome: outcome.seconds)
    for tool, outcome in outcomes.items():
        print(f"  {TOOLS[tool]}: {_compared(contest, tool, outcome, ours)}")
    _conclude(contest, ours, outcomes, pruned=pruned)


def _judged(contest: Contest, idle: float) -> Contest:
    """Without targets for times if the cores were not ``idle`` before each contestant."""
    if idle >= IDLE:
        return contest
    print(f"  others were at work, cores only {idle:.0%} idle: no verdicts on times")
    return replace(contest, targets={}, better_target=None)


def print_outcome(name: str, outcome: Outcome) -> None:
    """A line: its time, and how good its trials were."""
    print(
        f"  {name}: {outcome.seconds:.1f} s{outcome.how}, {outcome.epochs} epochs, "
        f"best accuracy {max(outcome.values):.4f}, mean {fmean(outcome.values):.4f}",
        flush=True,
    )


def _compared(contest: Contest, tool: str, outcome: Outcome, ours: Outcome) -> str:
    times = outcome.seconds / ours.seconds
    target = contest.targets.get(tool)
    said = "" if target is None else verdict(f"{target:g}", reached=times >= target)
    return f"{times:.1f} times ours{said}"


def _conclude(
    contest: Contest, ours: Outcome, outcomes: dict[str, Outcome], *, pruned: bool
) -> None:
    """Against the better of the two tools, and whether all that trained all found the same."""
    whole = [ours, *(outcome for outcome in outcomes.values() if outcome.is_whole)]
    times = min(outcomes[tool].seconds for tool in ("optuna", "ray_reused")) / ours.seconds
    target = contest.better_target
    said = "" if target is None else verdict(f"{target:g}", reached=times >= target)
    print(f"  the better of Optuna and Ray Tune reused: {times:.2f} times ours{said}")
    best = _range([max(outcome.values) for outcome in whole])
    mean = _range([fmean(outcome.values) for outcome in whole])
    differ = best if pruned else max(best, mean)  # who is stopped when is each tool's own affair
    said = verdict(f"{RESULTS_TARGET:g}", reached=differ <= RESULTS_TARGET)
    print(f"  best accuracies differ by {best:.4f}, means by {mean:.4f}{said}", flush=True)


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)

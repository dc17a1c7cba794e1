"""Searches stored by hand for the tests of the report: their trials follow a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stored_searches import ELSEWHERE, PROVENANCE, a_spec, a_stage, a_trial

from hpsearch.analysis.frames import Frames
from hpsearch.report.reading import Reading, read
from hpsearch.spec.reason import Reason
from hpsearch.spec.search import Objective, Search, Stage
from hpsearch.spec.space import Branch, Choice, Range, Space
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Lease
from hpsearch.storage.records import (
    NewDiagnosis,
    NewTrial,
    ReportCommit,
    SearchState,
    TrialProgress,
    TrialRecord,
)
from hpsearch.storage.repository import Repository

WIDE = Range(kind="log_uniform", low=1e-4, high=1e0)
NARROW = Range(kind="log_uniform", low=1e-3, high=1e-1)
SPACE = Space(
    parameters={
        "optimizer": Choice(choices=("sgd", "adam")),
        "learning_rate": WIDE,
        "weight_decay": Range(kind="log_uniform", low=1e-6, high=1e-2),
        "dropout": Range(kind="uniform", low=0.0, high=0.5, when={"optimizer": ("adam",)}),
        "batch_size": Choice(choices=(32, 64)),
        "hidden_units": Choice(choices=((50,), (64, 32))),
        "activation": Choice(choices=("relu",)),
    }
)
EPOCHS = 3
NUM_TRIALS = 40
DIVERGED_FROM = 0.5  # the rate


def params(number: int) -> dict[str, Any]:
    """Of the trial of that number: rates fill their range evenly."""
    optimizer = ("sgd", "adam")[number % 2]
    found = {
        "optimizer": optimizer,
        "learning_rate": 10 ** (-4 + 4 * ((number * 7) % NUM_TRIALS) / (NUM_TRIALS - 1)),
        "weight_decay": 10 ** (-6 + 4 * ((number * 11) % NUM_TRIALS) / NUM_TRIALS),
        "batch_size": (32, 64)[number // 2 % 2],
        "hidden_units": ((50,), (64, 32))[number // 4 % 2],
        "activation": "relu",
    }
    return found | ({"dropout": (number % 10) / 20} if optimizer == "adam" else {})


def value(number: int) -> float:
    """Best at a rate of 0.01, by a parabola over its logarithm."""
    return 0.9 - 0.1 * (math.log10(params(number)["learning_rate"]) + 2) ** 2


def has_diverged(number: int) -> bool:
    return bool(params(number)["learning_rate"] > DIVERGED_FROM)


def the_best() -> int:
    return max((n for n in range(NUM_TRIALS) if not has_diverged(n)), key=value)


def stored(
    url: str,
    *,
    spec: Search | None = None,
    num_trials: int = NUM_TRIALS,
    state: SearchState | None = "complete",
    params_of: Callable[[int], dict[str, Any]] = params,
    value_of: Callable[[int], float | None] = value,
    fails: Callable[[int], str | None] = lambda n: "the loss is NaN" if has_diverged(n) else None,
    reasons: Sequence[Reason] = (),
    branches: Sequence[Branch] | None = None,
    findings: Sequence[NewDiagnosis] = (),
    repeats: Mapping[int, Sequence[float]] | None = None,
    epochs: int = EPOCHS,
) -> Reading:
    """A search with one stage, whose trials have ``EPOCHS`` epochs each; state None: it runs.

    Of these ``epochs`` are stored. ``repeats`` are the values that some trials had with other
    seeds, by number.
    """
    spec = spec or a_search()
    repository = Repository(Database(url))
    record = repository.create_search(spec, PROVENANCE)
    lease = repository.acquire(record.id, ELSEWHERE)
    branches = spec.space.branches() if branches is None else branches
    new = a_stage(branches=tuple(branches), reasons=tuple(reasons), epochs=EPOCHS)
    trials = [_trial(spec, number, params_of(number)) for number in range(num_trials)]
    _, added = repository.open_stage(lease, new, trials)
    messages = {trial.id: message for trial in added if (message := fails(trial.number))}
    for epoch in range(1, epochs + 1):
        commit = _commit(epoch, [t for t in added if t.id not in messages], value_of)
        repository.commit_report(lease, commit)
    if repeats:
        _repeat(repository, lease, [(added[n], values) for n, values in repeats.items()])
    repository.fail_trials(lease, {id: ("diverged", text) for id, text in messages.items()})
    repository.add_diagnoses(lease, record.id, findings)
    if state is not None:
        repository.release(lease, state)
    return read(Frames(repository), record.id)


def _repeat(
    repository: Repository, lease: Lease, repeats: Sequence[tuple[TrialRecord, Sequence[float]]]
) -> None:
    """A confirm stage: of each trial a repeat that is complete for each value."""
    confirm = a_stage(position=1, name="confirm", kind="confirm", branches=(), epochs=EPOCHS)
    again = [
        a_trial(
            1000 * (trial.number + 1) + i,
            parent_id=trial.id,
            replicate=i + 1,
            params=trial.params,
            branch=trial.branch,
            target_epochs=EPOCHS,
        )
        for trial, values in repeats
        for i in range(len(values))
    ]
    _, ran = repository.open_stage(lease, confirm, again)
    all_values = [value for _, values in repeats for value in values]
    found = {one.number: value for one, value in zip(ran, all_values, strict=True)}
    repository.commit_report(lease, _commit(EPOCHS, ran, found.get))


def a_search(name: str = "digits", **changes: Any) -> Search:
    """The spec of a search over ``SPACE``."""
    given: dict[str, Any] = {
        "space": SPACE,
        "objective": Objective(),
        "stages": (Stage(name="coarse", trials=NUM_TRIALS, epochs=EPOCHS),),
        **changes,
    }
    return a_spec(name, **given)


def _trial(spec: Search, number: int, given: dict[str, Any]) -> NewTrial:
    branch = ",".join(f"{name}={given[name]}" for name in spec.space.structural()) or "all"
    return a_trial(number, params=given, branch=branch, target_epochs=EPOCHS)


def _commit(
    epoch: int, trials: Sequence[TrialRecord], value_of: Callable[[int], float | None]
) -> ReportCommit:
    """The value grows by epoch to what it is in the last; training is 0.05 better."""
    share = epoch / EPOCHS
    values = {t.id: None if (v := value_of(t.number)) is None else v * share for t in trials}
    metrics = [
        {
            "trial_id": id,
            "val_accuracy": found,
            "train_accuracy": None if found is None else found + 0.05,
            "value": found,
            "val_loss": None if found is None else 2 - found,
            "train_loss": None if found is None else 1.9 - found,
        }
        for id, found in values.items()
    ]
    state = "complete" if epoch == EPOCHS else "running"
    progress = tuple(
        TrialProgress(
            trial_id=id, epochs=epoch, value=found, best_epoch=epoch, seconds=1.0, state=state
        )
        for id, found in values.items()
    )
    return ReportCommit(epoch=epoch, metrics=metrics, progress=progress)

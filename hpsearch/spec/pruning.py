"""What a pruner does by its options alone: their defaults, and the epochs at which it decides.

Called by the spec's reading, which refuses a pruner that can never decide, and by
``hpsearch.sampling.pruners``. Imports no Optuna; its words and its defaults are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, takewhile

from hpsearch.spec.search import Pruner, PrunerName

MOST_RUNGS = 5  # that a stage has by default: at each of them trials wait for the last one
HALVING: tuple[PrunerName, ...] = ("successive_halving", "hyperband")
_AMONG = {"n_startup_trials": 5, "n_warmup_steps": 0, "n_min_trials": 1}
DEFAULTS: dict[PrunerName, dict[str, float | int]] = {
    "median": {**_AMONG},
    "percentile": {**_AMONG},
    "successive_halving": {"min_resource": 1, "reduction_factor": 4, "min_early_stopping_rate": 0},
    "hyperband": {"min_resource": 1, "reduction_factor": 3},
    "patient": {"min_delta": 0.0},
    "threshold": {"n_warmup_steps": 0},
    "wilcoxon": {"p_threshold": 0.1, "n_startup_steps": 2, "n_warmup_steps": 0},
}


def filled(pruner: Pruner, epochs: int) -> Pruner:
    """``pruner`` with every option, in a stage of ``epochs``; what it has stays.

    The two defaults that are not Optuna's depend on the stage: ``interval_steps`` gives at most
    five rungs, and Hyperband's ``max_resource`` is the stage's epochs.
    """
    options = {**DEFAULTS[pruner.name], **pruner.options}
    if pruner.wrapped is not None:
        wrapped = filled(pruner.wrapped, epochs)
        return pruner.model_copy(update={"options": options, "wrapped": wrapped})
    if pruner.name == "hyperband":
        options.setdefault("max_resource", epochs)
    elif pruner.name not in HALVING:
        rest = epochs - _start(pruner.name, options)
        options.setdefault("interval_steps", max(1, -(-rest // MOST_RUNGS)))
    return pruner.model_copy(update={"options": options})


def rungs(pruner: Pruner, epochs: int, bracket: int = 0) -> tuple[int, ...]:
    """The epochs below ``epochs``, counted from 1, after which it decides; ascending.

    They are Optuna's, had a trial reported a value after every epoch. ``bracket`` is Hyperband's;
    the first rung of bracket 0 comes before those of all others.
    """
    ascending = _endless(filled(pruner, epochs), bracket)
    return tuple(takewhile(lambda epoch: epoch < epochs, ascending))


def first_rung(pruner: Pruner, epochs: int, after: int = 0) -> int:
    """The first epoch beyond ``after`` at which it would decide, were the stage long enough."""
    return next(epoch for epoch in _endless(filled(pruner, epochs), 0) if epoch > after)


def least_trials(pruner: Pruner) -> int:
    """How many trials a stage must have for one to be pruned by its value."""
    if pruner.wrapped is not None:
        return least_trials(pruner.wrapped)
    if pruner.name in ("patient", "threshold"):
        return 1
    options = {**DEFAULTS[pruner.name], **pruner.options}
    return max(2, int(options.get("n_startup_trials", 0)), int(options.get("n_min_trials", 0)))


def least_folds(pruner: Pruner) -> int:
    """The folds from which on Wilcoxon's test can be sure at ``p_threshold``.

    A trial that is worse in all k of them has p = 2^-k, and no p is smaller.
    """
    options = {**DEFAULTS["wilcoxon"], **pruner.options}
    return max(
        2, int(options["n_startup_steps"]), math.floor(-math.log2(options["p_threshold"])) + 1
    )


def innermost(pruner: Pruner) -> Pruner:
    """The pruner that compares: the wrapped one of ``patient``, or itself."""
    return pruner if pruner.wrapped is None else innermost(pruner.wrapped)


def _endless(pruner: Pruner, bracket: int) -> Iterator[int]:
    """The rungs of a pruner with all its options, without an end."""
    options = pruner.options
    if pruner.wrapped is not None:
        start = _start(pruner.name, options)
        yield from (epoch for epoch in _endless(pruner.wrapped, bracket) if epoch >= start)
    elif pruner.name in HALVING:
        first = bracket if pruner.name == "hyperband" else int(options["min_early_stopping_rate"])
        for power in count(first):
            yield int(options["min_resource"]) * int(options["reduction_factor"]) ** power
    else:
        # Optuna counts steps from 0. What it would decide there it decides at the first step told.
        start, step = _start(pruner.name, options), int(options["interval_steps"])
        first = max(1, start)
        yield first
        yield from (epoch for epoch in count(start, step) if epoch > first)


def _start(name: PrunerName, options: dict[str, float | int]) -> int:
    """The step from which on it decides every ``interval_steps``."""
    # Optuna holds the last `patience + 1` values against those before: there must be one before.
    return int(options["patience"]) + 2 if name == "patient" else int(options["n_warmup_steps"])

"""Whether the best trials differ by more than chance: over seeds, over folds, over epochs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from coordinated import a_record
from diagnosis_cases import healthy

from hpsearch.analysis.diagnosis.noise import too_close
from hpsearch.storage.records import TrialRecord


def repeats(*values: tuple[float, ...]) -> list[TrialRecord]:
    """Trials 0, 1, …, each repeated with other seeds."""
    parents = [a_record(id=i, number=i, state="complete", value=1.0) for i in range(len(values))]
    children = [
        a_record(
            id=100 * (i + 1) + seed,
            number=100 * (i + 1) + seed,
            parent_id=i,
            replicate=seed + 1,
            state="complete",
            value=value,
        )
        for i, of in enumerate(values)
        for seed, value in enumerate(of)
    ]
    return [*parents, *children]


def test_repeats_that_differ_by_less_than_two_standard_errors_are_noise() -> None:
    found = too_close(
        repeats((0.95, 0.97, 0.96), (0.954, 0.964, 0.944), (0.5, 0.6, 0.7)), {}, "max"
    )
    assert found is not None
    assert found.kind == "noise"
    # s² = 1e-4 in both: two standard errors are 2 sqrt(2e-4 / 3) = 0.0163, the difference 0.006
    assert found.evidence["difference"] == pytest.approx(0.006)
    assert found.evidence["standard_error"] == pytest.approx(math.sqrt(2e-4 / 3))
    assert "numbers 0 and 1" in found.message
    assert "23 seeds would tell" in found.message  # n = 2 · 1e-4 · (2 / 0.006)²
    assert found.trial_id is None


@pytest.mark.parametrize(("mode", "best"), [("max", 0.98), ("min", 0.90)])
def test_repeats_that_differ_by_more_are_not(mode: str, best: float) -> None:
    of_best = (best, best + 0.001, best - 0.001)
    assert too_close(repeats(of_best, (0.95, 0.951, 0.949)), {}, mode) is None


def singles(*values: float, jitter: float = 0.0, spread: float | None = None, **series: Any) -> Any:
    trials = [
        a_record(id=i, number=i, state="complete", value=value, spread=spread)
        for i, value in enumerate(values)
    ]
    jumps = np.where(np.arange(20) % 2, jitter, -jitter)
    curves = {t.id: healthy(val_accuracy=(t.value or 0) + jumps, **series) for t in trials}
    return trials, curves


def test_single_trials_are_compared_with_what_they_jump_by_at_the_end() -> None:
    trials, curves = singles(0.951, 0.95, 0.949, 0.8, jitter=0.01)
    found = too_close(trials, curves, "max")
    assert found is not None
    assert found.evidence["near"] == 2
    assert "number 0" in found.message
    trials, curves = singles(0.951, 0.95, 0.949, 0.8, jitter=0.0001)
    assert too_close(trials, curves, "max") is None


def test_folds_say_more_than_epochs() -> None:
    trials, curves = singles(0.95, 0.93, spread=0.03)
    found = too_close(trials, curves, "max", num_folds=5)
    assert found is not None
    # Two standard errors of the difference of two means over 5 folds: 2 sqrt(0.03²/5 + 0.03²/5)
    assert found.evidence["noise"] == pytest.approx(2 * math.sqrt(2 * 0.03**2 / 5))
    assert "two standard errors over the 5 folds are 0.038" in found.message
    trials, curves = singles(0.95, 0.93, spread=0.01, jitter=0.1)
    assert too_close(trials, curves, "max", num_folds=5) is None


def test_more_folds_tell_smaller_differences_apart() -> None:
    trials, curves = singles(0.95, 0.93, spread=0.03)
    assert too_close(trials, curves, "max", num_folds=17) is not None
    assert (
        too_close(trials, curves, "max", num_folds=19) is None
    )  # 2 sqrt(2) 0.03 / sqrt(18) = 0.02


def test_the_spread_is_that_of_the_best_epoch() -> None:
    trials, curves = singles(0.95, 0.93, spread=0.03)
    settled = {
        t.id: healthy(val_accuracy=t.value, spread=np.geomspace(0.03, 1e-6, 20)) for t in trials
    }
    assert too_close(trials, settled, "max", num_folds=5) == too_close(
        trials, curves, "max", num_folds=5
    )


def test_one_trial_alone_or_a_short_one_is_no_noise() -> None:
    assert too_close(*singles(0.9, jitter=0.1), "max") is None
    trials, _ = singles(0.9, 0.899)
    short = {t.id: healthy(4, val_accuracy=np.array([0.1, 0.9, 0.1, 0.9])) for t in trials}
    assert too_close(trials, short, "max") is None


def test_a_trial_is_not_held_against_its_own_repeats() -> None:
    """One that was repeated alone: its repeats are not trials that come near it."""
    trials, curves = singles(0.95, 0.8, 0.7, jitter=0.01)
    own = [
        a_record(id=10 + i, number=10 + i, parent_id=0, replicate=i, state="complete", value=0.951)
        for i in (1, 2)
    ]
    curves |= {trial.id: curves[0] for trial in own}
    assert too_close([*trials, *own], curves, "max") is None

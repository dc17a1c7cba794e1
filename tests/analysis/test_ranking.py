"""The best: what was confirmed first, by its mean; and what chance alone may have decided."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from stored_searches import Writer, a_report, a_spec, a_stage, a_trial, begin

from hpsearch.analysis.chance import Sample, error_over_seeds, jitter, pooled, within_noise
from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Data
from hpsearch.storage.database import Database


def complete(writer: Writer, values: dict[int, float], epoch: int = 5, **progress: float) -> None:
    report = a_report(epoch, values, state="complete", **progress)
    writer.repository.commit_report(writer.lease, report)


def confirm(writer: Writer, repeats: dict[int, list[float]]) -> list[int]:
    """Store a confirm stage: the values of each trial's repeats, by its id; their ids."""
    stage, _ = writer.repository.open_stage(
        writer.lease, a_stage(1, name="confirm", kind="confirm", branches=()), []
    )
    first = len(writer.stored())
    places = [(id, replicate) for id, of in repeats.items() for replicate in range(1, len(of) + 1)]
    drawn = [
        a_trial(number, stage_id=stage.id, parent_id=id, replicate=replicate)
        for number, (id, replicate) in enumerate(places, first)
    ]
    ids = [trial.id for trial in writer.repository.add_trials(writer.lease, drawn)]
    values = [value for of in repeats.values() for value in of]
    complete(writer, dict(zip(ids, values, strict=True)))
    return ids


def test_confirmed_trials_come_first_by_the_mean_over_their_seeds(database: Database) -> None:
    writer = begin(database, num_trials=5)
    complete(writer, dict(zip(writer.ids, (0.9, 0.95, 0.97, 0.96, 0.91), strict=True)))
    seeds = {1: [0.90, 0.92, 0.94], 2: [0.93, 0.90, 0.90]}
    confirm(writer, {writer.ids[number]: values for number, values in seeds.items()})
    best = Frames(writer.repository).best("digits")
    assert best["number"].tolist() == [1, 2, 3, 4, 0]  # and no repeat is a row
    assert best["confirmed"].tolist() == [True, True, False, False, False]
    assert best["n"].tolist() == [3, 3, 1, 1, 1]
    for row, values in zip((0, 1), seeds.values(), strict=True):
        assert best["mean"][row] == pytest.approx(np.mean(values))
        assert best["spread"][row] == pytest.approx(np.std(values, ddof=1))
    assert best["mean"][2:].tolist() == best["value"][2:].tolist() == [0.96, 0.91, 0.9]
    assert best["spread"][2:].isna().all()
    frames = Frames(writer.repository)
    assert frames.best("digits", n=1)["number"].tolist() == [1]
    assert frames.best("digits", n=0).empty
    assert frames.best("digits", where="value > 0.955")["number"].tolist() == [2, 3]


def test_repeats_that_failed_or_run_confirm_nothing(database: Database) -> None:
    writer = begin(database, num_trials=2)
    complete(writer, dict(zip(writer.ids, (0.5, 0.6), strict=True)))
    ids = confirm(writer, {writer.ids[0]: [math.nan, 0.3]})
    writer.repository.fail_trials(writer.lease, {ids[1]: ("diverged", "x")})
    best = Frames(writer.repository).best("digits")
    assert best["number"].tolist() == [1, 0]
    assert not best["confirmed"].any()


def test_trials_of_folds_have_the_spread_and_the_number_of_folds(database: Database) -> None:
    spec = a_spec(data=Data(source="digits", folds=4))
    writer = begin(database, num_trials=3, spec=spec)
    for id, value in zip(writer.ids, (0.9, 0.85, 0.7), strict=True):
        complete(writer, {id: value}, spread=0.04)
    best = Frames(writer.repository).best("digits")
    assert best["n"].tolist() == [4, 4, 4]
    assert best["spread"].tolist() == [0.04] * 3
    # Two standard errors of a difference: 2 sqrt(2) 0.04 / sqrt(4) = 0.057.
    assert best["within_noise"].tolist() == [True, True, False]


def test_alone_a_trial_is_held_against_the_jitter_of_the_best(database: Database) -> None:
    writer = begin(database, num_trials=3)
    for epoch, value in enumerate((0.86, 0.90, 0.86, 0.90), 1):
        writer.repository.commit_report(writer.lease, a_report(epoch, {writer.ids[0]: value}))
    complete(writer, dict(zip(writer.ids, (0.86, 0.83, 0.7), strict=True)))
    best = Frames(writer.repository).best("digits")
    assert jitter(np.array([0.86, 0.9, 0.86, 0.9, 0.86])) == pytest.approx(0.0283, abs=1e-4)
    near = dict(zip(best["number"], best["within_noise"], strict=True))
    assert near == {0: True, 1: False, 2: False}


def sample(mean: float, spread: float = math.nan, n: int = 1) -> Sample:
    return Sample(mean=mean, spread=spread, n=n, confirmed=n > 1)


def test_the_error_over_seeds_is_that_of_students_t_test() -> None:
    a, b = [0.91, 0.94, 0.92, 0.95], [0.90, 0.93, 0.88]
    variance = pooled(float(np.var(a, ddof=1)), 4, float(np.var(b, ddof=1)), 3)
    t = (np.mean(a) - np.mean(b)) / error_over_seeds(variance, 4, 3)
    assert t == pytest.approx(stats.ttest_ind(a, b).statistic)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_is_less_than_two_standard_errors_behind_is_within_noise(mode: str) -> None:
    sign = 1 if mode == "max" else -1
    # Of two of 4 seeds: 2 sqrt(2 0.02² / 4) = 0.0283; one that was not repeated: 2 sqrt(1.25) 0.02.
    others = [sample(-sign * 0.028, 0.02, 4), sample(-sign * 0.029, 0.02, 4)]
    single = [sample(-sign * 0.044), sample(-sign * 0.045), sample(sign * 0.5)]
    found = within_noise([sample(0.0, 0.02, 4), *others, *single], mode, np.empty(0))
    assert found == [True, True, False, True, False, True]


def test_nothing_is_known_of_noise_without_seeds_folds_and_epochs() -> None:
    assert within_noise([], "max", np.empty(0)) == []
    assert within_noise([sample(0.5), sample(0.5)], "max", np.ones(3)) == [True, True]
    assert within_noise([sample(0.5), sample(0.4)], "max", np.ones(3)) == [True, False]

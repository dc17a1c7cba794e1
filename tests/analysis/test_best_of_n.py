"""The expected best of n: the bootstrap in closed form is what drawing gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_searches import a_report, a_stage, a_trial, begin

from hpsearch.analysis.best_of_n import best_of_n
from hpsearch.analysis.frames import Frames
from hpsearch.analysis.layout import BEST_OF_N
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError

VALUES = [0.3, 0.5, 0.5, 0.62, 0.7, 0.71, 0.9]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_it_is_what_a_bootstrap_draws(mode: str) -> None:
    frame = best_of_n(VALUES, mode)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == BEST_OF_N
    assert frame["n"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    draws = np.random.default_rng(0).choice(VALUES, (200_000, 7))
    best = {"max": np.maximum, "min": np.minimum}[mode].accumulate(draws, axis=1)
    assert frame["expected"].to_numpy() == pytest.approx(best.mean(0), abs=2e-3)
    for name, q in (("low", 0.05), ("high", 0.95)):
        side = "inverted_cdf" if mode == "max" else "higher"
        assert frame[name].tolist() == np.quantile(best, q, axis=0, method=side).tolist()
    gains = [frame["expected"][n - 1] - frame["expected"][n // 2 - 1] for n in range(2, 8)]
    assert frame["gain"][1:].tolist() == pytest.approx(np.abs(gains))
    assert np.isnan(frame["gain"][0])


def test_of_one_trial_it_is_the_mean_and_a_failed_one_counts_as_the_worst() -> None:
    assert best_of_n(VALUES, "max")["expected"][0] == pytest.approx(np.mean(VALUES))
    assert best_of_n([*VALUES, None, math.nan], "max").equals(best_of_n([0.3, 0.3, *VALUES], "max"))
    assert best_of_n([*VALUES, None, math.nan], "min").equals(best_of_n([0.9, 0.9, *VALUES], "min"))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=250), st.sampled_from(["max", "min"]))
def test_more_trials_never_are_worse(values: list[float], mode: str) -> None:
    frame = best_of_n(values, mode)
    sign = 1 if mode == "max" else -1
    for name in ("expected", "low", "high"):
        assert (np.diff(sign * frame[name]) >= -1e-9).all()
    assert (frame["low"] <= frame["high"]).all()
    assert (frame["gain"].dropna() >= -1e-9).all()
    assert frame["n"].iloc[-1] == len(values)
    assert len(frame) <= 100


def test_only_what_was_drawn_from_the_first_ranges_counts(database: Database) -> None:
    writer = begin(database, num_trials=5)
    repository, lease = writer.repository, writer.lease
    values = dict(zip(writer.ids[:3], (0.5, 0.6, float("nan")), strict=True))
    repository.commit_report(lease, a_report(5, values, state="complete"))
    repository.fail_trials(lease, {writer.ids[3]: ("diverged", "x")})
    fine, _ = repository.open_stage(lease, a_stage(1, name="fine"), [])
    other = [
        a_trial(5, stage_id=fine.id),
        a_trial(6, stage_id=writer.stage_id, parent_id=writer.ids[0], replicate=1),
        a_trial(7, stage_id=writer.stage_id, parent_id=writer.ids[0], start_epoch=5),
    ]
    ids = [trial.id for trial in repository.add_trials(lease, other)]
    repository.commit_report(lease, a_report(6, dict.fromkeys(ids, 0.9), state="complete"))
    frames = Frames(repository)
    assert frames.best_of_n("digits").equals(best_of_n([0.5, 0.5, 0.5, 0.6], "max"))
    assert frames.best_of_n("digits", stage="fine")["expected"].tolist() == [0.9]
    with pytest.raises(StorageError, match="did you mean 'fine'"):
        frames.best_of_n("digits", stage="fin")


def test_without_a_value_it_is_empty(sqlite_url: str) -> None:
    frame = Frames(begin(Database(sqlite_url)).repository).best_of_n("digits")
    assert frame.empty
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == BEST_OF_N

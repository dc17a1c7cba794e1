"""A prior search: what a new one learns from its trials, and what is refused before it begins."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from coordinated import PROVENANCE, a_search, coordinate, crash, curve, finished_table

from hpsearch.coordinator.prior import resolve_prior
from hpsearch.errors import HpsearchError
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.integrations.recording import Outcome, search_of, store
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice, Range, Space
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Owner
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository

ONE = [{"name": "coarse", "trials": 24, "epochs": 3, "expand": 0}]
WIDE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "learning_rate": {"log_uniform": [1e-5, 10.0]},
    "batch_size": {"choice": [32, 64]},
}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(Database(f"sqlite:///{tmp_path / 'search.db'}"))


def after(prior: str | None, **changes: Any) -> Search:
    given = {"name": "after", "stages": ONE, "space": WIDE, **changes}
    return a_search(**given, **({"prior": prior} if prior else {}))


def imported(repository: Repository, num_trials: int = 40, **changes: Any) -> None:
    """An earlier study whose best rate is 1e-2; rates above 1 have diverged."""
    space = {
        "optimizer": Choice(choices=("sgd", "adam")),
        "learning_rate": Range(kind="log_uniform", low=1e-5, high=10.0),
        "batch_size": Choice(choices=(32, 64)),
    }
    given = {"metric": "val_accuracy", "mode": "max", "space": Space(parameters=space), **changes}
    search = search_of("earlier", **given, source="optuna", path="", trials=num_trials)
    store(repository, search, [_outcome(number, num_trials) for number in range(num_trials)])


def _outcome(number: int, num_trials: int) -> Outcome:
    rate = 10.0 ** (-5 + 6 * (number + 0.5) / num_trials)
    params = {
        "optimizer": ("sgd", "adam")[number % 2],
        "learning_rate": rate,
        "batch_size": (32, 64)[number // 2 % 2],
    }
    if rate > 1:
        return Outcome(params=params, value=None, state="failed", failure_kind="diverged")
    return Outcome(params=params, value=1 - 0.1 * (math.log10(rate) + 2) ** 2)


def rates(repository: Repository, name: str = "after") -> list[float]:
    trials = repository.load(repository.find_search(name).id)[1]
    return [trial.params["learning_rate"] for trial in trials]


def test_the_first_stage_begins_with_ranges_around_the_best_of_the_prior(
    repository: Repository,
) -> None:
    imported(repository)
    coordinate(repository, after("earlier"))
    coordinate(repository, after(None, name="without"))
    assert min(rates(repository, "without")) < 1e-4
    assert max(rates(repository, "without")) > 1
    assert 1e-4 < min(rates(repository)) < 1e-2 < max(rates(repository)) <= 1
    (stage,) = repository.load(repository.find_search("after").id)[0]
    said = [reason.text for reason in stage.reasons if reason.parameter == "learning_rate"]
    assert any(
        re.fullmatch(r"by the prior search earlier, learning_rate \(sgd\): .* narrowed to .*", text)
        for text in said
    )


def test_ranges_stay_where_the_stage_is_not_to_be_narrowed(repository: Repository) -> None:
    imported(repository)
    coordinate(repository, after("earlier", stages=[{**ONE[0], "narrow": False}]))
    assert min(rates(repository)) < 1e-4


def test_a_sampler_that_learns_is_told_the_trials_of_the_prior(repository: Repository) -> None:
    imported(repository)
    learning = [{**ONE[0], "sampler": "tpe", "batch": 8, "narrow": False}]
    coordinate(repository, after("earlier", stages=learning))
    coordinate(repository, after(None, name="without", stages=learning))
    far = {
        name: statistics.mean(abs(math.log10(rate) + 2) for rate in rates(repository, name)[:8])
        for name in ("after", "without")
    }
    assert far["after"] < far["without"]


def test_a_search_of_our_own_can_be_the_prior_by_id_and_counts_each_configuration_once(
    repository: Repository,
) -> None:
    stages = [
        *ONE,
        {"name": "fine", "trials": 8, "epochs": 6, "continue": 4, "expand": 0},
        {"name": "confirm", "top": 2, "seeds": 3},
    ]
    first = coordinate(repository, after(None, name="first", stages=stages))
    prior = resolve_prior(repository, after(str(first.search.id)))
    assert len(prior) == 24 + 4  # neither continued trials nor repeats come twice
    by_number = {trial.number: trial for trial in first.trials.values()}
    assert all(one.value == by_number[one.number].value for one in prior)
    assert max(by_number[one.number].epochs for one in prior) == 6


def test_what_the_prior_fixed_counts_as_its_value(repository: Repository) -> None:
    space = {"learning_rate": {"log_uniform": [1e-5, 10.0]}}
    fixed = {"hidden_units": [8], "optimizer": "adam", "batch_size": 32}
    coordinate(repository, after(None, name="first", space=space, train=fixed))
    prior = resolve_prior(repository, after("first"))
    assert {one.branch for one in prior} == {"optimizer=adam"}
    assert {one.params["batch_size"] for one in prior} == {32}


def test_trials_outside_of_the_new_space_are_left_out(repository: Repository) -> None:
    imported(repository)
    rate = {"log_uniform": [1e-3, 1e-1]}
    narrow = {**WIDE, "learning_rate": rate, "batch_size": {"choice": [32]}}
    prior = resolve_prior(repository, after("earlier", space=narrow))
    assert 0 < len(prior) < 10
    assert all(1e-3 <= one.params["learning_rate"] <= 1e-1 for one in prior)
    assert {one.params["batch_size"] for one in prior} == {32}


def test_a_search_that_dies_anywhere_ends_as_it_would_have(
    repository: Repository, tmp_path: Path
) -> None:
    imported(repository)
    learning = [{**ONE[0], "sampler": "tpe", "batch": 8}]
    spec = after("earlier", stages=learning)
    other = Repository(Database(f"sqlite:///{tmp_path / 'other.db'}"))
    imported(other)
    coordinate(other, spec)
    deaths = 0
    while crash(
        repository.database, tmp_path / "c", 4, deaths % 2 == 0, spec, SimulatedExecutor(curve)
    ):
        deaths += 1
    assert deaths > 3
    repository.release(
        repository.acquire(repository.find_search("after").id, Owner.current()), "complete"
    )
    assert finished_table(repository, "after") == finished_table(other, "after")


def test_it_goes_on_without_its_prior_once_its_ranges_are_stored(
    repository: Repository, tmp_path: Path
) -> None:
    imported(repository)
    record = repository.create_search(after("earlier"), PROVENANCE)
    assert crash(
        repository.database, tmp_path, 4, False, after("earlier"), SimulatedExecutor(curve)
    )
    Queue(repository.database).delete(1)
    coordinate(repository, after("earlier"))
    assert len(repository.load(record.id)[1]) == 24


def test_what_cannot_be_learned_from_is_refused_in_a_sentence(repository: Repository) -> None:
    with pytest.raises(HpsearchError, match=r"after: prior: there is no search 'none'.*import"):
        resolve_prior(repository, after("none"))
    imported(repository)
    decay = {**WIDE, "weight_decay": {"log_uniform": [1e-5, 1.0]}}
    far = {**WIDE, "learning_rate": {"log_uniform": [1e-8, 1e-7]}}
    rule = {"metric": "val_loss"}
    said = {
        "must have each parameter of this space, but has no weight_decay": {"space": decay},
        "must have a complete trial within this space, but none of its 40 is": {"space": far},
        r"must have the objective val_loss \(min\), but has val_accuracy \(max\): give --metric": {
            "objective": rule
        },
    }
    for sentence, changes in said.items():
        with pytest.raises(HpsearchError, match=rf"^after: prior: {sentence}.*\(got 'earlier'\)$"):
            resolve_prior(repository, after("earlier", **changes))
    record = repository.create_search(after(None, name="waits"), PROVENANCE)
    with pytest.raises(HpsearchError, match="that is complete, but it is submitted: wait, or name"):
        resolve_prior(repository, after(str(record.id)))


@pytest.mark.parametrize("prior", [0, -1, 1.5, True, "a b", "", []])
def test_a_prior_must_be_a_name_or_an_id(prior: Any) -> None:
    with pytest.raises(HpsearchError, match="prior: must be the name or the id of a search"):
        a_search(prior=prior)

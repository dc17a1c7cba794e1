"""The checks before a search: what is probed, what is stored, and when a search does not start."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from coordinated import PROVENANCE, STAGES, a_search, coordinate, curve, finished_table
from sqlalchemy import update

from hpsearch.coordinator.checking import ChecksFailed, check_plan, checked, probe, tally
from hpsearch.coordinator.costs import duration, stage_costs
from hpsearch.coordinator.events import Checked, Event, StageOpened
from hpsearch.coordinator.planning import sample_first
from hpsearch.executors.base import ChecksBroken
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec.search import Search
from hpsearch.storage.database import Database
from hpsearch.storage.errors import LeaseLost
from hpsearch.storage.leases import Owner
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow
from workers.messages import CheckPlan, CheckResult, Verdict

WITH_CHECK = [{"name": "check"}, *STAGES]


def _result(verdict: Verdict, name: str = "gradients", **evidence: object) -> CheckResult:
    text = f"they {verdict}"
    return CheckResult(name=name, probe="all", verdict=verdict, text=text, evidence=evidence)


HEALTHY = (_result("pass"), _result("warn", "rate_range"), _result("skip", "signal"))
BROKEN = (*HEALTHY, _result("fail", "fit_twenty"))


class _Counting(SimulatedExecutor):
    """Says how often it was asked for checks."""

    asked = 0

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        self.asked += 1
        return super().check(plan)


def _executor(*checks: CheckResult) -> _Counting:
    return _Counting(curve, checks=checks)


def _search(**changes: object) -> Search:
    return a_search(**{"stages": WITH_CHECK, **changes})


def _expire(repository: Repository) -> None:
    """The lease of a coordinator that died."""
    with repository.database.write() as connection:
        connection.execute(
            update(SearchRow).values(lease_expires_at=datetime(2000, 1, 1, tzinfo=UTC))
        )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    database = Database(f"sqlite:///{tmp_path / 'search.db'}")
    database.check_revision()
    return Repository(database)


# What is probed


def test_a_probe_is_the_middle_of_its_branch() -> None:
    space = {
        "optimizer": {"choice": ["sgd", "momentum"]},
        "learning_rate": {"log_uniform": [1e-4, 1.0]},
        "momentum": {"uniform": [0.8, 0.9], "when": {"optimizer": "momentum"}},
        "batch_size": {"log_int": [16, 256], "base": 2},
        "lr_step_size": {"int": [1, 4]},
        "activation": {"choice": ["tanh", "relu"]},
    }
    search = a_search(space=space, train={"hidden_units": [8], "lr_schedule": "step"})
    sgd, momentum = check_plan(search, 2).probes
    assert (sgd.label, momentum.label) == ("optimizer=sgd", "optimizer=momentum")
    assert sgd.rates == (1e-4, 1.0)
    assert sgd.config.learning_rate == pytest.approx(1e-2)
    assert momentum.config.momentum == pytest.approx(0.85)
    assert (sgd.config.batch_size, sgd.config.lr_step_size) == (64, 2)
    assert (sgd.config.activation, sgd.config.hidden_units) == ("tanh", (8,))


def test_a_fixed_rate_has_no_range() -> None:
    search = a_search(space={"weight_decay": {"log_uniform": [1e-6, 1e-2]}})
    found = probe(search, search.space.branches()[0])
    assert (found.rates, found.decays, found.label) == (None, (1e-6, 1e-2), "all")
    search = a_search(space={"weight_decay": {"choice": [1e-3, 0.0, 1e-2]}})
    assert [probe(search, b).decays for b in search.space.branches()] == [(0.0, 1e-2)]


def test_the_plan_names_the_stages_that_train_with_their_epochs() -> None:
    assert check_plan(_search(), 2).stages == (("coarse", 3), ("fine", 6), ("confirm", 6))


def test_at_most_six_branches_are_probed_and_the_others_named() -> None:
    optimizers = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lion"]
    search = a_search(space={"optimizer": {"choice": optimizers}})
    assert len(check_plan(search, 2).probes) == 6
    *_, last = checked(_executor(), search, 2)
    assert (last.name, last.verdict) == ("branches", "skip")
    assert last.evidence["left_out"] == ["optimizer=adamw", "optimizer=lion"]
    assert checked(_executor(*HEALTHY), a_search(), 2) == list(HEALTHY)


def test_the_width_is_that_of_the_widest_group(repository: Repository) -> None:
    search = a_search(space={"learning_rate": {"log_uniform": [1e-5, 1e-3]}})
    view = coordinate(repository, search)
    groups = Counter(trial.group for trial in view.trials.values())
    assert check_plan(search, 2).width == max(groups.values())


# A search with a check stage


def test_a_search_that_passes_is_the_one_without_checks(tmp_path: Path) -> None:
    tables = []
    for name, search in (("with", _search()), ("without", a_search())):
        database = Database(f"sqlite:///{tmp_path / name}.db")
        database.check_revision()
        repository = Repository(database)
        view = coordinate(repository, search, _executor(*HEALTHY))
        trained = [stage for stage in view.stages if stage.kind != "check"]
        branches = [(stage.position, stage.name, stage.branches) for stage in trained]
        trials = [(t.number, t.params, t.seed, t.value) for t in view.trials.values()]
        kinds = [d.kind for d in repository.diagnoses(1) if not d.kind.startswith("check_")]
        tables.append((branches, trials, kinds))
    assert tables[0] == tables[1]
    assert tables[0][2], "the findings at the end are stored beside those of the checks"


def test_the_checks_are_stored_as_findings_about_their_stage(repository: Repository) -> None:
    seen: list[Event] = []
    view = coordinate(repository, _search(), _executor(*HEALTHY), observer=seen.append)
    first = view.stages[0]
    assert (first.kind, first.position, first.state) == ("check", -1, "complete")
    found = [d for d in repository.diagnoses(1) if d.stage_id == first.id]
    assert [d.kind for d in found] == ["check_gradients", "check_rate_range", "check_signal"]
    assert [d.evidence["verdict"] for d in found] == ["pass", "warn", "skip"]
    assert found[0].message == "all: they pass"
    assert isinstance(seen[0], StageOpened)
    assert seen[1] == Checked(view=view, results=HEALTHY)


def test_a_search_whose_check_fails_does_not_start(repository: Repository) -> None:
    with pytest.raises(ChecksFailed, match=r"failed fit_twenty .*they fail.*--force"):
        coordinate(repository, _search(), _executor(*BROKEN))
    stages, trials = repository.load(1)
    assert [(stage.kind, stage.state) for stage in stages] == [("check", "running")]
    assert trials == []
    assert [d.evidence["verdict"] for d in repository.diagnoses(1)][-1] == "fail"


def test_a_check_that_failed_is_made_again_and_one_that_passed_is_not(
    repository: Repository,
) -> None:
    search = _search()
    with pytest.raises(ChecksFailed):
        coordinate(repository, search, _executor(*BROKEN))
    _expire(repository)
    executor = _executor(*HEALTHY)
    view = coordinate(repository, search, executor)
    assert executor.asked == 1
    of_stage = [d.kind for d in repository.diagnoses(1) if d.stage_id == view.stages[0].id]
    assert len(of_stage) == len(HEALTHY), "the earlier try is forgotten"
    again = _executor(*BROKEN)
    coordinate(repository, search, again)
    assert again.asked == 0


def test_a_search_goes_on_when_it_is_forced(repository: Repository) -> None:
    view = coordinate(repository, _search(), _executor(*BROKEN), force=True)
    assert len(view.trials) > 24
    assert "fail" in {d.evidence.get("verdict") for d in repository.diagnoses(1)}


def test_a_check_that_breaks_is_one_error(repository: Repository) -> None:
    class Breaking(SimulatedExecutor):
        def check(self, plan: CheckPlan) -> list[CheckResult]:
            raise ChecksBroken("RuntimeError: no memory")

    with pytest.raises(ChecksBroken, match=r"one of them broke \(RuntimeError: no memory\)"):
        coordinate(repository, _search(), Breaking(curve))
    assert repository.load(1)[0][0].state == "running"


class _Crash(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("write", ["open_stage", "store_checks"])
def test_dying_around_the_checks_leaves_the_same_finished_table(
    write: str, before: bool, repository: Repository, tmp_path: Path
) -> None:
    undisturbed = Repository(Database(f"sqlite:///{tmp_path / 'undisturbed.db'}"))
    undisturbed.database.check_revision()
    coordinate(undisturbed, _search(), _executor(*HEALTHY))

    real = getattr(repository, write)

    def dying(*arguments: object) -> object:
        if not before:
            real(*arguments)
        raise _Crash

    repository.create_search(_search(), PROVENANCE)
    setattr(repository, write, dying)
    with pytest.raises(_Crash):
        coordinate(repository, _search(), _executor(*HEALTHY))
    setattr(repository, write, real)
    _expire(repository)
    coordinate(repository, _search(), _executor(*HEALTHY))
    assert finished_table(repository) == finished_table(undisturbed)


def test_a_preview_samples_what_the_search_begins_with(repository: Repository) -> None:
    view = coordinate(repository, _search(), _executor(*HEALTHY))
    coarse = [trial.params for trial in view.of_stage(view.stages[1])]
    assert sample_first(_search(), 24) == coarse


def test_a_tally_tells_each_verdict_and_what_was_not_applicable() -> None:
    assert tally(HEALTHY) == "1 passed, 1 to look at, 1 not applicable"
    assert tally([*BROKEN, _result("pass")]) == "2 passed, 1 to look at, 1 failed, 1 not applicable"


# Cost


def test_the_cost_is_epochs_of_trials_times_the_seconds_of_one_by_the_workers() -> None:
    timed = [
        _result("pass", "cost", seconds_per_epoch=8.0, width=4),
        _result("pass", "cost", seconds_per_epoch=16.0, width=4),
    ]
    rows = stage_costs(_search(), [*HEALTHY, *timed], num_workers=2)
    assert [row.stage for row in rows] == ["coarse", "fine", "confirm"]
    assert [row.trial_epochs for row in rows] == [24 * 3, 16 * 6 - 5 * 3, 6 * 6]
    assert [row.seconds for row in rows] == [row.trial_epochs * 3.0 / 2 for row in rows]
    assert stage_costs(_search(), HEALTHY, num_workers=2) == ()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.034, "0.034 s"), (42, "42 s"), (318, "5.3 min"), (7560, "2.1 h"), (293_760, "3.4 days")],
)
def test_a_duration_is_told_in_the_unit_of_its_size(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_lease_is_needed_to_store_checks(repository: Repository) -> None:
    record = repository.create_search(_search(), PROVENANCE)
    lease = repository.acquire(record.id, Owner.current())
    stolen = replace(lease, token=lease.token + 1)
    with pytest.raises(LeaseLost):
        repository.store_checks(stolen, 1, [], True)

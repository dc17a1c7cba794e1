"""Whole searches with a pruner, over simulated training: who ends, what is kept, and crashes."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from coordinated import Crash, a_search, coordinate, crash, curve, finished_table, sqlite_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from hpsearch.coordinator.curves import Curves
from hpsearch.coordinator.events import Event, RungDecided, StageOpened, Troubled
from hpsearch.coordinator.view import SearchView
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.sampling import pruners
from hpsearch.sampling.pruners import Curve
from hpsearch.spec.pruning import rungs
from hpsearch.spec.search import Search
from hpsearch.storage.records import TrialRecord
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow
from workers.messages import Member, Metric, TrialGroup

PRUNERS: list[Any] = [
    "median",
    {"name": "percentile", "percentile": 30, "n_warmup_steps": 2},
    {"name": "successive_halving", "reduction_factor": 2},
    {"name": "hyperband", "reduction_factor": 2},
    {"name": "patient", "patience": 1, "wrapped": "median"},
    {"name": "threshold", "lower": 0.3},
    {"name": "wilcoxon", "p_threshold": 0.3},
]
STAGES = [
    {"name": "coarse", "trials": 24, "epochs": 6, "sampler": "qmc", "expand": 1},
    {"name": "fine", "trials": 16, "epochs": 9, "continue": 5, "sampler": "tpe", "batch": 4},
    {"name": "confirm", "top": 3, "seeds": 2},
]
CULPRIT = 13


def _search(pruner: Any, **changes: Any) -> Search:
    name = pruner if isinstance(pruner, str) else pruner["name"]
    data = {"source": "digits", "validation": {"folds": 4}} if name == "wilcoxon" else {}
    changes = {"data": data, **changes} if data else changes
    return a_search(**{"stages": STAGES, "pruner": pruner, **changes})


def _crossing(member: Member, epoch: int) -> dict[str, Metric]:
    """Curves that cross, peak at different epochs, and have a value a fold."""
    value = curve(member, epoch)["val_accuracy"]
    assert isinstance(value, float)
    turned = value + 0.05 * math.sin(member.seed % 7 + epoch)
    folds = [turned + 0.02 * math.cos(member.seed % 11 + fold) for fold in range(4)]
    mean = math.fsum(folds) / 4
    return {"val_accuracy": mean, "val_loss": 1.0 - mean, "by_fold": folds}


def _eventful() -> SimulatedExecutor:
    """One trial raises, some stop early, diverge or are refused; groups measure their widths."""

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        raises = any(member.trial == CULPRIT for member in group.members)
        return "raise" if raises and epoch > 1 else None

    def eventful(member: Member, epoch: int) -> dict[str, Metric]:
        metrics = _crossing(member, epoch)
        return {**metrics, "val_loss": math.nan} if (member.seed + epoch) % 31 == 0 else metrics

    return SimulatedExecutor(
        eventful,
        fault=fault,
        stops=lambda member, epoch: member.seed % 5 == 0 and epoch == 2 + member.seed % 4,
        refuses=lambda member: "depth must be 1" if member.seed % 13 == 0 else None,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return sqlite_in(tmp_path)


# Who ends


def _replayed(search: Search, trials: list[TrialRecord], epochs: int) -> dict[int, int]:
    """The epoch at which each trial of a stage ends, by the pruner asked over whole curves."""
    pruner, mode = search.stages[0].pruner, search.objective.mode
    assert pruner is not None
    at = {t.number: _metrics(search, t) for t in trials}
    ends: dict[int, int] = {}
    for bracket in {pruners.bracket(pruner, epochs, search.name, n) for n in at}:
        mine = [n for n in at if pruners.bracket(pruner, epochs, search.name, n) == bracket]
        for rung in rungs(pruner, epochs, bracket):
            alive = [number for number in mine if number not in ends]
            curves = [
                Curve(
                    number=number,
                    values=tuple(float(row["val_accuracy"]) for row in at[number][:rung]),
                    by_fold=tuple(at[number][rung - 1]["by_fold"]),
                )
                for number in alive
            ]
            out = pruners.decide(pruner, mode, rung, epochs, curves, alive, search.name)
            ends |= dict.fromkeys(out, rung)
    return {number: ends.get(number, epochs) for number in at}


def _metrics(search: Search, trial: TrialRecord) -> list[dict[str, Any]]:
    from hpsearch.coordinator.packing import train_config

    member = Member(trial=trial.id, seed=trial.seed, config=train_config({}, trial.params))
    return [_crossing(member, epoch) for epoch in range(1, 10)]


@pytest.mark.parametrize("num_slots", [1, 3])
@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_trials_end_where_the_pruner_says_of_all_that_came_there(
    pruner: Any, num_slots: int, repository: Repository
) -> None:
    search = _search(pruner, stages=[{"name": "only", "trials": 30, "epochs": 9, "expand": 0}])
    view = coordinate(repository, search, SimulatedExecutor(_crossing, num_slots=num_slots))
    trials = view.of_stage(*view.stages)
    ended = {trial.number: trial.epochs for trial in trials}
    assert ended == _replayed(search, trials, 9)
    assert {t.state for t in trials if t.epochs < 9} == {"pruned"}
    assert {t.state for t in trials if t.epochs == 9} == {"complete"}
    stored = {t.id: t for t in repository.load(view.search.id)[1]}
    assert all(stored[t.id] == view.trials[t.id] for t in trials)


@pytest.mark.parametrize("pruner", PRUNERS, ids=str)
def test_a_coarse_to_fine_search_with_a_pruner_goes_to_its_end(
    pruner: Any, repository: Repository, tmp_path: Path
) -> None:
    said: list[Event] = []
    folder = tmp_path / "checkpoints"
    executor = SimulatedExecutor(_crossing)
    keep_all = {"width": 8, "checkpoint_every": 2, "keep_checkpoints": 1000}
    search = _search(pruner, resources=keep_all)
    view = coordinate(repository, search, executor, folder, observer=said.append)
    states = Counter(trial.state for trial in view.trials.values())
    assert set(states) == {"complete", "pruned"}
    decided = [event for event in said if isinstance(event, RungDecided)]
    assert not any(isinstance(event, Troubled) for event in said)
    told = [e for e in repository.events(view.search.id) if e.kind == "rung"]
    assert [event.data["message"] for event in told] == [event.message for event in decided]
    assert sum(len(event.data["pruned"]) for event in told) == states["pruned"]
    parents = [view.trials[t.parent_id].state for t in view.trials.values() if t.parent_id]
    assert set(parents) == {"complete"}, "only what was trained to its end goes on"
    kept = {t.checkpoint_file for t in view.trials.values() if t.state == "complete"}
    assert {file.name for file in folder.iterdir()} == kept, "and no other is"


def test_survivors_are_packed_again_into_full_groups(repository: Repository) -> None:
    started: list[tuple[int, int, int]] = []

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            started.append((group.start_epoch, group.end_epoch, len(group.members)))
            assert group.budgets == (9,), "schedules are laid over the whole budget"
            return super().start(number, group)

    stages = [{"name": "only", "trials": 64, "epochs": 9, "expand": 0}]
    search = a_search(
        stages=stages,
        pruner={"name": "successive_halving", "reduction_factor": 4},
        space={"learning_rate": {"log_uniform": [1e-5, 1e-3]}},
    )
    coordinate(repository, search, Watching(_crossing, num_slots=2))
    # 64, then 16, then 4 trials in groups of at most 8, and a slot each as long as there are two.
    assert Counter(started) == {(0, 1, 8): 8, (1, 4, 8): 2, (4, 9, 2): 2}


def test_survivors_go_on_from_the_checkpoints_of_the_rung(repository: Repository) -> None:
    resumed: list[tuple[int, bool]] = []

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            for member in group.members:
                file = member.resume and member.resume.file
                resumed.append((group.start_epoch, bool(file and Path(file).exists())))
            return super().start(number, group)

    stages = [{"name": "only", "trials": 24, "epochs": 9, "expand": 0}]
    coordinate(repository, _search("median", stages=stages), Watching(_crossing))
    assert {has_file for epoch, has_file in resumed if epoch > 0} == {True}
    assert {has_file for epoch, has_file in resumed if epoch == 0} == {False}


def test_a_pruner_that_ends_everything_ends_the_search_with_a_sentence(
    repository: Repository,
) -> None:
    said: list[Event] = []
    view = coordinate(
        repository,
        _search({"name": "threshold", "lower": 9.0}),
        SimulatedExecutor(_crossing),
        observer=said.append,
    )
    assert {trial.state for trial in view.trials.values()} == {"pruned"}
    opened = [event.stage.name for event in said if isinstance(event, StageOpened)]
    assert opened == ["coarse", "coarse-expand-1", "fine"], "there is nothing to confirm"
    (found,) = [d for d in repository.diagnoses(view.search.id) if d.kind == "nothing_complete"]
    assert "were pruned (threshold)" in found.message
    stored = repository.curves(view.search.id, "val_accuracy")
    assert set(stored) == set(view.trials), "nothing is lost"


def test_a_pruner_decides_by_a_metric_of_ones_own_as_by_one_of_ours(
    repository: Repository,
) -> None:
    own = {"metrics": {"mine": "own_losses:top2"}, "objective": {"metric": "mine", "mode": "max"}}

    def called_mine(member: Member, epoch: int) -> dict[str, Metric]:
        found = _crossing(member, epoch)
        return {**found, "mine": found["val_accuracy"], "val_accuracy": 0.0}

    ours = coordinate(repository, _search("median", name="ours"), SimulatedExecutor(_crossing))
    theirs = coordinate(
        repository, _search("median", name="theirs", **own), SimulatedExecutor(called_mine)
    )
    assert {trial.state for trial in ours.trials.values()} >= {"complete", "pruned"}
    for one, other in zip(ours.trials.values(), theirs.trials.values(), strict=True):
        assert (one.state, one.epochs, one.value) == (other.state, other.epochs, other.value)
    again = Curves(repository.curves(theirs.search.id, "mine"))
    for trial in theirs.trials.values():
        given = trial, theirs.trials, trial.epochs
        assert theirs.curves.of(*given) == again.of(*given)


def test_trials_at_a_rung_wait(repository: Repository) -> None:
    states: set[tuple[str, int, int]] = set()

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            for trial in repository.load(1)[1]:
                states.add((trial.state, trial.epochs, trial.until_epoch))
            return super().start(number, group)

    stages = [{"name": "only", "trials": 24, "epochs": 9, "expand": 0}]
    search = _search({"name": "median", "n_warmup_steps": 3, "interval_steps": 9}, stages=stages)
    coordinate(repository, search, Watching(_crossing, num_slots=1))
    assert ("waiting", 3, 3) in states
    assert ("running", 3, 3) not in states
    assert ("waiting", 3, 9) in states, "the next to be started"


# Crashes


_SHORT = [
    {**STAGES[0], "trials": 16},
    {**STAGES[1], "trials": 10, "continue": 3},
    {**STAGES[2], "top": 1},
]


@dataclass(repr=False)
class _Whole:
    """A search that did not die, and its finished table; too much to be printed."""

    search: Search
    table: list[tuple[object, ...]]


@pytest.fixture(scope="module", params=[PRUNERS[i] for i in (0, 2, 3)], ids=str)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> _Whole:
    """With trouble of all kinds."""
    search = _search(request.param, stages=_SHORT)
    repository = sqlite_in(tmp_path_factory.mktemp("undisturbed"))
    view = coordinate(repository, search, _eventful())
    states = {(trial.state, trial.failure_kind) for trial in view.trials.values()}
    assert {("complete", None), ("pruned", None), ("failed", "error")} <= states
    assert ("failed", "diverged") in states
    assert any(trial.stopped_early for trial in view.trials.values())
    return _Whole(search, finished_table(repository))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    crashes=st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=4),
    checkpoints_vanish=st.booleans(),
)
def test_dying_before_or_after_any_write_changes_no_decision(
    crashes: list[tuple[int, bool]],
    checkpoints_vanish: bool,
    undisturbed: _Whole,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("crashed")
    repository, checkpoints = sqlite_in(folder), folder / "checkpoints"
    for after_writes, before in crashes:
        crash(
            *(repository.database, checkpoints, after_writes, before),
            *(undisturbed.search, _eventful()),
        )
        if checkpoints_vanish:
            shutil.rmtree(checkpoints, ignore_errors=True)
    coordinate(repository, undisturbed.search, _eventful(), checkpoints)
    assert finished_table(repository) == undisturbed.table


def test_dying_at_each_write_around_a_rung_changes_no_decision(tmp_path: Path) -> None:
    stages = [{"name": "only", "trials": 8, "epochs": 2, "expand": 0}]
    pruner = {"name": "successive_halving", "reduction_factor": 2}
    search = _search(pruner, stages=stages)
    (tmp_path / "whole").mkdir()
    whole = sqlite_in(tmp_path / "whole")
    view = coordinate(whole, search, SimulatedExecutor(_crossing))
    (decided,) = [e.data for e in whole.events(1) if e.kind == "rung"]
    for after_writes in range(2, 12):
        folder = tmp_path / str(after_writes)
        folder.mkdir()
        repository = sqlite_in(folder)
        died = (repository.database, folder / "c", after_writes, False)
        assert crash(*died, search, SimulatedExecutor(_crossing))
        again = coordinate(repository, search, SimulatedExecutor(_crossing), folder / "c")
        assert [e.data for e in repository.events(1) if e.kind == "rung"] == [decided]
        assert _together(again) == _together(view), "packed alike"
        assert finished_table(repository) == finished_table(whole)


def test_a_rung_waits_for_trials_that_a_dead_coordinator_had_not_asked_for(
    tmp_path: Path,
) -> None:
    """It died when the second stage had its continued trials only, which could be judged alone."""

    class DiesBeforeAsking(Repository):
        def add_trials(self, lease: Any, new_trials: Any) -> Any:
            if len(self.load(lease.search_id)[0]) == 2:
                raise Crash
            return super().add_trials(lease, new_trials)

    stages = [
        {"name": "coarse", "trials": 8, "epochs": 2, "expand": 0, "pruner": "none"},
        {"name": "fine", "trials": 12, "epochs": 8, "continue": 4, "sampler": "qmc", "expand": 0},
    ]
    search = _search({"name": "successive_halving", "reduction_factor": 2}, stages=stages)
    (tmp_path / "whole").mkdir()
    whole, repository = sqlite_in(tmp_path / "whole"), sqlite_in(tmp_path)
    coordinate(whole, search, SimulatedExecutor(_crossing))
    dying = DiesBeforeAsking(repository.database)
    with pytest.raises(Crash):
        coordinate(dying, search, SimulatedExecutor(_crossing), tmp_path / "c")
    with repository.database.write() as connection:
        connection.execute(
            update(SearchRow).values(lease_expires_at=datetime(2000, 1, 1, tzinfo=UTC))
        )
    coordinate(repository, search, SimulatedExecutor(_crossing), tmp_path / "c")
    assert finished_table(repository) == finished_table(whole)


def _together(view: SearchView) -> set[frozenset[int]]:
    """Which trials ended up in one group."""
    return {frozenset(t.id for t in view.of_group(n)) for n in range(view.next_group)}


@pytest.mark.parametrize("num_slots", [1, 5])
def test_the_number_of_workers_changes_no_decision(
    num_slots: int, repository: Repository, tmp_path: Path
) -> None:
    search = _search({"name": "hyperband", "reduction_factor": 2})
    (tmp_path / "other").mkdir()
    other = sqlite_in(tmp_path / "other")
    mine = coordinate(repository, search, SimulatedExecutor(_crossing, num_slots=num_slots))
    theirs = coordinate(other, search, SimulatedExecutor(_crossing, num_slots=2))
    ends = [
        [(t.number, t.params, t.state, t.epochs, t.value) for t in view.trials.values()]
        for view in (mine, theirs)
    ]
    assert ends[0] == ends[1]

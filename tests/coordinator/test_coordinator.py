"""A whole search over simulated training: the stages it goes through, faults, and crashes."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

import pytest
from coordinated import WRITES, a_search, coordinate, crash, curve, finished_table, stop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpsearch.analysis.observing import observe
from hpsearch.coordinator.events import Event, Troubled
from hpsearch.executors.base import Ended, Lost, Raised, Update
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.spec import load
from hpsearch.storage.database import Database
from hpsearch.storage.failures import headline
from hpsearch.storage.records import PACKED_FOR
from hpsearch.storage.repository import Repository
from workers.keys import key
from workers.messages import Member, Metric, TrialGroup


@pytest.fixture
def repository(database: Database) -> Repository:
    database.check_revision()
    return Repository(database)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The finished table of a search that nothing happened to."""
    repository = _sqlite(tmp_path_factory.mktemp("undisturbed"))
    coordinate(repository, a_search())
    return finished_table(repository)


def _sqlite(folder: Path) -> Repository:
    database = Database(f"sqlite:///{folder / 'search.db'}")
    database.check_revision()
    return Repository(database)


def test_a_search_goes_through_its_stages_and_extends_the_border(repository: Repository) -> None:
    view = coordinate(repository, a_search())
    assert [stage.name for stage in view.stages] == ["coarse", "coarse-expand-1", "fine", "confirm"]
    counts = Counter(trial.stage_id for trial in view.trials.values())
    assert [counts[stage.id] for stage in view.stages] == [24, 8, 16, 6]
    assert {trial.state for trial in view.trials.values()} == {"complete"}
    best = max(trial.value for trial in view.trials.values())
    within_range = 1.0 - 0.1 - 0.3 / 6 + 0.01  # the best that the range as given holds
    assert best > within_range + 0.02


def test_the_best_trials_go_on_from_their_checkpoints(repository: Repository) -> None:
    view = coordinate(repository, a_search())
    fine = view.of_stage(view.stages[2])
    continued = [trial for trial in fine if trial.parent_id is not None]
    assert len(continued) == 5
    for trial in continued:
        parent = view.trials[trial.parent_id]
        assert (trial.params, trial.seed, trial.start_epoch) == (parent.params, parent.seed, 3)
        assert trial.epochs == 6
    coarse = [t.value for t in view.of_stage(*view.stages[:2])]
    parents = [view.trials[t.parent_id].value for t in continued]
    assert sorted(parents, reverse=True) == sorted(coarse, reverse=True)[:5]


def test_repeats_have_their_parents_params_and_other_seeds(repository: Repository) -> None:
    view = coordinate(repository, a_search())
    repeats = view.of_stage(view.stages[3])
    assert Counter(trial.parent_id for trial in repeats) == {
        parent: 2 for parent in {trial.parent_id for trial in repeats}
    }
    assert sorted(trial.replicate for trial in repeats) == [1, 1, 1, 2, 2, 2]
    assert len({trial.seed for trial in view.trials.values()}) == len(view.trials) - 5


CULPRIT = 13  # the id of a trial that raises, so that a crash meets groups that are being parted


def _eventful() -> SimulatedExecutor:
    """One trial raises, some stop early, some are refused; values have a spread, layers a norm."""

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if any(member.trial == CULPRIT for member in group.members) else None

    def detailed(member: Member, epoch: int) -> dict[str, Metric]:
        norms = [0.5 / epoch, math.inf]
        return {**curve(member, epoch), "spread": 0.1 / epoch, "layer_gradient_norms": norms}

    return SimulatedExecutor(
        detailed,
        fault=fault,
        stops=lambda member, epoch: member.seed % 3 == 0 and epoch == 2 + member.seed % 4,
        refuses=lambda member: "depth must be 1" if member.seed % 7 == 0 else None,
    )


def test_the_writes_that_a_crash_is_tried_at_are_all_there_are() -> None:
    assert {"open_stage", "commit_report", "decide_rung", "regroup", "fail_trials"} <= set(WRITES)
    assert len(WRITES) == 14


@pytest.fixture(scope="module")
def undisturbed_but_for_its_trials(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[object, ...]]:
    repository = _sqlite(tmp_path_factory.mktemp("culprit"))
    view = coordinate(repository, a_search(), _eventful())
    trials = view.trials.values()
    assert {t.failure_kind for t in trials} == {None, "error"}
    assert len([t for t in trials if t.failure_message == "depth must be 1"]) >= 3
    assert len([t for t in trials if t.stopped_early and t.epochs < t.target_epochs]) >= 5
    assert any(t.stopped_early and t.epochs == t.target_epochs == 3 for t in trials)
    return finished_table(repository)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    crashes=st.lists(st.tuples(st.integers(1, 80), st.booleans()), min_size=1, max_size=6),
    checkpoints_vanish=st.booleans(),
)
def test_dying_before_or_after_any_write_leaves_the_same_finished_table(
    crashes: list[tuple[int, bool]],
    checkpoints_vanish: bool,
    undisturbed_but_for_its_trials: list[tuple[object, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("crashed")
    repository = _sqlite(folder)
    for after_writes, before in crashes:
        crash(
            repository.database,
            folder / "checkpoints",
            after_writes,
            before,
            a_search(),
            _eventful(),
        )
        if checkpoints_vanish:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    coordinate(repository, a_search(), _eventful(), folder / "checkpoints")
    assert finished_table(repository) == undisturbed_but_for_its_trials


# Early stops and refusals


def _half_stops(member: Member, epoch: int) -> bool:
    return member.seed % 2 == 0 and epoch == 2


def test_trials_that_stop_early_are_complete_and_do_not_go_on(repository: Repository) -> None:
    said: list[Event] = []
    executor = SimulatedExecutor(curve, stops=_half_stops)
    view = coordinate(repository, a_search(), executor, observer=said.append)
    coarse = view.of_stage(*view.stages_of(0))
    stopped = [trial for trial in coarse if trial.epochs == 2]
    assert {trial.seed % 2 for trial in stopped} == {0}
    assert {trial.state for trial in coarse} == {"complete"}
    whole = [trial for trial in coarse if trial.epochs == trial.target_epochs == 3]
    assert len(stopped) + len(whole) == len(coarse)
    parents = [view.trials[t.parent_id].value for t in view.trials.values() if t.start_epoch > 0]
    assert sorted(parents, reverse=True) == sorted((t.value for t in whole), reverse=True)[:5]
    troubles = [event.message for event in said if isinstance(event, Troubled)]
    assert all(one.endswith("with: norm_groups must divide the units") for one in troubles)
    stored = {trial.id: trial for trial in repository.load(view.search.id)[1]}
    assert {id: t.state for id, t in stored.items()} == {i: t.state for i, t in view.trials.items()}


def test_a_group_whose_members_have_all_stopped_is_done(repository: Repository) -> None:
    said: list[Event] = []
    executor = SimulatedExecutor(curve, stops=lambda member, epoch: True)
    view = coordinate(repository, a_search(), executor, observer=said.append)
    assert {(trial.state, trial.epochs) for trial in view.trials.values()} == {("complete", 1)}
    fine = view.of_stage(*view.stages_of(1))
    assert len(fine) == 16, "new trials take the place of those that cannot go on"
    assert not any(isinstance(event, Troubled) for event in said)


def test_a_trial_that_stopped_early_keeps_the_checkpoint_of_its_end(tmp_path: Path) -> None:
    repository, folder = _sqlite(tmp_path), tmp_path / "checkpoints"
    stages = [{"name": "only", "trials": 12, "epochs": 9, "expand": 0}]
    executor = SimulatedExecutor(
        curve, stops=lambda member, epoch: epoch == 3 + member.seed % 4 and member.seed % 2 == 0
    )
    keep_all = {"width": 8, "checkpoint_every": 2, "keep_checkpoints": 12}
    search = a_search(stages=stages, resources=keep_all)
    view = coordinate(repository, search, executor, folder)
    epochs = {trial.epochs for trial in view.trials.values()}
    assert epochs == {3, 5, 9}
    for trial in view.trials.values():
        assert trial.checkpoint_epoch == trial.epochs
        assert (folder / str(trial.checkpoint_file)).exists()
    kept = {str(trial.checkpoint_file) for trial in view.trials.values()}
    assert {file.name for file in folder.iterdir()} == kept, "and no other is"


def test_a_refused_trial_fails_once_with_its_sentence_and_the_others_go_on(
    repository: Repository,
) -> None:
    said: list[Event] = []
    stages = [{"name": "only", "trials": 24, "epochs": 3, "expand": 0}]

    def refuses(member: Member) -> str | None:
        return "norm_groups must divide the units" if member.config.batch_size == 64 else None

    executor = SimulatedExecutor(curve, refuses=refuses)
    view = coordinate(repository, a_search(stages=stages), executor, observer=said.append)
    for trial in view.trials.values():
        is_refused = trial.params["batch_size"] == 64
        assert trial.state == ("failed" if is_refused else "complete")
        assert trial.failure_kind == ("error" if is_refused else None)
        assert trial.attempts == 1
        assert trial.epochs == (0 if is_refused else 3)
    (message,) = {t.failure_message for t in view.trials.values() if t.state == "failed"}
    assert message == "norm_groups must divide the units"
    assert not any(isinstance(event, Troubled) for event in said)


def test_groups_are_told_the_objective(tmp_path: Path) -> None:
    told = set()

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            told.add((group.metric, group.mode))
            return super().start(number, group)

    coordinate(_sqlite(tmp_path), a_search(objective={"metric": "val_loss"}), Watching(curve))
    assert told == {("val_loss", "min")}


def test_with_folds_the_width_of_a_group_counts_rows(tmp_path: Path) -> None:
    sizes = []

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            sizes.append(len(group.members))
            return super().start(number, group)

    data = {"source": "digits", "validation": {"folds": 3}}
    coordinate(_sqlite(tmp_path), a_search(data=data), Watching(curve))
    assert max(sizes) == 8 // 3


def test_a_worker_that_dies_after_its_last_report_costs_nothing(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    class DiesLate(SimulatedExecutor):
        def wait(self, timeout_s: float) -> list[Update]:
            return [
                Lost(group=update.group, message="too late")
                if isinstance(update, Ended)
                else update
                for update in super().wait(timeout_s)
            ]

    said: list[Event] = []
    coordinate(repository, a_search(), DiesLate(curve), observer=said.append)
    assert finished_table(repository) == undisturbed
    assert not any(isinstance(event, Troubled) for event in said)


def test_a_damaged_checkpoint_is_told_and_trained_again_from_the_start(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    class Damaged(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            self.bad = number if group.start_epoch > 0 else None
            return super().start(number, group)

        def wait(self, timeout_s: float) -> list[Update]:
            if self.bad is None:
                return super().wait(timeout_s)
            number, self.bad = self.bad, None
            del self._groups[number]
            self._events = [event for event in self._events if event.number != number]
            return [Raised(group=number, traceback="CheckpointError: g.safetensors cannot be read")]

    said: list[Event] = []
    executor = Damaged(curve, num_slots=1)
    coordinate(repository, a_search(), executor, observer=said.append)
    mine, theirs = finished_table(repository), undisturbed
    assert [row[:5] for row in mine] == [row[:5] for row in theirs]
    assert any("trained from the start" in e.message for e in said if isinstance(e, Troubled))


def test_the_two_databases_hold_the_same_finished_table(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    coordinate(repository, a_search())
    assert finished_table(repository) == undisturbed


def test_lost_workers_cost_a_segment_and_change_nothing(
    repository: Repository, undisturbed: list[tuple[object, ...]]
) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "lost" if attempt == 1 and epoch == 3 else None

    said: list[Event] = []
    coordinate(repository, a_search(), SimulatedExecutor(curve, fault=fault), observer=said.append)
    assert finished_table(repository) == undisturbed
    assert sum(isinstance(event, Troubled) for event in said) >= 4


def test_a_trial_that_raises_fails_alone_with_its_traceback(repository: Repository) -> None:
    culprit = 13

    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "raise" if any(member.trial == culprit for member in group.members) else None

    view = coordinate(repository, a_search(), SimulatedExecutor(curve, fault=fault))
    failed = [trial for trial in view.trials.values() if trial.state == "failed"]
    assert [(trial.id, trial.failure_kind) for trial in failed] == [(culprit, "error")]
    assert "RuntimeError" in failed[0].failure_message
    stored = {t.id: t for t in repository.load(view.search.id)[1]}
    assert stored[culprit].failure_message == failed[0].failure_message


def test_a_trial_that_kills_its_workers_is_given_up_alone_as_worker_lost(
    repository: Repository,
) -> None:
    def fault(group: TrialGroup, epoch: int, attempt: int) -> str | None:
        return "lost" if any(member.trial == 5 for member in group.members) else None

    view = coordinate(repository, a_search(), SimulatedExecutor(curve, fault=fault))
    failed = [trial for trial in view.trials.values() if trial.state == "failed"]
    assert [(trial.id, trial.failure_kind) for trial in failed] == [(5, "worker_lost")]


def test_a_search_in_which_everything_fails_still_ends(repository: Repository) -> None:
    nan = {"val_accuracy": float("nan"), "val_loss": float("nan")}
    view = coordinate(repository, a_search(), SimulatedExecutor(lambda member, epoch: nan))
    assert {trial.failure_kind for trial in view.trials.values()} == {"diverged"}
    (said,) = [d for d in repository.diagnoses(view.search.id) if d.kind == "nothing_complete"]
    assert said.message == (
        f"all {len(view.trials)} trials diverged: lower the range of space.learning_rate, and "
        "search again"
    )
    told = len(repository.diagnoses(view.search.id))
    coordinate(repository, a_search(), SimulatedExecutor(lambda member, epoch: nan))
    assert len(repository.diagnoses(view.search.id)) == told, "told twice after a late death"


@pytest.mark.parametrize("num_slots", [1, 3, 7])
def test_the_number_of_workers_does_not_change_what_is_sampled(
    num_slots: int, undisturbed: list[tuple[object, ...]], tmp_path: Path
) -> None:
    repository = _sqlite(tmp_path)
    coordinate(repository, a_search(), SimulatedExecutor(curve, num_slots=num_slots))
    rows = [row for row in finished_table(repository) if len(row) == len(undisturbed[10])]
    expected = [row for row in undisturbed if len(row) == len(undisturbed[10])]
    assert [row[:12] for row in rows] == [row[:12] for row in expected]


def test_groups_are_packed_for_all_workers_although_some_have_died(
    repository: Repository, tmp_path: Path
) -> None:
    search = a_search(resources={"width": 32})
    stop(repository, search, SimulatedExecutor(curve, num_slots=4), tmp_path, after_reports=3)
    alone = SimulatedExecutor(curve, num_slots=1)
    view = coordinate(repository, search, alone, tmp_path)
    other = _sqlite(tmp_path)
    undisturbed = coordinate(other, search, SimulatedExecutor(curve, num_slots=4))
    assert [t.group for t in view.trials.values()] == [t.group for t in undisturbed.trials.values()]
    assert finished_table(repository) == finished_table(other)


def test_more_workers_than_before_are_packed_for(repository: Repository, tmp_path: Path) -> None:
    search = a_search(resources={"width": 32})
    stop(repository, search, SimulatedExecutor(curve, num_slots=1), tmp_path, after_reports=3)
    view = coordinate(repository, search, SimulatedExecutor(curve, num_slots=4), tmp_path)
    noted = [event.data for event in repository.events(1) if event.kind == PACKED_FOR]
    assert noted == [{"workers": 1}, {"workers": 4}]
    first, *others = view.stages
    assert len({trial.group for trial in view.of_stage(first)}) < 4
    assert any(len({trial.group for trial in view.of_stage(stage)}) >= 4 for stage in others)


def test_the_longest_group_is_started_first(repository: Repository) -> None:
    started = []

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            started.append(len(group.members) / group.members[0].config.batch_size)
            return super().start(number, group)

    search = a_search(stages=[{"name": "only", "trials": 24, "epochs": 1, "expand": 0}])
    coordinate(repository, search, Watching(curve))
    assert started == sorted(started, reverse=True)


def test_an_objective_that_training_does_not_report_is_refused(repository: Repository) -> None:
    from hpsearch.errors import HpsearchError

    def only_loss(member: Member, epoch: int) -> dict[str, float]:
        return {"val_loss": 1.0}

    with pytest.raises(HpsearchError, match=r"val_accuracy.*is not one of val_loss"):
        coordinate(repository, a_search(), SimulatedExecutor(only_loss))


@pytest.mark.parametrize(("metric", "mode"), [("val_loss", "min"), ("val_accuracy", "max")])
def test_a_trials_value_is_the_best_of_its_objective_and_the_best_trials_go_on(
    metric: str, mode: str, tmp_path: Path
) -> None:
    def bump(member: Member, epoch: int) -> dict[str, float]:
        """Best at epoch 2, and then worse again."""
        accuracy = curve(member, 9)["val_accuracy"] - 0.1 * abs(epoch - 2)
        return {"val_accuracy": accuracy, "val_loss": 1.0 - accuracy}

    repository = _sqlite(tmp_path)
    search = a_search(objective={"metric": metric, "mode": mode})
    view = coordinate(repository, search, SimulatedExecutor(bump))
    for trial in view.of_stage(view.stages[0]):
        assert trial.best_epoch == 2
    choose = min if mode == "min" else max
    best = choose(trial.value for trial in view.of_stage(*view.stages_of(0)))
    continued = [trial for trial in view.trials.values() if trial.start_epoch > 0]
    assert choose(trial.value for trial in continued) == best


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid", "tpe", "gp", "cmaes"])
def test_every_sampler_carries_a_search_to_its_end(sampler: str, tmp_path: Path) -> None:
    repository = _sqlite(tmp_path)
    stages = [{"name": "only", "trials": 18, "epochs": 1, "sampler": sampler, "expand": 0}]
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "learning_rate": {"log_uniform": [1e-5, 1]},
        "weight_decay": {"log_uniform": [1e-6, 1e-2]},
    }
    view = coordinate(repository, a_search(stages=stages, space=space))
    assert len(view.trials) == 18


def test_a_sampler_that_learns_is_told_every_generation(tmp_path: Path) -> None:
    stages = [{"name": "only", "trials": 12, "epochs": 1, "sampler": "tpe", "batch": 3}]
    space = {"learning_rate": {"log_uniform": [1e-5, 1]}}
    search = a_search(stages=stages, space=space)
    view = coordinate(_sqlite(tmp_path), search)
    (branch,) = view.stages[0].branches
    sampler = BranchSampler("tpe", branch, seed=key(search.seed, "sampler", 0), mode="max")
    trials = view.of_stage(view.stages[0])
    for generation in range(1, 5):
        asked = [trial for trial in trials if trial.generation == generation]
        assert [trial.params for trial in asked] == sampler.ask(3)
        sampler.tell(observe(asked))


def test_auto_stages_spend_no_more_than_their_budget(tmp_path: Path) -> None:
    repository = _sqlite(tmp_path)
    search = load(
        {
            "name": "simulated",
            "data": {"source": "digits"},
            "train": {"epochs": 10},
            "budget": {"epochs": 200},
            "stages": "auto",
            "space": {"learning_rate": {"log_uniform": [1e-5, 1]}},
        }
    )
    view = coordinate(repository, search)
    planned = [t for t in view.trials.values()]
    expands = {stage.id for stage in view.stages if stage.kind == "expand"}
    spent = sum(t.epochs - t.start_epoch for t in planned if t.stage_id not in expands)
    assert 150 <= spent <= 200


def test_the_headline_of_a_traceback_names_the_exception() -> None:
    plain = "Traceback (most recent call last):\n  File x\nValueError: no such thing"
    assert headline(plain) == "ValueError: no such thing"
    assert headline(plain + '\nframe #0: at::empty\n"') == "ValueError: no such thing"
    assert headline("worker gone") == "worker gone"

"""A whole search over simulated training: its stages, its samplers, its groups, its budget."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from coordinated import a_search, coordinate, curve, sqlite_in, stop

from hpsearch.analysis.observing import observe
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.spec import load
from hpsearch.storage.failures import headline
from hpsearch.storage.records import PACKED_FOR
from hpsearch.storage.repository import Repository
from workers.keys import key
from workers.messages import Member, TrialGroup


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


def test_groups_are_told_the_objective(tmp_path: Path) -> None:
    told = set()

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            told.add((group.metric, group.mode))
            return super().start(number, group)

    coordinate(sqlite_in(tmp_path), a_search(objective={"metric": "val_loss"}), Watching(curve))
    assert told == {("val_loss", "min")}


def test_with_folds_the_width_of_a_group_counts_rows(tmp_path: Path) -> None:
    sizes = []

    class Watching(SimulatedExecutor):
        def start(self, number: int, group: TrialGroup) -> str:
            sizes.append(len(group.members))
            return super().start(number, group)

    data = {"source": "digits", "validation": {"folds": 3}}
    coordinate(sqlite_in(tmp_path), a_search(data=data), Watching(curve))
    assert max(sizes) == 8 // 3


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

    repository = sqlite_in(tmp_path)
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
    repository = sqlite_in(tmp_path)
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
    view = coordinate(sqlite_in(tmp_path), search)
    (branch,) = view.stages[0].branches
    sampler = BranchSampler("tpe", branch, seed=key(search.seed, "sampler", 0), mode="max")
    trials = view.of_stage(view.stages[0])
    for generation in range(1, 5):
        asked = [trial for trial in trials if trial.generation == generation]
        assert [trial.params for trial in asked] == sampler.ask(3)
        sampler.tell(observe(asked))


def test_auto_stages_spend_no_more_than_their_budget(tmp_path: Path) -> None:
    repository = sqlite_in(tmp_path)
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

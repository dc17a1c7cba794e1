"""Trials that stop early are complete where they stand, and refused ones fail alone."""

from __future__ import annotations

from pathlib import Path

from coordinated import a_search, coordinate, curve, sqlite_in

from hpsearch.coordinator.events import Event, Troubled
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.storage.repository import Repository
from workers.messages import Member


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
    assert not any(isinstance(event, Troubled) for event in said)
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
    repository, folder = sqlite_in(tmp_path), tmp_path / "checkpoints"
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
    troubles = [event.message for event in said if isinstance(event, Troubled)]
    assert all(one.endswith(f"with: {message}") for one in troubles), "and nothing is tried again"

"""Small searches for tests to store: specs, new records, and a Writer that holds the lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpsearch.spec.search import Data, Objective, Search, Stage
from hpsearch.spec.space import Choice, Range, Space
from hpsearch.storage.database import Database
from hpsearch.storage.leases import Lease, Owner
from hpsearch.storage.provenance import Provenance
from hpsearch.storage.records import (
    GroupRecord,
    NewStage,
    NewTrial,
    ReportCommit,
    SearchRecord,
    TrialProgress,
    TrialRecord,
    TrialState,
)
from hpsearch.storage.repository import Repository

SPACE = Space(
    parameters={
        "learning_rate": Range(kind="log_uniform", low=1e-6, high=1e-1),
        "units": Range(kind="log_int", low=16, high=512, base=2),
        "hidden_units": Choice(choices=((50,), (64, 32))),
        "batch_size": Choice(choices=(32, 64)),
        "nested": Choice(choices=(True, False)),
        "rate": Choice(choices=(0, 0.5)),
        "optimizer": Choice(choices=("sgd", "momentum")),
        "momentum": Range(kind="uniform", low=0.8, high=0.99, when={"optimizer": ("momentum",)}),
    }
)
PARAMS = {"learning_rate": 1e-3, "hidden_units": (64, 32), "batch_size": 32, "optimizer": "sgd"}
PROVENANCE = Provenance(
    hpsearch_version="0.1.0", git_commit=None, host="here", user="me", packages={"torch": "2.13.0"}
)
ELSEWHERE = Owner(host="elsewhere", pid=7, started_s=1.0)


def a_spec(name: str = "digits", **changes: Any) -> Search:
    """A valid search; ``changes`` replaces fields."""
    given: dict[str, Any] = {
        "objective": Objective(),
        "data": Data(source="digits"),
        "space": SPACE,
        "stages": (Stage(name="coarse", trials=4, epochs=5),),
        **changes,
    }
    return Search(name=name, **given)


def a_stage(position: int = 0, **changes: Any) -> NewStage:
    """A stage to open."""
    given: dict[str, Any] = {
        "planned": 0,
        "name": "coarse",
        "kind": "search",
        "epochs": 5,
        "sampler": "random",
        "branches": SPACE.branches(),
        "reasons": (),
        **changes,
    }
    return NewStage(position=position, **given)


def a_trial(number: int, **changes: Any) -> NewTrial:
    """A trial to store."""
    given: dict[str, Any] = {
        "stage_id": None,
        "branch": "optimizer=sgd",
        "generation": 1,
        "group": 0,
        "params": PARAMS,
        "seed": 2**63 - 1 - number,
        "replicate": 0,
        "start_epoch": 0,
        "target_epochs": 5,
        "until_epoch": changes.get("target_epochs", 5),
        **changes,
    }
    return NewTrial(number=number, **given)


def a_group(number: int = 0, **changes: Any) -> GroupRecord:
    """How a group is trained: one that measures, from the first epoch on."""
    given: dict[str, Any] = {
        "kind": "mlp 50, batch 32",
        "device": "cpu",
        "start_epoch": 0,
        "measures": True,
        **changes,
    }
    return GroupRecord(number=number, **given)


def a_report(
    epoch: int,
    values: dict[int, float | None],
    state: TrialState = "running",
    **progress: Any,
) -> ReportCommit:
    """A report of trials by id, with their ``value`` as accuracy and a tenth of it as loss."""
    return ReportCommit(
        epoch=epoch,
        metrics=[
            {
                "trial_id": id,
                "val_accuracy": value,
                "val_loss": None if value is None else value / 10,
            }
            for id, value in values.items()
        ],
        progress=tuple(
            TrialProgress(
                trial_id=id,
                epochs=epoch,
                value=value,
                best_epoch=epoch,
                seconds=epoch * 0.5,
                state=state,
                **progress,
            )
            for id, value in values.items()
        ),
    )


@dataclass
class Writer:
    """A search that is being carried out: its repository, record, lease and first trials."""

    repository: Repository
    search: SearchRecord
    lease: Lease
    stage_id: int
    trials: list[TrialRecord]

    @property
    def ids(self) -> list[int]:
        return [trial.id for trial in self.trials]

    def stored(self) -> list[TrialRecord]:
        return self.repository.load(self.search.id)[1]


def begin(
    database: Database, num_trials: int = 4, spec: Search | None = None, owner: Owner | None = None
) -> Writer:
    """Store a search with one stage and ``num_trials`` waiting trials."""
    repository = Repository(database)
    search = repository.create_search(spec or a_spec(), PROVENANCE)
    lease = repository.acquire(search.id, owner or Owner.current())
    trials = [a_trial(number) for number in range(num_trials)]
    stage, stored = repository.open_stage(lease, a_stage(), trials)
    return Writer(repository, search, lease, stage.id, stored)


def finish(writer: Writer, values: dict[int, float], epoch: int = 5) -> None:
    """Store these values by trial id; the trials are complete."""
    writer.repository.commit_report(writer.lease, a_report(epoch, values, state="complete"))


def continue_trial(writer: Writer, number: int, parent_id: int, epoch: int) -> int:
    """Store a trial that goes on from its parent's ``epoch``; its id."""
    child = a_trial(number, stage_id=writer.stage_id, parent_id=parent_id, start_epoch=epoch)
    (stored,) = writer.repository.add_trials(writer.lease, [child])
    return stored.id

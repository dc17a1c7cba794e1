"""Executors of every kind, and what tests ask of them."""

from __future__ import annotations

from typing import Any

import pytest
from training_cases import blobs, config

from hpsearch.executors.base import Executor, Reported, Update
from hpsearch.executors.crew import Crew
from hpsearch.executors.inprocess import InProcessExecutor
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.executors.ray import RayExecutor
from hpsearch.executors.simulated import SimulatedExecutor
from hpsearch.spec.search import Resources
from workers.messages import CheckPlan, CheckResult, Member, Probe

KINDS = ("inprocess", "simulated", "ray", "processes")
STOPPING = {"patience": 1, "min_delta": 1e9}  # nothing is ever so much better
CHECKS = (CheckResult(name="inputs", probe=None, verdict="pass", text="fine", evidence={}),)


def made_executor(
    kind: str, title: str, request: pytest.FixtureRequest, **resources: Any
) -> Executor:
    """One of ``KINDS``; a Ray one is on the session's cluster."""
    asked = Resources(**resources)
    match kind:
        case "inprocess":
            return InProcessExecutor(blobs(), num_threads=1)
        case "simulated":
            return SimulatedExecutor(curve, stops=_stops, refuses=_refuses, checks=CHECKS)
        case "processes":
            return ProcessExecutor(Crew(asked), blobs(), title)
        case _:
            return RayExecutor(request.getfixturevalue("cluster"), blobs(), asked, title)


def curve(member: Member, epoch: int) -> dict[str, float]:
    value = float("nan") if member.config.learning_rate > 1e6 else 1 - 1 / (epoch + 1)
    return {"val_accuracy": value, "val_loss": 1 - value}


def _stops(member: Member, epoch: int) -> bool:
    """As training does with :data:`STOPPING`: the first epoch is the best."""
    return member.config.patience is not None and epoch == 1 + member.config.patience


def _refuses(member: Member) -> str | None:
    return None if member.config.normalization == "none" else "normalization needs images"


def until_free(executor: Executor, number: int, most: int = 400) -> list[Update]:
    """Everything that group ``number`` says until its slot is free."""
    found: list[Update] = []
    for _ in range(most):
        found += [update for update in executor.wait(1.0) if update.group == number]
        if found and not isinstance(found[-1], Reported):
            return found
    raise AssertionError(f"group {number} did not end: {found}")


def check_plan(**fields: object) -> CheckPlan:
    probe = Probe(label="all", config=config(**fields), rates=(1e-3, 1.0))
    return CheckPlan(probes=(probe,), seed=0, order_seed=1, width=2)

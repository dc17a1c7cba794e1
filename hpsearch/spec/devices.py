"""The keys of ``resources`` that give a trial several devices.

Read by ``hpsearch.spec.loading``; what the data have to say to it is in ``hpsearch.spec.data``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpsearch.spec.problem import Problems, shown
from workers.config.domain import Domain

DEVICES = Domain(low=1, high=1024, integer=True)


class Parallel:
    """How the devices of a trial part the work."""

    def rule(self) -> str:
        return (
            "data, by which each device takes a part of each minibatch; splitting layers (model, "
            "hybrid) is not there"
        )

    def admits(self, value: object) -> bool:
        return value == "data"


def check_devices(resources: Mapping[str, Any], problems: Problems) -> None:
    """Tell what of the section does not go together."""
    devices, gpus = resources.get("devices_per_trial", 1), resources.get("gpus_per_worker", "auto")
    if "parallel" in resources and devices == 1:
        rule = "is for trials of several devices; set devices_per_trial, or leave it out"
        problems.add("resources.parallel", rule, shown(resources["parallel"]))
    if devices > 1 and gpus not in ("auto", 0, 1):
        rule = (
            f"must be auto, 1, or 0 with devices_per_trial {devices}, each of which is a GPU of "
            "its own, or a CPU core"
        )
        problems.add("resources.gpus_per_worker", rule, shown(gpus))

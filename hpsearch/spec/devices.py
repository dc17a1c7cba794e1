"""The keys of ``resources`` that give a trial several devices.

Read by ``hpsearch.spec.loading``; what the data have to say to it is in ``hpsearch.spec.data``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpsearch.spec.problem import Problems, shown
from workers.config.domain import Domain

DEVICES = Domain(low=1, high=1024, integer=True)
# What takes one device for a trial, by its key: what it asks for that a device has a part of.
UNDIVIDED = {
    "loss": "a loss of your own is of whole minibatches",
    "metrics": "metrics of your own are of the whole validation part",
}


class Parallel:
    """How the devices of a trial part the work."""

    def rule(self) -> str:
        return (
            "data, by which each device takes a part of each minibatch; splitting layers (model, "
            "hybrid) is not there"
        )

    def admits(self, value: object) -> bool:
        return value == "data"


def check_devices(top: Mapping[str, Any], resources: Mapping[str, Any], problems: Problems) -> None:
    """Tell what of the section does not go together, and what of ``top`` does not go with it."""
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
    if devices > 1:
        _check_undivided(top, devices, problems)


def check_in_memory(is_streamed: bool, devices: int, problems: Problems) -> None:
    """Tell of examples that are streamed, which several devices cannot part."""
    if is_streamed and devices > 1:
        rule = (
            f"examples cannot be streamed to the {devices} devices of a trial; set "
            "resources.devices_per_trial to 1, or stream to false if they fit in memory"
        )
        problems.add("data.stream", rule)


def _check_undivided(top: Mapping[str, Any], devices: int, problems: Problems) -> None:
    for key, what in UNDIVIDED.items():
        if top.get(key):
            rule = f"{what}, of which each of the {devices} devices of a trial has a part; leave it"
            problems.add(key, f"{rule} out, or set resources.devices_per_trial to 1")
    check_in_memory(top.get("data", {}).get("stream") is True, devices, problems)

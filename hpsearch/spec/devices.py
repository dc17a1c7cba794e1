"""The keys of ``resources`` that give a trial several devices.

Read by ``hpsearch.spec.loading``; what the data have to say to it is in ``hpsearch.spec.data``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpsearch.spec.problem import Problems, shown
from workers.config.domain import Domain
from workers.config.parallel import FORMS, grid

DEVICES = Domain(low=1, high=1024, integer=True)
# What asks for all examples at once, by its key: devices that part them have each some.
UNDIVIDED = {
    "loss": "a loss of your own is of whole minibatches",
    "metrics": "metrics of your own are of the whole validation part",
}
PARALLEL = Domain(names=FORMS)


def check_devices(top: Mapping[str, Any], resources: Mapping[str, Any], problems: Problems) -> None:
    """Tell what of the section does not go together, and what of ``top`` does not go with it."""
    devices, gpus = resources.get("devices_per_trial", 1), resources.get("gpus_per_worker", "auto")
    form = resources.get("parallel", "data")
    if "parallel" in resources and devices == 1:
        rule = "is for trials of several devices; set devices_per_trial, or leave it out"
        problems.add("resources.parallel", rule, shown(form))
    if devices > 1 and gpus not in ("auto", 0, 1):
        rule = (
            f"must be auto, 1, or 0 with devices_per_trial {devices}, each of which is a GPU of "
            "its own, or a CPU core"
        )
        problems.add("resources.gpus_per_worker", rule, shown(gpus))
    num_parts, num_layer_parts = grid(devices, form)
    if form == "hybrid" and devices > 1 and num_layer_parts == 1:
        rule = (
            "must be a product with parallel hybrid, as 4 = 2 x 2: parts of minibatches by parts "
            "of layers; change it, or say data or model"
        )
        problems.add("resources.devices_per_trial", rule, shown(devices))
    elif num_parts > 1:
        _check_undivided(top, num_parts, problems)


def check_in_memory(is_streamed: bool, num_parts: int, problems: Problems) -> None:
    """Tell of examples that are streamed, which devices cannot part."""
    if is_streamed and num_parts > 1:
        rule = (
            f"examples cannot be streamed to devices that part each minibatch in {num_parts}; set "
            "resources.parallel to model, or devices_per_trial to 1, or stream to false if they "
            "fit in memory"
        )
        problems.add("data.stream", rule)


def _check_undivided(top: Mapping[str, Any], num_parts: int, problems: Problems) -> None:
    for key, what in UNDIVIDED.items():
        if top.get(key):
            rule = f"{what}, which the devices of a trial part in {num_parts}; leave it out, or set"
            problems.add(key, f"{rule} resources.parallel to model, or devices_per_trial to 1")
    check_in_memory(top.get("data", {}).get("stream") is True, num_parts, problems)
